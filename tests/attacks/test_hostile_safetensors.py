"""Hostile and damaged safetensors files: each raises one clear line, none is read in part."""

import json
import struct
from pathlib import Path

import pytest
import torch
from checkpoint_files import write_safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from safetensors.torch import save, save_file

from sne.checkpoints import CheckpointError, open_source, read_network

ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS = {
    "overlap": ({"a": ENTRY, "b": {**ENTRY, "data_offsets": [4, 12]}}, 12, "overlaps"),
    "same place": ({"a": ENTRY, "b": ENTRY}, 8, "overlaps"),
    "hole": ({"a": ENTRY, "b": {**ENTRY, "data_offsets": [12, 20]}}, 20, "belong to no tensor"),
    "beyond the end": ({"a": ENTRY}, 4, "truncated"),
    "left over": ({"a": ENTRY}, 12, "after the last tensor"),
    "wrong size": ({"a": {**ENTRY, "shape": [3]}}, 8, "needs 12 bytes, has 8"),
    "backwards": ({"a": {**ENTRY, "data_offsets": [8, 0]}}, 8, "needs 8 bytes, has -8"),
    "negative": ({"a": {**ENTRY, "shape": [-2]}}, 8, "not whole numbers"),
    "huge": ({"a": {**ENTRY, "shape": [2**62, 2**62]}}, 8, "needs"),
    "truth value": ({"a": {**ENTRY, "shape": [True, 2]}}, 8, "not whole numbers"),
    "three offsets": ({"a": {**ENTRY, "data_offsets": [0, 8, 8]}}, 8, "not whole numbers"),
    "unknown dtype": ({"a": {**ENTRY, "dtype": "F7"}}, 8, "unknown dtype 'F7'"),
    "dtype of a list": ({"a": {**ENTRY, "dtype": ["F32"]}}, 8, "unknown dtype"),
    "no fields": ({"a": {}}, 0, "lacks dtype"),
    "no object": ({"a": 3}, 0, "lacks dtype"),
    "no tensors": ({"__metadata__": {"format": "pt"}}, 0, "holds no tensors"),
    "a list": (b"[1, 2]", 0, "expected an object"),
    "no JSON": (b"{not json", 0, "not JSON"),
    "no UTF-8": (b'{"\xff\xfe": 1}', 0, "not UTF-8"),
    "doubled key": (
        b'{"a": %s, "a": %s}' % (json.dumps(ENTRY).encode(), json.dumps(ENTRY).encode()),
        8,
        "'a' twice",
    ),
    "deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 0, "nested too deeply"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_bad_header(case, tmp_path):
    header, length, message = HEADERS[case]
    file = write_safetensors(tmp_path / "a.safetensors", header, bytes(length))
    with pytest.raises(CheckpointError, match=message) as caught:
        read_network(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)
    assert (caught.value.file, len(caught.value.reason) < 300) == (str(file), True)


RAW = {
    "empty": (b"", "the file is empty"),
    "seven bytes": (b"1234567", "truncated"),
    "oversized header": (struct.pack("<Q", 2**40) + b"{}", "the header claims"),
    "header longer than the file": (struct.pack("<Q", 1000) + b"{}", "truncated"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(40), "a PNG image"),
    "web page": (b"<!DOCTYPE html><html>", "a web page"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + bytes(40), r"a TensorFlow Lite model; .*tf2onnx"),
    "web page of a hub": (b"<!doctype html><html>", "a web page instead of the file"),
    "ggml": (b"lmgg" + bytes(40), "older than GGUF"),
}


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "noname"])
@pytest.mark.parametrize("case", RAW)
def test_bad_bytes(case, name, tmp_path):
    content, message = RAW[case]
    (tmp_path / name).write_bytes(content)
    if case in ("seven bytes", "oversized header") and name != "a.safetensors":
        message = "not a|the content is not|the header claims"
    with pytest.raises(CheckpointError, match=message):
        read_network(tmp_path / name)


def test_missing_and_odd_paths(tmp_path):
    for source in (tmp_path / "nothing.pt", str(tmp_path / "no\0thing.pt")):
        with pytest.raises(CheckpointError):
            read_network(source)
    with pytest.raises(CheckpointError, match="no such file"):
        read_network(tmp_path / "nothing.pt")
    with pytest.raises((CheckpointError, TypeCheckError), match=r"expected a path|source"):
        read_network(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_values_that_are_not_finite(bad, dtype, tmp_path):
    weight = torch.ones(4, 5, dtype=dtype)
    weight[2, 3] = bad
    file = tmp_path / "a.safetensors"
    save_file({"fc.weight": weight, "fc.bias": torch.ones(4, dtype=dtype)}, file)
    network = read_network(file)
    with pytest.raises(CheckpointError, match=r"'fc.weight' has 1 NaN or infinite values of 20"):
        network.read(network.layers[0].parts[0])
    assert network.read(network.layers[0].parts[1]).sum() == 4


def test_file_that_shrinks_while_open(tmp_path):
    file = tmp_path / "a.safetensors"
    save_file({"fc.weight": torch.ones(40, 50)}, file)
    network = read_network(file)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="truncated"):
        network.read(network.layers[0].parts[0])


def test_masks_and_complex_numbers_are_noted(tmp_path):
    state = {"a.weight": torch.ones(2, 2), "mask": torch.ones(3, dtype=torch.bool)}
    state["spectrum"] = torch.ones(3, dtype=torch.complex64)
    save_file(state, tmp_path / "a.safetensors")
    network = read_network(tmp_path / "a.safetensors")
    assert {note.tensor for note in network.notes} == {"mask", "spectrum"}
    assert [layer.name for layer in network.layers] == ["a"]


GOOD = save({"a.weight": torch.randn(3, 4), "a.bias": torch.randn(3), "b.weight": torch.randn(2, 3)})


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_anywhere(tmp_path_factory, data):
    """A file with flipped or missing bytes is read whole or refused with a CheckpointError, nothing else."""
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    file = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    file.write_bytes(content)
    try:
        network = read_network(file)
        for _, part in network.parts():
            network.read(part)
    except CheckpointError as error:
        assert str(error).startswith(str(file))
    else:
        assert network.num_weights > 0


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
shapes = st.lists(st.integers(0, 4), max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(names.filter(lambda n: n != "__metadata__"), shapes, min_size=1, max_size=6))
def test_round_trip(tmp_path_factory, drawn):
    """What the safetensors library writes is read with the same names, shapes and values."""
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.randn(shape, generator=generator) for name, shape in drawn.items()}
    file: Path = tmp_path_factory.getbasetemp() / "round.safetensors"
    save_file(state, file)
    source = open_source(file)
    assert {name: info.shape for name, info in source.infos.items()} == {n: tuple(v.shape) for n, v in state.items()}
    assert all(torch.equal(source.load(name), value) for name, value in state.items())
