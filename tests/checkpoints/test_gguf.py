"""GGUF: quantised types against the package's own decoding, order of the layers, experts, and metadata."""

import struct
import sys

import gguf
import numpy as np
import pytest
import torch
from checkpoint_files import write_gguf
from gguf import GGMLQuantizationType as Kind

from sne.checkpoints import CheckpointError, read_network

WIDTH, INNER = 64, 96


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def llama(blocks: int = 2) -> dict[str, np.ndarray]:
    """The tensors of a small model under the names of llama.cpp."""
    tensors = {"token_embd.weight": drawn(50, WIDTH), "output_norm.weight": drawn(WIDTH), "rope_freqs.weight": drawn(8)}
    tensors["output.weight"] = drawn(50, WIDTH)
    for block in range(blocks):
        shapes = {
            "attn_norm": (WIDTH,), "attn_q": (WIDTH, WIDTH), "attn_k": (32, WIDTH), "attn_v": (32, WIDTH),
            "attn_output": (WIDTH, WIDTH), "ffn_norm": (WIDTH,), "ffn_gate": (INNER, WIDTH),
            "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER),
        }  # fmt: skip
        tensors |= {f"blk.{block}.{name}.weight": drawn(*shape) for name, shape in shapes.items()}
    return tensors


def test_order_and_types_of_a_llama(tmp_path):
    write_gguf(llama(12), tmp_path / "a.gguf", "llama")
    network = read_network(tmp_path / "a.gguf")
    per_block = ["rms_norm", "attention_key", "attention_query", "attention_value", "attention_out"]
    per_block += ["rms_norm", "linear", "linear", "linear"]
    assert [layer.type.value for layer in network.layers] == ["embedding", *per_block * 12, "rms_norm", "linear"]
    assert [layer.name.split(".")[1] for layer in network.layers[1:-2:9]] == [str(block) for block in range(12)]
    notes = {note.tensor: note.reason for note in network.notes}
    assert notes.keys() == {"rope_freqs.weight", "general.architecture"}
    assert "not in that of transformers" in notes["general.architecture"]


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.BF16, Kind.TQ2_0])
def test_quantised_weights_are_those_of_the_package(kind, tmp_path):
    values = drawn(6, 512)
    write_gguf({"fc.weight": values}, tmp_path / "a.gguf", kind=kind)
    expected = gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
    network = read_network(tmp_path / "a.gguf")
    assert np.array_equal(network.read(network.layers[0].parts[0])[..., 0].numpy(), expected)
    assert network.source.infos["fc.weight"].dtype == ("bfloat16" if kind is Kind.BF16 else kind.name.lower())


@pytest.mark.parametrize("kind", sorted(gguf.quants._type_traits))
def test_every_type_of_the_package_is_decoded(kind, tmp_path):
    """Random bytes of each type: what is loaded, in pieces, is what the package decodes at once."""
    block, width = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(0).integers(0, 60, size=(4, 2 * width), dtype=np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "none")
    writer.add_tensor("fc.weight", raw, raw_dtype=kind)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    loaded = read_network(tmp_path / "a.gguf", allow_nonfinite=True).source.load("fc.weight")
    assert loaded.shape == (4, 2 * block)
    expected = torch.from_numpy(gguf.quants.dequantize(raw, kind).copy())
    assert torch.equal(loaded.float().nan_to_num(7.0), expected.nan_to_num(7.0))


def test_experts_are_read_apart(tmp_path):
    experts = drawn(4, INNER, WIDTH)
    tensors = llama(1) | {"blk.0.ffn_up_exps.weight": experts, "blk.0.ffn_gate_inp.weight": drawn(4, WIDTH)}
    write_gguf(tensors, tmp_path / "a.gguf", kind=Kind.Q8_0)
    network = read_network(tmp_path / "a.gguf")
    found = {layer.name: layer for layer in network.layers}
    assert "blk.0.ffn.router" in found
    expected = gguf.quants.dequantize(gguf.quants.quantize(experts, Kind.Q8_0), Kind.Q8_0)
    for expert in range(4):
        values = network.read(found[f"blk.0.ffn.experts.{expert}.up"].parts[0])
        assert np.array_equal(values[..., 0].numpy(), expected[expert])


def test_original_shapes_are_restored(tmp_path):
    """ComfyUI-GGUF stores convolutions as matrices, with their shapes in the metadata."""
    values = drawn(8, 4, 3, 3)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "flux")
    writer.add_array("comfy.gguf.orig_shape.conv.weight", [8, 4, 3, 3])
    writer.add_tensor("conv.weight", values.reshape(8, 36))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    network = read_network(tmp_path / "a.gguf")
    assert torch.equal(network.source.load("conv.weight"), torch.from_numpy(values))


def test_quantised_files_need_the_package_and_plain_ones_do_not(tmp_path, monkeypatch):
    write_gguf({"fc.weight": drawn(4, 32)}, tmp_path / "plain.gguf")
    write_gguf({"fc.weight": drawn(4, 32)}, tmp_path / "packed.gguf", kind=Kind.Q8_0)
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert read_network(tmp_path / "plain.gguf").num_weights == 128
    with pytest.raises(CheckpointError, match=r"install the extra 'gguf'"):
        read_network(tmp_path / "packed.gguf")


def header(*, tensors: int, pairs: int = 0, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def tensor(name: str, *shape: int, kind: int = 0, start: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, start)


NESTED = text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50 + bytes(100)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (header(tensors=2**60), "more than the file can hold"),
        (header(tensors=1, pairs=2**62), "more than the file can hold"),
        (header(tensors=0, pairs=1, rest=struct.pack("<Q", 2**50)), "more than the file can hold"),
        (header(tensors=0, pairs=1, rest=text("a") + struct.pack("<IIQ", 9, 4, 2**40)), "more than the file can hold"),
        (header(tensors=0, pairs=1, rest=NESTED), "nested too deeply"),
        (header(tensors=1, rest=tensor("a", 2**40, 2**20) + bytes(64)), "truncated: tensor 'a' ends at byte"),
        (header(tensors=1, rest=text("a") + struct.pack("<I", 10**6) + bytes(64)), "has 1000000 axes"),
        (header(tensors=2, rest=tensor("a", 4) * 2 + bytes(64)), "there are two tensors 'a'"),
        (header(tensors=2, rest=tensor("a", 4) + tensor("b", 4) + bytes(64)), "overlaps"),
        (header(tensors=1, rest=tensor("a", 4, kind=31) + bytes(64)), "no tensors that can be read"),
        (header(tensors=0), "no tensors"),
        (header(tensors=1, version=1), "version 1, expected 2 or 3"),
        (header(tensors=1, version=3 << 24), "big-endian"),
    ],
)
def test_hostile_headers(content, reason, tmp_path):
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        read_network(tmp_path / "a.gguf")


def test_a_type_that_is_not_known_is_noted(tmp_path):
    content = header(
        tensors=2, rest=tensor("a.weight", 4, 3) + tensor("b.weight", 4, 3, kind=31, start=64) + bytes(200)
    )
    (tmp_path / "a.gguf").write_bytes(content)
    network = read_network(tmp_path / "a.gguf")
    assert [layer.name for layer in network.layers] == ["a"]
    assert {note.tensor: note.reason for note in network.notes}["b.weight"].startswith("packed in the GGML type 31")
