"""The page of a map: everything that the script draws, packed as JSON, and the elements that it fills."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from sne.errors import ReportError, counted, install_hint
from sne.provenance.forest import Edge
from sne.report.density import Cluster, Density
from sne.report.map_data import DOMAIN, PREDICTED, SUMMARY, Column, MapData
from sne.report.map_sources import FAMILY, FOLDER, KIND
from sne.report.markup import Child, Markup, element
from sne.report.page import json_element, page

CLUSTER = "cluster"
"""Column with the cluster of each network."""

NEXT_TO = 5
"""Number of the networks with the nearest embeddings that are listed for a network."""

METHODS = {"tsne": "t-SNE", "umap": "UMAP", "pca": "principal components"}

_EXACT = 2.0**24
"""Integers up to this one are exact in float32."""

_SEPARATORS = ("/", "::")


@dataclass(frozen=True)
class MapDrawing:
    """All that a map shows.

    Args:
        data: The networks.
        places: Their places.
        method: How the places were computed, see `sne.report.layout.lay_out`.
        density: Density of the places.
        clusters: Clusters of the places.
        labels: Label of each cluster; empty where nothing sets it apart.
        next_to: Numbers of the networks with the nearest embeddings, nearest first.
        edges: Parents and children; empty if they were not sought.
    """

    data: MapData
    places: Float[np.ndarray, "networks 2"]
    method: str
    density: Density
    clusters: tuple[Cluster, ...]
    labels: tuple[str, ...]
    next_to: Int[np.ndarray, "networks count"]
    edges: tuple[Edge, ...] = ()

    def cluster_column(self) -> Column:
        """Returns the cluster of each network by its label; clusters without one are numbered."""
        values = np.full(len(self.data), None, dtype=object)
        seen: dict[str, int] = {}
        for number, (cluster, label) in enumerate(zip(self.clusters, self.labels, strict=True), 1):
            label = label or f"cluster {number}"
            seen[label] = seen.get(label, 0) + 1
            values[cluster.members] = f"{label} ({seen[label]})" if seen[label] > 1 else label
        return Column(CLUSTER, values)


def check_can_draw_page() -> None:
    """Checks before long work that a page can be drawn.

    Raises:
        ReportError: plotly is not installed.
    """
    try:
        import plotly.offline  # noqa: F401
    except ImportError:
        raise ReportError(f"a map needs plotly; {install_hint('plot')}") from None


def map_page(drawing: MapDrawing, *, title: str, colour: str | None = None) -> str:
    """Writes the page of a map: one file with data, styles and plotly, which works without a network.

    Args:
        drawing: What the map shows.
        title: Title of the page; it may hold names from files.
        colour: Property that colours the networks at first; None to choose one.

    Raises:
        ReportError: plotly is not installed, or there is no such property.
    """
    check_can_draw_page()
    from plotly.offline import get_plotlyjs

    own = files("sne.report")
    return page(
        title,
        *_body(drawing, title),
        json_element("map-data", packed(drawing, colour)),
        style=own.joinpath("map.css").read_text(encoding="utf-8"),
        scripts=(get_plotlyjs(), own.joinpath("map.js").read_text(encoding="utf-8")),
        # plotly inserts styles, compiles the programs that draw points, and makes pictures to be saved
        policy={
            "style-src": "'unsafe-inline'",
            "script-src": "{scripts} 'unsafe-eval'",
            "img-src": "data: blob:",
            "worker-src": "blob:",
        },
        is_full_width=True,
    )


def packed(drawing: MapDrawing, colour: str | None = None) -> dict[str, Any]:
    """Returns what the script of the page reads, as plain JSON values; arrays are base64 of little-endian numbers.

    Args:
        drawing: What the map shows.
        colour: As for `map_page`.

    Raises:
        ReportError: There is no such property.
    """
    data = drawing.data
    columns = list(data.columns)
    if drawing.clusters:
        columns.append(drawing.cluster_column())
    order = {column.name: number for number, column in enumerate(columns)}
    rows = {name: row for row, name in enumerate(data.names)}
    density, chosen = drawing.density, colour_column(drawing, colour)
    return {
        "count": len(data),
        "names": _packed_names(data.names),
        "x": _numbers(drawing.places[:, 0]),
        "y": _numbers(drawing.places[:, 1]),
        "columns": [_packed_column(column) for column in columns],
        "pairs": [[order[measured.name], order[predicted.name]] for measured, predicted in data.pairs()],
        "colour": -1 if chosen is None else order[chosen.name],
        "domain": order.get(DOMAIN, -1),
        "summary": order.get(SUMMARY, -1),
        "clusters": [
            {"x": cluster.x, "y": cluster.y, "label": label, "rows": _numbers(cluster.members)}
            for cluster, label in zip(drawing.clusters, drawing.labels, strict=True)
        ],
        "density": {
            "at": [round(float(at), 5) for at in density.at],
            "inside": _numbers(np.round(255 * (1 - density.outside)).astype(np.uint8)),
        },
        "nextTo": {"count": drawing.next_to.shape[1], "rows": _numbers(drawing.next_to)},
        "edges": [_packed_edge(edge, rows) for edge in drawing.edges if edge.parent in rows and edge.child in rows],
    }


def _packed_edge(edge: Edge, rows: Mapping[str, int]) -> list[Any]:
    other = None if edge.merged_with is None else rows.get(edge.merged_with[0])
    return [rows[edge.parent], rows[edge.child], edge.relation.value, round(edge.confidence, 2), other]


def colour_column(drawing: MapDrawing, wanted: str | None) -> Column | None:
    """Returns the property that colours the networks at first; None if there are no properties.

    Args:
        drawing: What the map shows.
        wanted: Name of the property; None for the first measured one that is predicted, too, or else what a network is.

    Raises:
        ReportError: There is no such property.
    """
    columns = [*drawing.data.columns, *([drawing.cluster_column()] if drawing.clusters else [])]
    if wanted is not None:
        return columns[-1] if drawing.clusters and wanted == CLUSTER else drawing.data.find(wanted)
    by_name = {column.name: column for column in columns}
    for name in (*(measured.name for measured, _ in drawing.data.pairs()), "dataset", FAMILY, KIND, FOLDER, CLUSTER):
        if name in by_name and len(set(by_name[name].values[by_name[name].is_known].tolist())) > 1:
            return by_name[name]
    predicted = [column for column in columns if column.name.startswith(PREDICTED)]
    return (predicted or columns or [None])[0]


def _packed_names(names: Sequence[str]) -> dict[str, Any]:
    """Returns names as the parts up to the last separator, which many share, and the rest."""
    heads: dict[str, int] = {}
    numbers, tails = [], []
    for name in names:
        cut = max(name.rfind(separator) + len(separator) if separator in name else 0 for separator in _SEPARATORS)
        numbers.append(heads.setdefault(name[:cut], len(heads)))
        tails.append(name[cut:])
    return {"heads": list(heads), "head": _numbers(np.array(numbers, dtype=np.int64)), "tails": tails}


def _packed_column(column: Column) -> dict[str, Any]:
    kind = {"name": column.title, "predicted": column.name.startswith(PREDICTED)}
    if not column.is_number:
        values: dict[str, int] = {}
        codes = [0 if value is None else values.setdefault(value, len(values) + 1) for value in column.values]
        return {**kind, "values": list(values), "codes": _numbers(np.array(codes, dtype=np.int64))}
    found = {**kind, "numbers": _numbers(column.values)}
    if column.low is not None and column.high is not None:
        found |= {"low": _numbers(column.low), "high": _numbers(column.high)}
    return found


def _numbers(values: Shaped[np.ndarray, "..."]) -> list[str]:
    """Returns the name of the smallest type that holds some numbers, and their bytes; 24 bits hold a fraction."""
    if values.dtype.kind == "f":
        whole = np.abs(values[np.isfinite(values) & (values == np.round(values))])
        is_large = whole.max(initial=0.0) > _EXACT or np.abs(values[np.isfinite(values)]).max(initial=0.0) > 1e38
        kept = values.astype("<f8" if is_large else "<f4")
    else:
        largest = int(values.max(initial=0))
        kept = values.astype("<u1" if largest < 256 else "<u2" if largest < 65536 else "<u4")
    name = {"f8": "Float64", "f4": "Float32", "u1": "Uint8", "u2": "Uint16", "u4": "Uint32"}[kept.dtype.str[1:]]
    return [f"{name}Array", base64.b64encode(kept.tobytes()).decode()]


def _body(drawing: MapDrawing, title: str) -> list[Child]:
    """Returns the elements that the script fills."""
    many = counted(len(drawing.data), "network")
    families = f", {counted(len(drawing.clusters), 'cluster')}" if drawing.clusters else ""
    edges = f", {counted(len(drawing.edges), 'edge')} from parents to children" if drawing.edges else ""
    about = f"{many}, placed by {METHODS[drawing.method]} of their embeddings{families}{edges}"
    tools = element(
        "div",
        _choice("colour", "Colour"),
        _choice("size", "Size"),
        _check("density", "Density"),
        _check("labels", "Labels") if drawing.clusters else None,
        _check("lineage", "Lineage") if drawing.edges else None,
        element(
            "span",
            element("input", type="search", id="search", placeholder="Search names and values", aria_label="Search"),
            element("div", id="hits", hidden=True),
            class_="search",
        ),
        _choice("add-filter", "Filter"),
        element("button", "Reset", type="button", id="reset"),
        element("output", id="count", class_="soft"),
        class_="tools",
    )
    panel = element(
        "aside",
        element("section", id="card", class_="panel", aria_live="polite"),
        element(
            "section",
            element("div", _choice("across", "Across"), _choice("up", "Up"), class_="tools"),
            element("div", id="scatter", class_="plot"),
            element("p", id="figures", class_="soft small"),
            id="beside",
        ),
    )
    return [
        element("h1", title),
        element("p", about, class_="soft small"),
        tools,
        element("div", id="filters"),
        element(
            "div",
            element("div", element("div", id="map", class_="plot"), element("div", id="legend")),
            panel,
            class_="work",
        ),
        element("div", id="tip", hidden=True),
        element("noscript", element("p", "This page needs JavaScript.", class_="bad")),
        element("footer", _explanation(drawing)),
    ]


def _explanation(drawing: MapDrawing) -> str:
    text = "Networks with similar weights are near each other. "
    if drawing.method != "pca":
        text += "Distances and sizes of groups that are apart mean little. "
    text += "Lines of the density enclose 20, 40, 60 and 80% of the networks. "
    text += "Click a network for its properties, and draw a box or a lasso around several; labels select clusters. "
    return text + "Predictions in brackets are of networks outside the predictor's known domain. Made by sne map."


def _choice(identifier: str, label: str) -> Markup:
    return element("label", element("span", label), element("select", id=identifier))


def _check(identifier: str, label: str) -> Markup:
    return element("label", element("input", type="checkbox", id=identifier, checked=True), element("span", label))
