"""Importing implicit networks of sine waves in the layout of Navon et al."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

from sne.checkpoints.described import DescribedTensor
from sne.checkpoints.formats.torch_file import read_content
from sne.errors import CheckpointError, ZooError, counted
from sne.symmetry.by_name.known import Known
from sne.zoo.importing.contract import Checkpoint, Found, Tell
from sne.zoo.importing.tables import as_value, read_json_object
from sne.zoo.importing.weights import SymmetriesByName, read_weights
from sne.zoo.store.columns import Value
from sne.zoo.store.split import PIECES, SPLIT, Split

_FAMILY = "sine_inr"
_NOT_WEIGHTS = ("coef", "x", "y")
_SIREN = Known(activation="sine", is_sequential=True)
_MOST_NUMBERS = 64  # of a coef


def find_sine_inr(source: Path, dataset: str | None, tell: Tell) -> Found:
    """Finds `.pth` files, one per network, and the JSON split next to them; or the split, and the files next to it.

    A file is the state dict of an INR 1-32-32-1 (`seq.0.weight`, `seq.0.bias`, `seq.1.weight`, ...) with three
    more entries: `coef`, a list [a, b] of the wave y = a sin(b x), and the NumPy arrays `x` and `y` that it was fitted
    to. The properties are `amplitude` (a) and `frequency` (b); a `coef` of one number is a frequency. The arrays are
    ignored, and nothing in a pickle is executed. The data set is called "sine" unless `dataset` is given.

    The split is a JSON file in the folder or in the one above it: {"train": [paths], "val": ..., "test": ...}, or
    {"train": {"path": [paths], "label": [...]}, ...}, whose labels become the property `label`. The paths were
    written on the authors' machine; a file is identified by the longest common end of its path. Every network is a run.

    Source: Navon et al., "Equivariant Architectures for Learning in Deep Weight Spaces", arXiv 2301.12780; the
        layout as github.com/AvivNavon/DWSNets writes and reads it (`experiments/ssl/inr_trainer.py`,
        `generate_data_splits.py`, `data/inr_dataset.py`; `experiments/mnist` for splits with labels).
    Differs: nothing but names. The files of the paper's sine regression (sine-regression-inrs.zip) were not seen
        and no published code reads them; they are assumed to have the same layout as the others.
    """
    folder = source if source.is_dir() else source.parent
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.pth"))}
    if not source.exists() or not paths:
        raise ZooError(
            f"{source}: expected a folder of .pth files, or a JSON split with such files in its folder or below it"
        )
    table = source if source.is_file() else _find_split(folder)
    split, labels = _read_split(table, list(paths), tell) if table else (None, {})
    symmetries = SymmetriesByName(tell)

    def read(name: str) -> Checkpoint:
        return Checkpoint(
            id=name,
            run=name,
            family=_FAMILY,
            dataset=dataset or "sine",
            step=0,
            weights=read_weights(paths[name], symmetries, _SIREN, left_out=_NOT_WEIGHTS),
            properties=_properties(paths[name], labels.get(name)),
            hyperparameters={},
        )

    return Found([partial(read, name) for name in paths], split)


def _properties(path: Path, label: Value) -> dict[str, Value]:
    known: dict[str, Value] = {} if label is None else {"label": label}
    match _read_numbers(path, "coef"):
        case None if known:
            return known
        case None:
            raise ZooError(f"{path}: has no entry 'coef' with amplitude and frequency of the wave")
        case (frequency,):
            return {"frequency": frequency} | known
        case (amplitude, frequency):
            return {"amplitude": amplitude, "frequency": frequency} | known
        case coef:
            raise ZooError(f"{path}: 'coef' holds {len(coef)} numbers, expected amplitude and frequency")


def _read_numbers(path: Path, key: str) -> tuple[float, ...] | None:
    """Reads the numbers under one key of a torch file, next to the tensors. Nothing is executed.

    Args:
        path: A torch file that `read_network` has read, and whose sizes it has checked.
        key: Name of the entry.

    Returns:
        The numbers in order; None if there is no such key.

    Raises:
        ZooError: The file cannot be read, or the entry is not a list of numbers.
    """
    try:
        content = read_content(path)
        if not isinstance(content, Mapping) or key not in content:
            return None
        value = content[key]
        if isinstance(value, DescribedTensor) and prod(value.shape) <= _MOST_NUMBERS:
            value = value.read(key).flatten().tolist()
    except CheckpointError as error:
        raise ZooError(f"{path}: {key!r} cannot be read: {error.reason}") from None
    values = [value] if isinstance(value, int | float) else value
    if not isinstance(values, list | tuple) or not all(isinstance(v, int | float) for v in values):
        raise ZooError(f"{path}: {key!r} is of type {type(value).__name__}, expected numbers")
    return tuple(float(v) for v in values)


def _find_split(folder: Path) -> Path | None:
    """Returns the JSON file with train, val and test in the folder, or else in the one above."""
    for place in (folder, folder.resolve().parent):
        files = sorted(path for path in place.glob("*.json") if _is_split(path))
        if len(files) > 1:
            raise ZooError(
                f"{place} holds several splits ({', '.join(f.name for f in files)}); give the path of one of them"
            )
        if files:
            return files[0]
    return None


def _is_split(path: Path) -> bool:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return path.name == SPLIT or "split" in path.stem.lower()  # damaged: reading it raises the error
    return isinstance(values, dict) and all(piece in values for piece in PIECES)


def _read_split(path: Path, names: Sequence[str], tell: Tell) -> tuple[Split, dict[str, Value]]:
    """Returns the split with our names of networks, and the labels of networks, if the file has any."""
    values = read_json_object(path)
    ends = _index_ends(names)
    pieces: list[tuple[str, ...]] = []
    labels: dict[str, Value] = {}
    missing: list[str] = []
    for piece in PIECES:
        found = [(_same(file, ends), file, label) for file, label in _entries(path, piece, values.get(piece))]
        missing += [file for name, file, _ in found if name is None]
        pieces.append(tuple(name for name, _, _ in found if name is not None))
        labels |= {name: label for name, _, label in found if name is not None and label is not None}
    if not any(pieces):
        raise ZooError(f"{path}: it names none of the {len(names)} .pth files")
    if missing:
        tell(f"{path}: {counted(len(missing), 'named file')} not found, such as {missing[0]}")
    return Split(*pieces), labels


def _entries(path: Path, piece: str, entry: Any) -> list[tuple[str, Value]]:
    """Returns the files and labels of one piece."""
    files, labels = (entry.get("path"), entry.get("label")) if isinstance(entry, Mapping) else (entry, None)
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise ZooError(f"{path}: expected a list of paths under {piece!r}, or under its 'path'")
    labels = [None] * len(files) if labels is None else labels
    if not isinstance(labels, list) or len(labels) != len(files):
        raise ZooError(f"{path}: {piece!r} has {len(files)} paths, expected a list of the same length under 'label'")
    return [(file, as_value(label)) for file, label in zip(files, labels, strict=True)]


def _index_ends(names: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """Returns the networks by the last parts of their paths; many files may have the same name in different folders."""
    ends: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        parts = PurePosixPath(name).parts
        for length in range(1, len(parts) + 1):
            ends.setdefault(parts[-length:], []).append(name)
    return ends


def _same(file: str, ends: Mapping[tuple[str, ...], Sequence[str]]) -> str | None:
    """Returns the network that shares the longest end of its path with a file; None if none or several do."""
    parts = PurePosixPath(file).parts
    longest = next((parts[start:] for start in range(len(parts)) if parts[start:] in ends), ())
    found = ends.get(longest, ())
    whole = "/".join(longest)
    return whole if whole in found else found[0] if len(found) == 1 else None
