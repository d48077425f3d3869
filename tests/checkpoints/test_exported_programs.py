"""Exported programs: classes and ties of the module, views, constants, and archives whose claims are not true."""

import json
import zipfile

import pytest
import torch
from checkpoint_files import layout, same_values
from torch import nn

from sne.checkpoints import CheckpointError, open_source, read_network


class Odd(nn.Module):
    """A module whose names tell little: the classes of its parts decide."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(4, 4, 3, bias=False)
        self.second = nn.GroupNorm(2, 4)
        self.table = nn.Linear(4, 4, bias=False)
        self.again = nn.Linear(4, 4, bias=False)
        self.again.weight = self.table.weight
        self.register_buffer("scale", torch.ones(6)[::2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x)).mean((2, 3))
        return self.again(self.table(x)) * self.scale.sum() * torch.tensor([1.0, 2.0, 3.0, 4.0])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    module, file = Odd(), tmp_path_factory.mktemp("exported") / "odd.pt2"
    torch.export.save(torch.export.export(module, (torch.zeros(1, 4, 5, 5),)), file)
    return module, file


def test_as_the_module(exported):
    module, file = exported
    read, expected = read_network(file), read_network(module)
    assert layout(read) == layout(expected)
    assert same_values(read, expected)
    kinds = {layer.name: layer.type.value for layer in read.layers}
    assert (kinds["first"], kinds["second"]) == ("conv_transpose2d", "group_norm")
    source = open_source(file)
    assert source.hints["first"].order < source.hints["second"].order
    assert any("constant of the program" in note.reason for note in read.notes)


def test_archives_of_older_versions(exported, tmp_path):
    """torch.export before torch 2.8 kept the state dict as a torch file within the archive."""
    torch.save(exported[0].state_dict(), tmp_path / "state.pt")
    torch.save(((torch.zeros(1, 4, 5, 5),), {}), tmp_path / "inputs.pt")
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.write(tmp_path / "state.pt", "serialized_state_dict.pt")
        archive.write(tmp_path / "inputs.pt", "serialized_example_inputs.pt")
        archive.writestr("version", "8.0")
    assert torch.equal(open_source(tmp_path / "a.pt2").load("first.weight"), exported[0].first.weight)


def changed(file, target, change) -> None:
    """A copy of an archive with another list of weights."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("model_weights_config.json"):
                config = json.loads(content)
                change(config["config"]["first.weight"])
                content = json.dumps(config).encode()
            new.writestr(name, content)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda e: e.update(path_name="weight_99"), "are missing"),
        (lambda e: e.update(path_name="../../etc/passwd"), "are missing"),
        (lambda e: e["tensor_meta"].update(sizes=[{"as_int": 10**12}], strides=[{"as_int": 1}]), "needs .* bytes"),
        (
            lambda e: e["tensor_meta"].update(sizes=[{"as_int": 10**12}], strides=[{"as_int": 0}]),
            "claims 1000000000000",
        ),
        (lambda e: e["tensor_meta"].update(sizes=[{"as_int": -4}], strides=[{"as_int": 1}]), "no shape"),
        (lambda e: e["tensor_meta"].update(storage_offset={"as_int": 10**15}), "needs .* bytes"),
        (lambda e: e["tensor_meta"].update(sizes=[{"as_expr": "s0"}] * 4), "no shape"),
        (lambda e: e["tensor_meta"].update(dtype=99), "no shape, strides and type"),
        (lambda e: e.update(tensor_meta=None), "no shape"),
    ],
)
def test_claims_are_checked(change, reason, exported, tmp_path):
    changed(exported[1], tmp_path / "a.pt2", change)
    with pytest.raises(CheckpointError, match=reason):
        read_network(tmp_path / "a.pt2")


def test_pickled_weights_are_noted(exported, tmp_path):
    changed(exported[1], tmp_path / "a.pt2", lambda entry: entry.update(use_pickle=True))
    notes = {note.tensor: note.reason for note in read_network(tmp_path / "a.pt2").notes}
    assert "pickle" in notes["first.weight"]


def test_a_program_that_is_odd_is_read_without_hints(exported, tmp_path):
    for text in (b"[]", b'{"graph_module": 3}', b'{"graph_module": {"graph": {"nodes": [3, {"inputs": [null]}]}}}'):
        with zipfile.ZipFile(exported[1]) as old, zipfile.ZipFile(tmp_path / "a.pt2", "w") as new:
            for name in old.namelist():
                new.writestr(name, text if name.endswith("models/model.json") else old.read(name))
        assert torch.equal(open_source(tmp_path / "a.pt2").load("first.weight"), exported[0].first.weight)
