"""`write_map`: one call from sources to files, and lineage from files and by comparison."""

import json

import pytest
import torch
from provenance.descendants import noisy, perceptron
from report.map_cases import islands

from sne.errors import ReportError
from sne.report import write_map
from sne.report.map import read_edges, title_of_map
from sne.report.map_data import MapData


@pytest.fixture
def table(tmp_path):
    islands().write(tmp_path / "in.parquet")
    return str(tmp_path / "in.parquet")


def test_one_call_writes_page_picture_and_table(table, tmp_path):
    lines = []
    drawing = write_map(
        [table], tmp_path / "map.html", static=tmp_path / "map.png", table=tmp_path / "out.parquet", layout="pca",
        colour="family", title="islands", say=lines.append,
    )  # fmt: skip
    assert "<h1>islands</h1>" in (tmp_path / "map.html").read_text(encoding="utf-8")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert MapData.read(tmp_path / "out.parquet").names == drawing.data.names
    assert sorted(drawing.labels) == ["family-0", "family-1", "family-2"] and not drawing.edges and not lines


@pytest.mark.parametrize("name, start", [("map.pdf", b"%PDF"), ("map.svg", b"<?xml"), ("map.png", b"\x89PNG")])
def test_equal_maps_give_equal_pictures(table, tmp_path, name, start):
    for folder in ("one", "two"):
        write_map([table], static=tmp_path / folder / name, layout="pca", colour="optimizer", title="$x$ & <y>")
    content = (tmp_path / "one" / name).read_bytes()
    assert content.startswith(start) and content == (tmp_path / "two" / name).read_bytes()


def test_many_files_are_named_by_their_folder(tmp_path):
    (tmp_path / "runs").mkdir()
    for number in range(4):
        torch.save(perceptron(number).state_dict(), tmp_path / "runs" / f"{number}.pt")
    sources = [str(path) for path in sorted((tmp_path / "runs").iterdir())]
    write_map(sources, tmp_path / "map.html", layout="pca", lineage=False)
    assert "<h1>4 networks in folder runs</h1>" in (tmp_path / "map.html").read_text(encoding="utf-8")
    assert title_of_map(sources[:2], 2) == "0.pt, 1.pt"


def test_lineage_of_few_checkpoints_is_sought(tmp_path):
    state = perceptron(0).state_dict()
    pruned = {name: torch.where(values.abs() < 0.02, 0.0, values) for name, values in state.items()}
    for name, values in {"base": state, "pruned": pruned, "other": perceptron(1).state_dict()}.items():
        torch.save(values, tmp_path / f"{name}.pt")
    sources = [str(tmp_path / f"{name}.pt") for name in ("base", "other", "pruned")]
    (edge,) = write_map(sources, tmp_path / "map.html").edges
    assert (edge.parent, edge.child, edge.relation.value) == (sources[0], sources[2], "pruned")
    assert not write_map(sources, tmp_path / "map.html", lineage=False).edges


def test_edges_are_read_from_the_file_of_sne_lineage(tmp_path):
    data = islands()
    edge = {
        "parent": data.names[0], "child": data.names[5], "relation": "fine-tune", "p_value": 1e-9, "distance": 0.2,
        "confidence": 0.9, "merged_with": None,
    }  # fmt: skip
    file = tmp_path / "lineage.json"
    file.write_text(json.dumps({"edges": [edge, {**edge, "child": "gone.pt"}]}))
    (found,) = read_edges(file, data)
    assert found.to_json() == edge
    file.write_text(json.dumps({"edges": [{**edge, "child": "gone.pt"}]}))
    with pytest.raises(ReportError, match="none of its 1 edge joins two networks"):
        read_edges(file, data)
    for text in ("[]", '{"edges": [{}]}', "not json", json.dumps({"edges": [{**edge, "relation": "sister"}]})):
        file.write_text(text)
        with pytest.raises(ReportError, match=r"lineage\.json: expected the JSON of sne lineage"):
            read_edges(file, data)


def test_an_unknown_colour_is_an_error_before_anything_is_written(table, tmp_path):
    with pytest.raises(ReportError, match="no property 'speed'"):
        write_map([table], tmp_path / "map.html", colour="speed")
    assert not (tmp_path / "map.html").exists()


def test_noise_has_no_parents_it_was_not_made_from(tmp_path):
    state = perceptron(0).state_dict()
    torch.save(state, tmp_path / "a.pt")
    torch.save(noisy(state, 0.2), tmp_path / "b.pt")
    (edge,) = write_map([str(tmp_path / "a.pt"), str(tmp_path / "b.pt")], tmp_path / "map.html").edges
    assert edge.relation.value == "fine-tune"
