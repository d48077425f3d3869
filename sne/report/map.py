"""Maps of many networks: one call from sources to a page, a picture and a table."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sne.errors import ReportError, counted
from sne.predictors import Predictor
from sne.predictors.sources import OnError, handle_error
from sne.provenance.entries import is_zoo
from sne.provenance.forest import Edge
from sne.provenance.index import Index
from sne.provenance.lineage import lineage as lineage_of_sources
from sne.provenance.lineage import lineage_of
from sne.provenance.relation import Relation
from sne.report.cluster_labels import label_clusters
from sne.report.density import clusters, density
from sne.report.layout import lay_out, nearest, reduce
from sne.report.map_data import MapData
from sne.report.map_health import with_health
from sne.report.map_page import CLUSTER, METHODS, NEXT_TO, MapDrawing, map_page
from sne.report.map_sources import is_index, is_table, read_map_data
from sne.report.static_map import write_static_map
from sne.work import Executor, write_atomically

MOST_NAMED = 3
"""Largest number of sources that a title names."""

MOST_COMPARED = 100
"""Number of networks up to which lineage is sought without being asked for; it takes longer than all else."""


def write_map(
    sources: Sequence[str],
    out: str | Path | None = None,
    *,
    static: str | Path | None = None,
    table: str | Path | None = None,
    predictor: Predictor | None = None,
    layout: str = "tsne",
    seed: int = 0,
    colour: str | None = None,
    title: str | None = None,
    lineage: bool | None = None,
    edges: str | Path | None = None,
    health: bool = False,
    errors: OnError = "raise",
    tell: Callable[[str, list[str]], None] | None = None,
    choose_executor: Callable[[Sequence[str]], Executor | None] = lambda paths: None,
    on_progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> MapDrawing:
    """Draws a map of networks: those with similar weights are near each other.

    Args:
        sources: Paths of checkpoints and of zoos; or the folder of one index; or one Parquet file of `sne encode` or
            of an earlier map, see `table`.
        out: The page to write, which is one file; None for none.
        static: Picture to write: .png, .pdf or .svg; None for none.
        table: Parquet file for names, embeddings and properties, from which another map can be drawn without reading
            the networks again; None for none.
        predictor: Encodes checkpoints and networks of zoos, and predicts their properties; None for the packaged one.
        layout: "tsne", "umap" or "pca", see `sne.report.layout.lay_out`.
        seed: Random seed of the layout.
        colour: Property that colours the networks at first; None to choose one.
        title: Title of the map; None for the names of up to `MOST_NAMED` sources, or else the number of networks and
            their folder.
        lineage: Whether to seek parents and children; None to do so for up to `MOST_COMPARED` checkpoints.
        edges: JSON file of `sne lineage` with the parents and children, which are then not sought.
        health: Whether the health of each network is a property, see `sne.report.map_health`; all values are read for
            that.
        errors: What to do with a network that cannot be read: "raise", "skip", or a function of its name and the
            error.
        tell: Called with the name of each network that was read in part or in doubt, and the reasons.
        choose_executor: Called with the paths that have to be read; returns what reads them, or None to read in this
            process.
        on_progress: Called with the number of steps done and their number: of networks, then of comparisons.
        say: Called with one line at the start of each long step without progress.

    Returns:
        What was drawn.

    Raises:
        ReportError: There is no network, a package is missing, or a property is not known.
        sne.CheckpointError: A checkpoint cannot be read, and errors is "raise".
        ZooError: A zoo cannot be read.
        ProvenanceError: An index cannot be read.
        WriteError: A file cannot be written.
    """
    data = read_map_data(
        sources, predictor=predictor, errors=errors, tell=tell, choose_executor=choose_executor, on_progress=on_progress
    )
    if not len(data):
        raise ReportError("no network can be read, and a map needs some")
    if health:
        say(f"checking the health of {counted(len(data), 'network')}")
        data = with_health(data, errors=errors, choose_executor=choose_executor, on_progress=on_progress, say=say)
    if table is not None:
        data.write(table)
    if colour not in (None, CLUSTER):
        data.find(colour)  # an unknown property is an error before the work
    found: tuple[Edge, ...] = ()
    if edges is not None:
        found = read_edges(edges, data)
    elif _is_quickly_compared(sources, data) if lineage is None else lineage:
        say(f"seeking parents and children of {counted(len(data), 'network')}, which takes long for many")
        found = _seek_edges(sources, data, errors, choose_executor, on_progress)
    drawing = draw(data, layout=layout, seed=seed, edges=found, say=say)
    if out is not None:
        write_atomically(out, map_page(drawing, title=title or title_of_map(sources, len(data)), colour=colour))
    if static is not None:
        write_static_map(drawing, static, title=title, colour=colour)
    return drawing


def title_of_map(sources: Sequence[str], num_networks: int) -> str:
    """Names what a map shows: its sources, or where there are many of them, the folder of these.

    Args:
        sources: As for `write_map`.
        num_networks: Number of networks on the map.

    Example:
        >>> title_of_map(["runs/a.pt", "runs/b.pt"], 2)
        'a.pt, b.pt'
        >>> title_of_map([f"runs/{number}.pt" for number in range(12)], 12)
        '12 networks in folder runs'
        >>> title_of_map([f"{number}/last.pt" for number in range(12)], 12)
        '12 networks in 12 folders'
    """
    if len(sources) <= MOST_NAMED:
        return ", ".join(Path(source).name or source for source in sources)
    folders = {str(Path(source).parent) for source in sources}
    where = (
        f"folder {Path(folders.pop()).resolve().name or '/'}" if len(folders) == 1 else counted(len(folders), "folder")
    )
    return f"{counted(num_networks, 'network')} in {where}"


def draw(
    data: MapData,
    *,
    layout: str = "tsne",
    seed: int = 0,
    edges: tuple[Edge, ...] = (),
    say: Callable[[str], None] = lambda text: None,
) -> MapDrawing:
    """Places networks on a map, and finds and names clusters.

    Args:
        data: The networks.
        layout: As for `write_map`.
        seed: As for `write_map`.
        edges: Parents and children.
        say: As for `write_map`.

    Raises:
        ReportError: The layout is not known, or its package is not installed.
    """
    if len(data) >= 1000:
        say(f"placing {counted(len(data), 'network')} by {METHODS.get(layout, layout)}")
    components = reduce(data.embeddings)
    places = lay_out(components, layout, seed=seed)
    dense = density(places)
    found = clusters(places, dense)
    labels = label_clusters(found, data)
    return MapDrawing(data, places, layout, dense, tuple(found), tuple(labels), nearest(components, NEXT_TO), edges)


def read_edges(path: str | Path, data: MapData) -> tuple[Edge, ...]:
    """Reads parents and children that `sne lineage` has written as JSON; those of other networks are left out.

    Args:
        path: The file.
        data: The networks of the map.

    Raises:
        ReportError: The file is no such file, or knows none of the networks.
    """
    try:
        rows = json.loads(Path(path).read_bytes())["edges"]
        found = [_edge(row) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path}: expected the JSON of sne lineage ({' '.join(repr(error).split())})") from None
    names = set(data.names)
    kept = tuple(edge for edge in found if edge.parent in names and edge.child in names)
    if found and not kept:
        raise ReportError(f"{path}: none of its {counted(len(found), 'edge')} joins two networks of the map")
    return kept


def _edge(row: dict[str, Any]) -> Edge:
    merged = row.get("merged_with")
    return Edge(
        str(row["parent"]), str(row["child"]), Relation(row["relation"]), row.get("p_value"),
        float(row["distance"]), float(row["confidence"]),
        None if merged is None else (str(merged[0]), float(merged[1])),
    )  # fmt: skip


def _is_quickly_compared(sources: Sequence[str], data: MapData) -> bool:
    """Returns whether lineage is sought without being asked for: of few checkpoints, or an index of few."""
    return len(data) <= MOST_COMPARED and not any(is_zoo(source) or is_table(source) for source in sources)


def _seek_edges(
    sources: Sequence[str],
    data: MapData,
    errors: OnError,
    choose_executor: Callable[[Sequence[str]], Executor | None],
    on_progress: Callable[[int, int], None] | None,
) -> tuple[Edge, ...]:
    """Seeks parents and children."""

    def fail(path: str, error: Exception) -> None:
        if errors == "raise":
            raise error
        handle_error(errors, path, error)

    executor = choose_executor(data.names)
    if is_index(sources[0]):
        prints = Index.open(sources[0]).fingerprints(fail)
        return lineage_of(prints, errors=fail, executor=executor, on_progress=on_progress).edges
    return lineage_of_sources(data.names, errors=fail, executor=executor, on_progress=on_progress).edges
