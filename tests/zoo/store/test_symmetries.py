"""Zoos keep the symmetry of each network, where it is known."""

import json

import pytest
import torch
from small_zoos import write_zoo

from sne.symmetry import Group, Span, Symmetry, apply, apply_flat, sample, symmetry_from_json
from sne.zoo import Zoo, ZooError, ZooWriter, append, merge, verify


def mlp_symmetry(width):
    spans = (Span("0.weight", 0), Span("0.bias", 0), Span("2.weight", 1))
    shapes = {"0.weight": (width, 3), "0.bias": (width,), "2.weight": (2, width)}
    return Symmetry((Group("hidden", width, spans, ("permutation",)),), (), shapes)


def mlp_state(width, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"0.weight": (width, 3), "0.bias": (width,), "2.weight": (2, width), "2.bias": (2,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def add(writer, number, width, symmetry, prefix="n"):
    writer.add(
        id=f"{prefix}{number}", run=f"{prefix}{number}", family="mlp", dataset="toy", step=0,
        state=mlp_state(width, number), properties={}, hyperparameters={}, symmetry=symmetry,
    )  # fmt: skip


def write(path, prefix="n"):
    """Two widths, the third network's symmetry unknown."""
    with ZooWriter(path) as writer:
        for number, (width, is_known) in enumerate([(4, True), (5, True), (4, False), (4, True)]):
            add(writer, number, width, mlp_symmetry(width) if is_known else None, prefix)
    return path


def widths(zoo):
    found = [zoo.symmetry(row) for row in range(len(zoo))]
    return [None if one is None else one.groups[0].size for one in found]


def test_kept_once_and_read_again(tmp_path):
    zoo = Zoo.open(write(tmp_path / "zoo"))
    assert zoo.symmetry(0) == mlp_symmetry(4) and zoo.symmetry(1) == mlp_symmetry(5)
    assert zoo.symmetry(2) is None and zoo.symmetry(3) is zoo.symmetry(0)
    assert "symmetry" not in zoo.property_names and len(zoo.symmetries) == 2
    plain = json.loads((tmp_path / "zoo" / "symmetries.json").read_text())
    keys = zoo.table["symmetry"].to_pylist()
    assert list(plain) == [keys[0], keys[1]] and keys[2] is None
    assert symmetry_from_json(json.dumps(plain[keys[0]])) == mlp_symmetry(4)
    assert verify(tmp_path / "zoo").is_intact and not verify(tmp_path / "zoo").notes


def test_a_drawn_change_of_a_row(tmp_path):
    zoo = Zoo.open(write(tmp_path / "zoo"))
    g = sample(zoo.symmetry(1), 0)
    changed = zoo.with_weights({1: apply_flat(g, zoo.layout(1).slots, zoo.weights(1))})
    expected = apply(g, mlp_state(5, 1))
    for _, part in changed.network(1).parts():
        torch.testing.assert_close(changed.network(1).source.load(part.tensor), expected[part.tensor])
    assert torch.equal(changed.weights(0), zoo.weights(0)) and not torch.equal(changed.weights(1), zoo.weights(1))
    vectors, starts = changed.weight_rows([1, 0])
    assert torch.equal(vectors[: starts[1]], changed.weights(1))
    with pytest.raises(ZooError, match="n0: 3 weights, expected 26"):
        zoo.with_weights({0: torch.ones(3)})


def test_zoos_without_symmetries(tmp_path):
    write_zoo(tmp_path / "zoo", count=2)
    assert not (tmp_path / "zoo" / "symmetries.json").exists()
    assert widths(Zoo.open(tmp_path / "zoo")) == [None, None]
    assert verify(tmp_path / "zoo").is_intact
    merge(tmp_path / "both", [tmp_path / "zoo", write(tmp_path / "new", "m")])
    assert widths(Zoo.open(tmp_path / "both")) == [None, None, 4, 5, None, 4]
    append(tmp_path / "zoo", [tmp_path / "new"])
    assert widths(Zoo.open(tmp_path / "zoo")) == [None, None, 4, 5, None, 4]
    assert verify(tmp_path / "zoo").is_intact


def test_merged_and_appended(tmp_path):
    write(tmp_path / "one", "a")
    write(tmp_path / "two", "b")
    zoo = merge(tmp_path / "both", [tmp_path / "one", tmp_path / "two"])
    assert widths(zoo) == [4, 5, None, 4] * 2 and len(zoo.symmetries) == 2
    with ZooWriter(tmp_path / "one", append=True) as writer:
        add(writer, 9, 6, mlp_symmetry(6))
    append(tmp_path / "one", [tmp_path / "two"])
    assert widths(Zoo.open(tmp_path / "one")) == [4, 5, None, 4, 6, 4, 5, None, 4]
    assert verify(tmp_path / "one").is_intact


def test_one_of_another_network_is_refused(tmp_path):
    with (
        pytest.raises(ZooError, match=r"the symmetry belongs to another network: it changes .* of shape \[.*5.*\]"),
        ZooWriter(tmp_path / "zoo") as writer,
    ):
        add(writer, 0, 4, mlp_symmetry(5))
    assert not (tmp_path / "zoo" / "networks.parquet").exists()
    with (
        pytest.raises(ZooError, match="which is missing here"),
        ZooWriter(tmp_path / "zoo") as writer,
    ):
        add(writer, 0, 4, Symmetry((Group("g", 2, (Span("x", 0),), ("permutation",)),), (), {"x": (2,)}))


def change(path, how):
    file = path / "symmetries.json"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(how(lines)))


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        (lambda lines: [lines[0], lines[1].replace('"size":4', '"size":2'), *lines[2:]], "has changed"),
        (lambda lines: [lines[0], lines[1].replace('"size":4', '"size":9'), *lines[2:]], "do not lie in 0 to 4"),
        (lambda lines: [lines[0], lines[1].replace("{", "[", 1), *lines[2:]], "is missing"),
        (lambda lines: [lines[0], *lines[2:]], "is missing"),
    ],
)
def test_damage_is_found_and_hurts_no_weights(tmp_path, how, fault):
    change(write(tmp_path / "zoo"), how)
    report = verify(tmp_path / "zoo")
    faults = [one for one in report.faults if one.file == "symmetries.json"]
    assert len(faults) == 1 and fault in faults[0].reason and faults[0].networks == 0 and not report.damaged
    zoo = Zoo.open(tmp_path / "zoo")
    assert zoo.symmetry(1) == mlp_symmetry(5)
    if fault != "has changed":
        with pytest.raises(ZooError, match=r"symmetries\.json"):
            zoo.symmetry(0)


def test_no_object_is_told(tmp_path):
    for text, message in (("{", "cannot be read"), ("[]", "expected an object from ids to symmetries")):
        write(tmp_path / text, "n")
        (tmp_path / text / "symmetries.json").write_text(text)
        with pytest.raises(ZooError, match=message):
            Zoo.open(tmp_path / text)
