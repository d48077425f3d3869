"""Flax checkpoints: gates of cells, transposed convolutions, pieces of large arrays, collections and hostile files."""

import struct

import ml_dtypes
import msgpack
import numpy as np
import pytest
import torch
from checkpoint_files import flax_tree
from torch import nn

from sne.checkpoints import CheckpointError, read_network


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def write(path, tree) -> None:
    path.write_bytes(msgpack.packb(flax_tree(tree)))


@pytest.mark.parametrize(
    ("module", "gates"),
    [
        (nn.LSTM(6, 5), (("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho"))),
        (nn.GRU(6, 5), (("ir", "iz", "in"), ("hr", "hz", "hn"))),
        (nn.RNN(6, 5), (("i",), ("h",))),
    ],
)
def test_cells_are_cut_into_the_gates_of_torch(module, gates, tmp_path):
    """Flax stores a kernel per gate; a bias that it does not have is zero."""
    state = {key: value.numpy().copy() for key, value in module.state_dict().items()}
    if len(gates[0]) == 3:
        state["bias_hh_l0"][:10] = 0  # Flax has no biases there
    if len(gates[0]) == 4:
        state["bias_ih_l0"][:] = 0
    cell = {}
    for side, end in zip(gates, ("ih", "hh"), strict=True):
        for index, gate in enumerate(side):
            rows = slice(5 * index, 5 * index + 5)
            cell[gate] = {"kernel": state[f"weight_{end}_l0"][rows].T.copy()}
            if state[f"bias_{end}_l0"][rows].any():
                cell[gate]["bias"] = state[f"bias_{end}_l0"][rows].copy()
    write(tmp_path / "a.msgpack", {"params": {"cell": cell}})
    network = read_network(tmp_path / "a.msgpack")
    assert {layer.type.value for layer in network.layers} == {type(module).__name__.lower()}
    for key, values in state.items():
        if f"cell.{key}" in network.source.infos:
            assert np.array_equal(network.source.load(f"cell.{key}").numpy(), values)
        else:
            assert not values.any()


@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_transposed_convolutions(transpose_kernel, tmp_path):
    """Without transpose_kernel, positions run the other way than in torch."""
    weight = drawn(4, 6, 3, 3)  # of torch: in, out, positions
    kernel = weight.transpose(2, 3, 1, 0) if transpose_kernel else weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
    write(tmp_path / "a.msgpack", {"params": {"ConvTranspose_0": {"kernel": kernel.copy(), "bias": drawn(6)}}})
    network = read_network(tmp_path / "a.msgpack")
    assert [layer.type.value for layer in network.layers] == ["conv_transpose2d"]
    assert np.array_equal(network.source.load("ConvTranspose_0.weight").numpy(), weight)


def test_gpt2_of_transformers_is_stored_out_first(tmp_path):
    """FlaxConv1D stores [out, in], unlike every other kernel; the square projection follows the fused one."""
    block = {
        "attn": {
            "c_attn": {"kernel": drawn(24, 8), "bias": drawn(24)},
            "c_proj": {"kernel": drawn(8, 8), "bias": drawn(8)},
        },
        "mlp": {
            "c_fc": {"kernel": drawn(32, 8), "bias": drawn(32)},
            "c_proj": {"kernel": drawn(8, 32), "bias": drawn(8)},
        },
    }
    write(tmp_path / "a.msgpack", {"transformer": {"h": {"0": block}, "wte": {"embedding": drawn(11, 8)}}})
    source = read_network(tmp_path / "a.msgpack").source
    for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
        part, layer = name.split(".")
        assert np.array_equal(source.load(f"transformer.h.0.{name}.weight").numpy(), block[part][layer]["kernel"])


