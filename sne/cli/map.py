"""`sne map`: many networks on one page."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sne.cli.files import Doubts, Failures, Typed, expand_except, put_in_order
from sne.cli.options import PredictorFolder, Ray, Workers
from sne.cli.progress import file_progress
from sne.cli.tables import say, warn
from sne.errors import ReportError, SneError, counted

if TYPE_CHECKING:
    from sne.predictors import Predictor
    from sne.report.map_page import MapDrawing


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        show_default=False,
        help="Zoos, checkpoints, globs, folders of checkpoints, or - to read one path per line from stdin; or one "
        "index; or one .parquet file of sne encode or --table.",
    ),
]
PageOut = Annotated[
    Path | None, typer.Option(metavar="FILE", show_default=False, help="Page to write, which ends in .html.")
]
PictureOut = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        show_default=False,
        help="Picture to write for papers: .png, .pdf or .svg (needs matplotlib, extra studies).",
    ),
]
TableOut = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        show_default=False,
        help=".parquet file to write with names, embeddings and properties. It is a SOURCE, so that another map "
        "is drawn without reading the networks again.",
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        metavar="METHOD",
        help="How networks are placed: tsne, umap (needs umap-learn, extra umap), or pca. For 20,000 "
        "networks, tsne takes more than two minutes of one core, umap about one, pca a few seconds.",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Random seed of tsne and umap.")]
Colour = Annotated[
    str | None,
    typer.Option(
        "--colour",
        "--color",
        metavar="PROPERTY",
        show_default=False,
        help="Property that colours the networks at first: a column of a zoo, 'predicted NAME', cluster. "
        "Default: the first property that is both measured and predicted, or else data set, family or folder.",
    ),
]
Title = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        show_default=False,
        help="Title. Default: the names of up to three sources, or the number of networks and their folder.",
    ),
]
DrawLineage = Annotated[
    bool | None,
    typer.Option(
        "--lineage/--no-lineage",
        show_default=False,
        help="Draw edges from parents to children, as sne lineage finds them. Default: for up to 100 checkpoints.",
    ),
]
Edges = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        show_default=False,
        help="Draw the edges of this .json file of sne lineage --out, instead of seeking them.",
    ),
]
CheckHealth = Annotated[
    bool,
    typer.Option(
        "--health",
        help="Check the health of each network, as sne check does: the property health (good, doubtful or broken), to "
        "colour by, and findings, listed for each network. They replace properties of these names. All values are read "
        "for that, those of an index or a table too; where files are gone, those of a table keep their health.",
    ),
]


def map(
    sources: Sources,
    out: PageOut = None,
    static: PictureOut = None,
    table: TableOut = None,
    predictor: PredictorFolder = "default",
    layout: Layout = "tsne",
    seed: Seed = 0,
    colour: Colour = None,
    title: Title = None,
    lineage: DrawLineage = None,
    edges: Edges = None,
    health: CheckHealth = False,
    workers: Workers = None,
    ray: Ray = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Draw a map of many networks.

    Networks with similar weights are near each other. The page is one file that works without a network: colour by any
    property, density, named clusters, lineage, search, filters, the properties of each network, and a plot of predicted
    against measured values that is linked to the map. It needs plotly, extra plot.

    To draw tens of thousands of checkpoints, index them first: sne index continues where it was interrupted, and the
    map of an index takes no reading.
    """
    written = _files_to_write(out, static, table)
    listed = expand_except(sources, _is_collection)
    typed = Typed(listed)
    failures, doubts = Failures(typed), Doubts(typed)

    from sne.predictors import choose_executor
    from sne.report import write_map

    loaded = _load_if_read(predictor, listed)
    with _failures_explain_an_empty_map(failures), file_progress() as progress:
        drawing = write_map(
            listed, out, static=static, table=table, predictor=loaded, layout=layout, seed=seed,
            colour=colour, title=title, lineage=lineage, edges=edges, health=health, errors=failures, tell=doubts,
            choose_executor=partial(choose_executor, workers=workers, ray=ray), on_progress=progress, say=warn,
        )  # fmt: skip
    for notes in (doubts, failures):
        put_in_order(notes, sorted(notes))
    if as_json:
        print(json.dumps(_summary(drawing, written, len(failures))))
    else:
        say(_line(drawing, written))
    doubts.report()
    failures.report(len({*failures, *(typed(name) for name in drawing.data.names)}))


def _is_collection(source: str) -> bool:
    """Returns whether a source is a zoo, an index or a table, which is read as it is."""
    from sne.provenance.entries import is_zoo

    return is_zoo(source) or _has_embeddings(source)


def _has_embeddings(source: str) -> bool:
    """Returns whether a source is an index or a table."""
    from sne.report.map_sources import is_index, is_table

    return is_index(source) or is_table(source)


def _load_if_read(predictor: str, listed: list[str]) -> "Predictor | None":
    """Loads the predictor; None if an index or a table has the embeddings, so that none is needed."""
    from sne.predictors import Predictor

    return None if any(_has_embeddings(source) for source in listed) else Predictor.from_pretrained(predictor)


@contextmanager
def _failures_explain_an_empty_map(failures: Failures) -> Iterator[None]:
    """Names the files that cannot be read if there is no map because of them."""
    try:
        yield
    except ReportError:
        for path in failures:
            warn(failures.line(path))
        raise


def _summary(drawing: "MapDrawing", written: list[Path], num_failed: int) -> dict[str, Any]:
    """Returns the summary for programs."""
    labels = [label for label in drawing.labels if label]
    out = [str(path) for path in written]
    summary = {"out": out, "networks": len(drawing.data), "clusters": labels, "edges": len(drawing.edges)}
    return summary | {"layout": drawing.method, "failed": num_failed}


def _line(drawing: "MapDrawing", written: list[Path]) -> str:
    """Returns the summary for people."""
    names = ", ".join(str(path) for path in written)
    line = f"{names}: {counted(len(drawing.data), 'network')}, {counted(len(drawing.clusters), 'cluster')}"
    return line + (f", {counted(len(drawing.edges), 'edge')}" if drawing.edges else "")


def _files_to_write(out: Path | None, static: Path | None, table: Path | None) -> list[Path]:
    """Returns the files to write, and checks before long work that all of them can be written."""
    from sne.report.map_page import check_can_draw_page
    from sne.report.static_map import check_can_draw
    from sne.work import check_can_write

    written = [path for path in (out, static, table) if path is not None]
    if not written:
        raise SneError("nothing to write; name a page (--out map.html), a picture (--static) or a table (--table)")
    for option, path, suffix in (("--out", out, ".html"), ("--table", table, ".parquet")):
        if path is not None and path.suffix != suffix:
            raise SneError(f"{option} is {path}, expected a name that ends in {suffix}")
    if out is not None:
        check_can_draw_page()
    if static is not None:
        check_can_draw(static)
    for path in written:
        check_can_write(path)
    return written
