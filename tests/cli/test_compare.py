"""`sne compare`."""

import pytest
import torch
from provenance.descendants import noisy, perceptron


@pytest.fixture
def files(tmp_path):
    state = perceptron(0).state_dict()
    made = {"a": state, "b": noisy(state, 0.2), "c": perceptron(1).state_dict()}
    made["merged"] = {name: 0.5 * (made["a"][name] + made["b"][name]) for name in state}
    made["\x1b[31m"] = {f"\x1b[2J{name}": values for name, values in state.items()}
    for name, values in made.items():
        torch.save(values, tmp_path / f"{name}.pt")
    return tmp_path


def test_the_relation_stands_above_the_tensors(sne_command, files):
    done = sne_command("compare", files / "a.pt", files / "b.pt")
    lines = done.out.splitlines()
    assert done.status == 0 and done.err == ""
    assert lines[2].split() == ["relation", "fine-tune"]
    assert any(line.startswith("p-value") for line in lines)
    assert sum(" changed " in line for line in lines) == 6


def test_json_is_one_line(sne_command, files):
    (found,) = sne_command("compare", files / "a.pt", files / "c.pt", "--json").json()
    assert found["relation"] == "independent" and found["related"] is False and found["first"].endswith("a.pt")


def test_a_merge_is_told_with_its_parents(sne_command, files):
    done = sne_command("compare", files / "merged.pt", files / "a.pt", "--merged-with", files / "b.pt")
    assert "merge" in done.out.splitlines()[2] and "0.500 and 0.500" in done.out


def test_names_cannot_control_the_terminal(sne_command, files):
    done = sne_command("compare", files / "a.pt", files / "\x1b[31m.pt", "--all")
    assert done.status == 0 and "\x1b" not in done.out


def test_a_file_that_cannot_be_read_is_one_line(sne_command, files):
    (files / "broken.pt").write_bytes(b"no checkpoint")
    done = sne_command("compare", files / "a.pt", files / "broken.pt")
    assert done.status == 2 and len(done.err.splitlines()) == 1 and "broken.pt" in done.err
