"""`sne lineage`: trees in the terminal, and graphs in files."""

import io
import json

import networkx as nx
import pytest
import torch
from provenance.descendants import noisy, perceptron


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "checkpoints"
    (folder / "made").mkdir(parents=True)
    state = perceptron(0).state_dict()
    torch.save(state, folder / "root.pt")
    torch.save({name: values.half() for name, values in state.items()}, folder / "made" / "half.pt")
    torch.save(noisy(state, 0.2), folder / "made" / "tuned.pt")
    torch.save(perceptron(1).state_dict(), folder / "stranger.pt")
    return folder


def test_trees_are_printed(sne_command, files):
    done = sne_command("lineage", files)
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0] == "root.pt"
    assert lines[1].endswith("made/half.pt  precision") and "made/tuned.pt  fine-tune (0." in lines[2]
    assert lines[-1] == "4 networks: 1 tree, 1 without relatives (stranger.pt)"


def test_of_many_networks_without_relatives_the_first_are_named(sne_command, tmp_path):
    for number in range(10):
        torch.save(perceptron(number).state_dict(), tmp_path / f"{number}.pt")
    named = "0.pt, 1.pt, 2.pt, 3.pt, 4.pt, 5.pt, 6.pt, 7.pt and 2 more; --json has all"
    assert sne_command("lineage", tmp_path).out == f"10 networks: 0 trees, 10 without relatives ({named})\n"


def test_twins_are_shown_beside_each_other(sne_command, tmp_path):
    state = perceptron(0).state_dict()
    biases = {name: values for name, values in state.items() if name.endswith("bias")}
    one, two = ({**noisy(state, 0.6, seed=seed), **biases} for seed in (1, 2))
    torch.save(one, tmp_path / "one.pt")
    torch.save(two, tmp_path / "two.pt")
    torch.save({name: values.half() for name, values in one.items()}, tmp_path / "half.pt")
    lines = sne_command("lineage", tmp_path).out.splitlines()
    assert lines[0] == "one.pt" and lines[1].endswith("half.pt  precision")
    assert lines[3] == "two.pt  same initialisation as one.pt"
    assert lines[-1] == "3 networks: 2 trees, 0 without relatives; 2 pairs started from the same weights"


def test_json_has_edges_and_roots(sne_command, files):
    (found,) = sne_command("lineage", files, "--json").json()
    assert {edge["relation"] for edge in found["edges"]} == {"precision", "fine-tune"}
    assert all(edge["parent"].endswith("root.pt") for edge in found["edges"])
    assert len(found["networks"]) == 4 and len(found["roots"]) == 2


@pytest.mark.parametrize("suffix", ["json", "graphml", "mmd"])
def test_graphs_are_written(sne_command, files, tmp_path, suffix):
    out = tmp_path / f"graph.{suffix}"
    assert sne_command("lineage", files, "--out", out).status == 0
    if suffix == "json":
        assert len(json.loads(out.read_text())["edges"]) == 2
    elif suffix == "graphml":
        assert nx.read_graphml(out).number_of_edges() == 2
    else:
        assert out.read_text().startswith("flowchart TD") and out.read_text().count("-->") == 2


def test_the_networks_of_an_index_are_enough(sne_command, files, tmp_path):
    index = tmp_path / "index"
    assert sne_command("index", files, "--out", index).status == 0
    (found,) = sne_command("lineage", "--index", index, "--json").json()
    (direct,) = sne_command("lineage", files, "--json").json()
    assert [(edge["parent"], edge["child"]) for edge in found["edges"]] == [
        (edge["parent"], edge["child"]) for edge in direct["edges"]
    ]


def test_moved_and_changed_files_of_an_index_are_named(sne_command, files, tmp_path):
    index = tmp_path / "index"
    assert sne_command("index", files, "--out", index).status == 0
    (files / "made" / "half.pt").rename(tmp_path / "half.pt")
    torch.save(perceptron(2).state_dict(), files / "stranger.pt")
    done = sne_command("lineage", "--index", index, "--json")
    assert done.status == 2 and "half.pt" in done.err and "stranger.pt" in done.err
    (found,) = done.json()
    assert len(found["networks"]) == 2 and len(found["edges"]) == 1


@pytest.mark.parametrize("command", ["lineage", "index"])
def test_lines_of_stdin_are_paths_whatever_they_are(sne_command, files, tmp_path, monkeypatch, command):
    """A line `-` is a file of this name, and not once more the lines of stdin."""
    monkeypatch.chdir(files)
    (files / "root.pt").rename(files / "-")
    monkeypatch.setattr("sys.stdin", io.StringIO("-\nmade/half.pt\n"))
    options = ("--out", tmp_path / "index") if command == "index" else ()
    (found,) = sne_command(command, "made/tuned.pt", "-", *options, "--json").json()
    assert found["networks"] == 3 if command == "index" else len(found["edges"]) == 2


def test_mistakes_are_one_line(sne_command, files, tmp_path):
    for arguments in (("--json",), (files, "--index", tmp_path / "index")):
        done = sne_command("lineage", *arguments)
        assert done.status == 2 and done.err == "sne: expected either SOURCE arguments or --index\n"
    done = sne_command("lineage", files, "--out", tmp_path / "graph.png")
    assert done.status == 2 and "expected a name that ends in .json, .graphml, .mmd" in done.err
    (files / "broken.pt").write_bytes(b"nothing")
    done = sne_command("lineage", files)
    assert done.status == 2 and "broken.pt" in done.err and "1 tree" in done.out


def test_of_equal_files_either_may_be_the_original(sne_command, tmp_path):
    for name in ("one", "two"):
        torch.save(perceptron(0).state_dict(), tmp_path / f"{name}.pt")
    assert sne_command("lineage", tmp_path).out.splitlines()[1].endswith("two.pt  identical (0.50)")
