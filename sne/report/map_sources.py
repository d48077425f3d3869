"""Where the networks of a map come from: checkpoints, zoos, an index, or a file of embeddings."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from sne.errors import ReportError
from sne.networks import Network
from sne.networks.summary import summarise
from sne.predictors import Predictor
from sne.predictors.domain import LEAST_P
from sne.predictors.prediction import PredictedBlock
from sne.predictors.properties import output_slices
from sne.predictors.sources import OnError
from sne.predictors.spreading import spread
from sne.provenance.entries import entries, place_in_zoo, read_entries
from sne.provenance.index import SETTINGS, Index
from sne.provenance.rows import EMBEDDING, column_of
from sne.report.map_data import DOMAIN, NUM_WEIGHTS, PREDICTED, SUMMARY, Column, MapData, known_columns
from sne.work import Executor, InThisProcess
from sne.zoo import Zoo
from sne.zoo.store.columns import HYPERPARAMETER_PREFIX, RESERVED, WALL_TIME

PART = 256
"""Largest number of networks that are read, encoded and sent together."""

FOLDER = "folder"
FAMILY = "family"
KIND = "kind"
"""Column with the first words of the summary."""


_OF_ZOO = (FAMILY, "dataset", "run", "step")
"""Reserved columns of a zoo that say something about a network."""


@dataclass
class EncodedBlock:
    """What is computed of some networks.

    Args:
        names: Their names.
        embeddings: One vector per network.
        columns: Values by name of the column.
        ends: Lower and upper ends of the intervals of predicted numbers, by name of the column.
    """

    names: tuple[str, ...]
    embeddings: Float[np.ndarray, "networks dim"]
    columns: dict[str, list[Any]]
    ends: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)


def is_index(source: str) -> bool:
    """Whether a path is the folder of an index."""
    return (Path(source) / SETTINGS).is_file()


def is_table(source: str) -> bool:
    """Whether a path is a file of embeddings, rather than a checkpoint."""
    return source.endswith(".parquet") and Path(source).is_file()


def read_map_data(
    sources: Sequence[str],
    *,
    predictor: Predictor | None = None,
    errors: OnError = "raise",
    tell: Callable[[str, list[str]], None] | None = None,
    choose_executor: Callable[[Sequence[str]], Executor | None] = lambda paths: None,
    on_progress: Callable[[int, int], None] | None = None,
) -> MapData:
    """Reads what a map shows.

    Args:
        sources: Paths of checkpoints and of zoos; or the folder of one index; or one Parquet file with the columns path
            and embedding, whose other columns are properties.
        predictor: Encodes checkpoints and the networks of zoos, and predicts their properties; None for the packaged
            predictor. An index and a file have embeddings of their own.
        errors: What to do with a network that cannot be read: "raise", "skip", or a function of its name and the
            error.
        tell: Called with the name of each network that was read in part or in doubt, and the reasons.
        choose_executor: Called with the paths that have to be read; returns what reads them, or None to read in this
            process.
        on_progress: Called with the number of networks done and their number.

    Returns:
        The networks in the order of the sources, without those that were skipped.

    Raises:
        ReportError: An index or a file is not the only source, or is damaged.
        sne.CheckpointError: A checkpoint cannot be read, and errors is "raise".
        ZooError: A zoo cannot be read.
        ProvenanceError: An index cannot be read.
    """
    alone = [source for source in sources if is_index(source) or is_table(source)]
    if alone and len(sources) > 1:
        raise ReportError(f"{alone[0]}: an index or a file of embeddings makes a map of its own; name no other source")
    if alone:
        return _of_index(Index.open(alone[0])) if is_index(alone[0]) else MapData.read(alone[0])
    paths = list(entries(sources))
    work = partial(encode_entries, predictor=predictor or Predictor.from_pretrained())
    executor = choose_executor(paths) or InThisProcess()
    blocks: list[EncodedBlock] = []
    done = 0
    for block in spread(work, paths, executor, part_size=PART, errors=errors, tell=tell):
        blocks.append(block)
        done += len(block.names)
        if on_progress is not None:
            on_progress(done, len(paths))
    return _joined(blocks)


def encode_entries(
    paths: Sequence[str],
    *,
    predictor: Predictor,
    errors: OnError,
    tell: Callable[[str, list[str]], None] | None,
) -> Iterator[EncodedBlock]:
    """Reads, encodes and predicts networks.

    Args:
        paths: Entries, see `sne.provenance.entries.entries`.
        predictor: The predictor.
        errors: As for `read_map_data`.
        tell: As for `read_map_data`.

    Yields:
        Blocks of the networks in order, without those that cannot be read.
    """
    described: dict[str, dict[str, Any]] = {}

    def networks() -> Iterator[Network]:
        for network, family in read_entries(paths, errors=errors, tell=tell or (lambda name, reasons: None)):
            summary = summarise(network)
            described[network.name] = {
                SUMMARY: summary,
                KIND: re.split("[,;]", summary)[0],
                FAMILY: family,
                NUM_WEIGHTS: network.num_weights,
                "layers": len(network.layers),
            }
            yield network

    for block in predictor.predict_blocks(networks(), batch_size=PART, errors=errors, tell=tell):
        rows = [described.pop(name) for name in block.names]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        yield _encoded(block, predictor, columns)


def _encoded(block: PredictedBlock, predictor: Predictor, columns: dict[str, list[Any]]) -> EncodedBlock:
    """Adds predictions to the columns of a block."""
    ends: dict[str, tuple[list[float], list[float]]] = {}
    for number, (prop, where) in enumerate(zip(predictor.properties, output_slices(predictor.properties), strict=True)):
        name, values = PREDICTED + prop.name, block.values[:, where]
        if prop.kind == "class":
            columns[name] = [prop.classes[best] for best in values.argmax(axis=1)]
        else:
            columns[name] = values[:, 0].tolist()
            ends[name] = block.low[:, number].tolist(), block.high[:, number].tolist()
    if block.p_values is not None:
        columns[DOMAIN] = (block.p_values >= LEAST_P).tolist()
    return EncodedBlock(block.names, block.embedding, columns, ends)


def _joined(blocks: Sequence[EncodedBlock]) -> MapData:
    names = tuple(name for block in blocks for name in block.names)
    if not names:
        return MapData((), np.zeros((0, 0), dtype=np.float32), ())
    columns = dict(_columns_of_entries(names))
    for name in blocks[0].columns:
        found = Column.of(name, [value for block in blocks for value in block.columns[name]])
        if name in blocks[0].ends:
            low, high = (np.array([x for block in blocks for x in block.ends[name][end]]) for end in (0, 1))
            found = Column(name, found.values, low, high) if np.isfinite(low).any() else found
        if name not in columns:
            columns[name] = found
    return MapData(names, np.concatenate([block.embeddings for block in blocks]), known_columns([*columns.values()]))


def _of_index(index: Index) -> MapData:
    """Returns the networks of an index, with what their zoos have measured where these are still there."""
    known = index.columns
    predicted = {column_of(name): name for name in index.properties}
    table = index.rows(["path", EMBEDDING, *(name for name in known if name in predicted), FAMILY, NUM_WEIGHTS])
    if not len(table):
        raise ReportError(f"{index.folder}: the index is empty")
    renamed = [PREDICTED + predicted[name] if name in predicted else name for name in table.column_names]
    stored = MapData.from_table(table.sort_by("path").rename_columns(renamed))
    columns = {column.name: column for column in stored.columns}
    columns = {**dict(_columns_of_entries(stored.names)), **columns}
    return MapData(stored.names, stored.embeddings, known_columns([*columns.values()]))


def _columns_of_entries(names: Sequence[str]) -> Iterator[tuple[str, Column]]:
    """Yields columns that need no weights: those of zoos, and the folders of checkpoints."""
    places = [place_in_zoo(name) for name in names]
    by_zoo: dict[str, list[tuple[int, str]]] = {}
    for row, place in enumerate(places):
        if place is not None:
            by_zoo.setdefault(place[0], []).append((row, place[1]))
    found: dict[str, list[Any]] = {}
    for folder, members in by_zoo.items():
        for name, values in _columns_of_zoo(Zoo.open(folder), [id for _, id in members]).items():
            column = found.setdefault(name, [None] * len(names))
            for (row, _), value in zip(members, values, strict=True):
                column[row] = value
    folders = [place[0] if place else str(Path(name).parent) for name, place in zip(names, places, strict=True)]
    if len(set(folders)) > 1:
        found[FOLDER] = _without_shared(folders)
    for name, values in found.items():
        yield name, Column.of(name, _of_one_kind(values))


def _columns_of_zoo(zoo: Zoo, ids: Iterable[str]) -> Mapping[str, list[Any]]:
    """Returns measured values, hyper-parameters and what else a zoo says about some of its networks."""
    rows = {id: row for row, id in enumerate(zoo.ids)}
    chosen = pa.array([rows.get(id) for id in ids], pa.int64())  # a network of an index may have left the zoo
    names = [name for name in zoo.table.column_names if name not in RESERVED or name in _OF_ZOO]
    ordered = sorted(names, key=lambda name: (name not in _OF_ZOO, name.startswith(HYPERPARAMETER_PREFIX)))
    table = zoo.table.select(ordered).take(chosen)
    return {name: table[name].to_pylist() for name in ordered if name != WALL_TIME}


def _of_one_kind(values: Sequence[Any]) -> list[Any]:
    """Writes numbers as text if zoos disagree whether a column holds numbers or text."""
    if any(isinstance(value, str) for value in values):
        return [None if value is None else str(value) for value in values]
    return list(values)


def _without_shared(folders: Sequence[str]) -> list[str]:
    """Leaves out the folders above that all of them share.

    Example:
        >>> _without_shared(["/runs/a/b", "/runs/c"])
        ['a/b', 'c']
    """
    parts = [Path(folder).parts for folder in folders]
    shared = 0
    while all(len(own) > shared + 1 for own in parts) and len({own[shared] for own in parts}) == 1:
        shared += 1
    return ["/".join(own[shared:]) for own in parts]