def test_pieces_of_large_arrays_are_joined(tmp_path):
    kernel = drawn(6, 4)
    flat = kernel.reshape(-1)
    pieces = {"0": flat[:10].copy(), "1": flat[10:20].copy(), "2": flat[20:].copy()}
    tree = {"__msgpack_chunked_array__": True, "shape": {"0": 6, "1": 4}, "chunks": pieces}
    write(tmp_path / "a.msgpack", {"params": {"fc": {"kernel": tree}}})
    assert np.array_equal(read_network(tmp_path / "a.msgpack").source.load("fc.weight").numpy(), kernel.T)
    for shape, chunks in (({"0": 600, "1": 4}, pieces), ({"0": 6, "1": 4}, {"0": pieces["0"], "2": pieces["2"]})):
        write(tmp_path / "b.msgpack", {"params": {"fc": {"kernel": tree | {"shape": shape, "chunks": chunks}}}})
        with pytest.raises(CheckpointError, match=r"needs 2400 entries, has 24|lacks some of its pieces"):
            read_network(tmp_path / "b.msgpack")


def test_one_collection_is_read_and_the_others_are_noted(tmp_path):
    params = {"fc": {"kernel": drawn(3, 2), "bias": drawn(2)}}
    state = {
        "params": params,
        "batch_stats": {"bn": {"mean": drawn(2), "var": drawn(2)}},
        "ema_params": params,
        "step": 1,
    }
    for tree in ({**state, "opt_state": params}, {"target": {"model": state}}, {"params": state}):
        write(tmp_path / "a.msgpack", tree)
        network = read_network(tmp_path / "a.msgpack")
        assert sorted(network.source.infos) == ["bn.running_mean", "bn.running_var", "fc.bias", "fc.weight"]
        assert any(note.tensor.endswith("ema_params") for note in network.notes)


def test_half_precision_and_scalars(tmp_path):
    params = {
        "fc": {"kernel": drawn(3, 2).astype(ml_dtypes.bfloat16)},
        "lr": 0.5,
        "name": "a",
        "none": None,
        "on": True,
    }
    write(tmp_path / "a.msgpack", params | {"list": {"0": -1, "1": 2**40, "2": b"x"}})
    source = read_network(tmp_path / "a.msgpack").source
    assert source.load("fc.weight").dtype == torch.bfloat16
    assert np.array_equal(source.load("fc.weight").float().numpy(), params["fc"]["kernel"].T.astype(np.float32))


def array(shape: bytes, dtype: bytes, values: bytes) -> bytes:
    body = b"\x93" + shape + bytes([0xA0 + len(dtype)]) + dtype + b"\xc6" + struct.pack(">I", len(values)) + values
    return b"\x81\xa6kernel\xc9" + struct.pack(">Ib", len(body), 1) + body


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xdf\xff\xff\xff\xff\xa1a\x01", "claims 4294967295 entries"),
        (b"\x81\xa1a\xdd\xff\xff\xff\xff", "claims 4294967295 entries"),
        (b"\x81\xa1a\xdb\xff\xff\xff\xff", "truncated"),
        (b"\x81\xa1a\xc9\xff\xff\xff\xff\x01", "truncated"),
        (b"\x81\xa1a" + b"\x91" * 5000 + b"\x01", "nested without end"),
        (b"\x81\xa1a\x01junk", "the content ends at byte"),
        (b"\x81\xa1a\xc1", "an unknown value"),
        (b"\x82\xa1a\x01\xc0\x01", "a key that is no text"),
        (array(b"\x91\xcf" + b"\xff" * 8, b"float32", bytes(4)), "needs .* bytes, has 4"),
        (array(b"\x91\x01", b"float32", bytes(40)), "needs 4 bytes, has 40"),
        (array(b"\x91\xc0", b"float32", bytes(4)), "no list of numbers"),
        (array(b"\x91\x01", b"object", bytes(4)), "no weights: an array of type object"),
        (b"\x81\xa1a\x01", "no weights"),
    ],
)
def test_hostile_files(content, reason, tmp_path):
    (tmp_path / "a.msgpack").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        read_network(tmp_path / "a.msgpack")
