"""The page of a map holds all values exactly, and names from files as text only."""

import base64
import json
import re
from html import escape

import numpy as np
import pytest
from report.map_cases import HOSTILE, islands

from sne.errors import ReportError
from sne.provenance.forest import Edge
from sne.provenance.relation import Relation
from sne.report.map import draw
from sne.report.map_data import Column, MapData
from sne.report.map_page import colour_column, map_page, packed


def unpacked(values):
    kind, text = values
    return np.frombuffer(base64.b64decode(text), kind.removesuffix("Array").lower())


@pytest.fixture(scope="module")
def drawing():
    data = islands()
    edges = (
        Edge(data.names[0], data.names[1], Relation.PRUNED, None, 0.1, 1.0),
        Edge(data.names[1], data.names[2], Relation.MERGE, None, 0.1, 0.75, (data.names[3], 0.4)),
        Edge("elsewhere.pt", data.names[4], Relation.PRUNED, None, 0.1, 1.0),
    )
    return draw(data, layout="pca", edges=edges)


def test_what_is_packed_is_what_the_map_shows(drawing):
    data, found = drawing.data, packed(drawing)
    heads, head = found["names"]["heads"], unpacked(found["names"]["head"])
    assert tuple(heads[row] + tail for row, tail in zip(head, found["names"]["tails"], strict=True)) == data.names
    assert np.array_equal(np.stack([unpacked(found["x"]), unpacked(found["y"])], axis=1), drawing.places)
    columns = {column["name"]: column for column in found["columns"]}
    assert np.allclose(unpacked(columns["test_accuracy"]["numbers"]), data.find("test_accuracy").values, rtol=1e-6)
    assert np.allclose(unpacked(columns["predicted test_accuracy"]["high"]), data.columns[2].high, rtol=1e-6)
    diverged = columns["diverged"]
    assert unpacked(diverged["codes"])[0] == 0  # not known
    assert [diverged["values"][code - 1] for code in unpacked(diverged["codes"])[1:]] == data.columns[4].values[
        1:
    ].tolist()
    assert [[found["columns"][one]["name"] for one in pair] for pair in found["pairs"]] == [
        ["test_accuracy", "predicted test_accuracy"]
    ]
    assert found["columns"][found["colour"]]["name"] == "test_accuracy"
    assert found["edges"] == [[0, 1, "pruned", 1.0, None], [1, 2, "merge", 0.75, 3]]
    assert np.array_equal(unpacked(found["nextTo"]["rows"]).reshape(-1, 5), drawing.next_to)


def test_clusters_are_packed_with_their_members(drawing):
    found = packed(drawing)
    assert sorted(cluster["label"] for cluster in found["clusters"]) == ["family-0", "family-1", "family-2"]
    own = next(column for column in found["columns"] if column["name"] == "cluster")
    for cluster in found["clusters"]:
        codes = unpacked(own["codes"])[unpacked(cluster["rows"])]
        assert {own["values"][code - 1] for code in codes} == {cluster["label"]}


def test_large_integers_stay_exact():
    values = np.array([7_000_000_001.0, np.nan, 16_777_217.0])
    data = MapData(("a", "b", "c"), np.eye(3, dtype=np.float32), (Column("num_weights", values),))
    (column,) = packed(draw(data))["columns"]
    assert np.array_equal(unpacked(column["numbers"]), values, equal_nan=True)


def test_names_from_files_enter_the_page_as_text(drawing):
    names = (HOSTILE, "plain.pt\u2028", "\u202e.pt", "<b>bold</b>")
    columns = (Column.of(HOSTILE, [HOSTILE, "a", "b", "a"]),)
    data = MapData(names, np.eye(4, dtype=np.float32), columns)
    text = map_page(draw(data), title=HOSTILE)
    before, _, after = text.partition('<script type="application/json" id="map-data">')
    values, _, rest = after.partition("</script>")
    assert json.loads(values)["columns"][0]["name"] == HOSTILE  # the element did not end early
    assert HOSTILE not in before + rest and "document.title='run'" not in rest
    assert f"<h1>{escape(HOSTILE)}</h1>" in before


def test_the_page_is_one_file_that_requests_nothing(drawing):
    text = map_page(drawing, title="map")
    elements = re.sub(r"<script>.*?</script>", "<script></script>", text, flags=re.DOTALL)
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", elements)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy and "default-src &#x27;none&#x27;" in policy[1] and "connect-src" not in policy[1]
    identifiers = re.findall(r'\sid="([\w-]+)"', elements)
    assert len(identifiers) == len(set(identifiers))
    own_script = text[text.rindex("<script>") :]
    asked = set(re.findall(r'byId\("([\w-]+)"\)', own_script)) | {"map-data"}
    assert asked == set(identifiers)


def test_the_first_colour_can_be_chosen(drawing):
    assert colour_column(drawing, "optimizer") is drawing.data.find("config.optimizer")
    assert colour_column(drawing, "cluster").name == "cluster"
    with pytest.raises(ReportError, match="no property 'speed'"):
        colour_column(drawing, "speed")


def test_a_map_without_properties_can_be_drawn():
    drawing = draw(MapData(("a.pt",), np.zeros((1, 3), dtype=np.float32), ()))
    assert packed(drawing)["colour"] == -1 and "1 network, placed by" in map_page(drawing, title="one")
