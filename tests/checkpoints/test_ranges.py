"""Parts read in pieces or by neurons have the values of parts read whole, in every format, and only these are read."""

import json
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import branching, same_values, write_big_endian, write_exported, write_gguf
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import save_file
from torch import Tensor, nn

from sne import CheckpointError, read_network
from sne.checkpoints.source import CheckpointSource
from sne.networks import LayerType, Network, Part, Role
from sne.networks.part import RangeSource


def state(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Tensors of every kind that is cut: fused, stacked, [in, out], transposed, tables, vectors."""
    shapes = {
        "conv.weight": (5, 3, 2, 3), "up.weight": (4, 5, 2, 1), "up.bias": (5,), "embed.weight": (10, 4),
        "h.0.attn.c_attn.weight": (4, 12), "h.0.attn.c_attn.bias": (12,), "h.0.attn.c_proj.weight": (4, 4),
        "attn.in_proj_weight": (12, 4), "attn.in_proj_bias": (12,), "rnn.weight_ih_l0": (8, 3),
        "rnn.weight_hh_l0": (8, 2), "rnn.bias_ih_l0": (8,), "pos_embed": (1, 5, 4), "norm.weight": (9,),
        "moe.experts.down": (2, 3, 5), "mlp.gate_up_proj.weight": (6, 4), "kernels.kernel": (2, 1, 3, 4),
        "scale": (),
    }  # fmt: skip
    torch.manual_seed(0)
    return {name: torch.randn(shape).to(dtype) for name, shape in shapes.items()}


class Recorded:
    """A source that remembers what is loaded, and how much at once.

    Args:
        source: The source.
    """

    def __init__(self, source: CheckpointSource) -> None:
        self._source = source
        self.name, self.infos = source.name, source.infos
        self.whole: list[str] = []
        self.largest = self.read = 0

    def load(self, name: str) -> Tensor:
        self.whole.append(name)
        return self._source.load(name)

    def load_range(self, name: str, start: int, stop: int) -> Tensor | None:
        found = self._source.load_range(name, start, stop)
        if found is not None:
            self.largest = max(self.largest, stop - start)
            self.read += stop - start
        return found


def recorded(source: Any) -> tuple[Network, Recorded]:
    network = read_network(source)
    assert isinstance(network.source, CheckpointSource)
    recorder = Recorded(network.source)
    return Network(network.name, network.layers, recorder), recorder


def index(numbers: list[int] | None) -> Tensor | None:
    return None if numbers is None else torch.tensor(numbers, dtype=torch.int64)


def assert_pieces_equal_parts(network: Network, draws: int = 2) -> None:
    """Compares pieces and rows of random sizes with the whole parts, bit for bit."""
    rng = random.Random(0)
    for _, part in network.parts():
        expected = network.read(part)
        num_out, num_in, kernel = expected.shape
        for draw in range(draws):
            most, align = rng.choice([1, 3, 7, 16, 30, 10**6]), rng.choice([1, 1, 3])
            pieces = torch.full(expected.shape, float("nan"))
            for block in network.read_blocks(part, most, align=align):
                assert pieces[block.rows, block.columns].isnan().all(), "two pieces overlap"
                assert block.values.dtype == torch.float32
                assert block.values.numel() <= max(most, align * kernel)
                assert block.columns.start % align == 0
                assert num_in > 1 or block.rows.start % align == 0
                pieces[block.rows, block.columns] = block.values
            assert torch.equal(pieces, expected), (part, most, align)
            rows = [rng.randrange(num_out) for _ in range(rng.randrange(5))] + list(range(draw % (num_out + 1)))
            columns = [rng.randrange(num_in) for _ in range(rng.randrange(6))]
            for some, others in ((rows, None), (rows, columns), (None, columns), (None, None)):
                sample = network.read_sample(part, index(some), index(others))
                assert sample.dtype == torch.float32
                wanted = expected if some is None else expected[index(some)]
                assert torch.equal(sample, wanted if others is None else wanted[:, index(others)]), (part, some, others)


def save_in_shards(tensors: dict[str, Tensor], folder: Path) -> Path:
    folder.mkdir()
    names = sorted(tensors)
    files = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, some in files.items():
        save_file({name: tensors[name] for name in some}, folder / file)
    places = {name: file for file, some in files.items() for name in some}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_pieces_and_samples_of_every_kind_of_part(dtype, tmp_path):
    save_file(state(dtype), tmp_path / "a.safetensors")
    network, recorder = recorded(tmp_path / "a.safetensors")
    kinds = {part.axis is not None for _, part in network.parts()} | {part.in_axis for _, part in network.parts()}
    assert {True, False, None} <= kinds, "the state has parts of every kind"
    assert_pieces_equal_parts(network)
    assert recorder.read > 0


@pytest.mark.parametrize("writer", ["torch", "old torch", "shards", "state dict", "npz", "compressed npz", "gguf"])
def test_pieces_from_every_reader(writer, tmp_path):
    tensors, file = state(), tmp_path / "a.pt"
    if writer == "torch":
        torch.save(tensors, file)
    elif writer == "old torch":
        torch.save(tensors, file, _use_new_zipfile_serialization=False)
    elif writer == "shards":
        file = save_in_shards(tensors, tmp_path / "a")
    elif writer == "gguf":
        file = tmp_path / "a.gguf"
        write_gguf({name: values.numpy() for name, values in tensors.items() if values.ndim}, file)
    elif writer != "state dict":
        file = tmp_path / "a.npz"
        save = np.savez if writer == "npz" else np.savez_compressed
        save(file, **{name: values.numpy() for name, values in tensors.items()})  # pyright: ignore
    source = tensors if writer == "state dict" else file
    network, recorder = recorded(source)
    assert_pieces_equal_parts(network, 1)
    assert (recorder.read > 0) == (writer != "compressed npz")
    assert same_values(Network("a", network.layers, recorder), read_network(source))


def test_pieces_of_an_exported_program(tmp_path):
    write_exported(branching(), tmp_path / "a.pt2")
    network, recorder = recorded(tmp_path / "a.pt2")
    assert_pieces_equal_parts(network, 1)
    assert recorder.read > 0


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.Q4_0, Kind.F16, Kind.BF16])
def test_pieces_of_quantised_gguf(kind, tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 512)).astype(np.float32)
    write_gguf({"fc.weight": values}, tmp_path / "a.gguf", kind=kind)
    network, recorder = recorded(tmp_path / "a.gguf")
    part = network.layers[0].parts[0]
    expected = network.read(part)
    for most in (100, 301, 700):
        pieces = torch.cat([block.values.flatten() for block in network.read_blocks(part, most)])
        assert torch.equal(pieces, expected.flatten())
    assert recorder.largest <= 700


def test_tensor_parallel_parts_are_read_by_rows(tmp_path):
    torch.manual_seed(0)
    whole = {"layers.0.attention.wq.weight": torch.randn(8, 6), "layers.0.attention.wo.weight": torch.randn(6, 8)}
    norm = {"norm.weight": torch.ones(6)}
    for i in range(2):
        wq = whole["layers.0.attention.wq.weight"][4 * i : 4 * i + 4].clone()
        wo = whole["layers.0.attention.wo.weight"][:, 4 * i : 4 * i + 4].clone()
        some = {"layers.0.attention.wq.weight": wq, "layers.0.attention.wo.weight": wo, **norm}
        torch.save(some, tmp_path / f"consolidated.0{i}.pth")
    network, recorder = recorded(tmp_path)
    assert_pieces_equal_parts(network)
    assert recorder.whole.count("layers.0.attention.wo.weight") > recorder.whole.count("layers.0.attention.wq.weight")


def test_composed_weights_are_read_whole(tmp_path):
    torch.manual_seed(0)
    pruned = {"fc.weight_orig": torch.randn(9, 7), "fc.weight_mask": (torch.rand(9, 7) > 0.5).float()}
    network, recorder = recorded(pruned)
    assert_pieces_equal_parts(network, 1)
    assert recorder.read == 0


@pytest.mark.parametrize("strides", ["transposed", "expanded", "sliced"])
def test_tensors_whose_entries_do_not_lie_together(strides, tmp_path):
    torch.manual_seed(0)
    weight = {
        "transposed": torch.randn(6, 9).T, "expanded": torch.randn(6).expand(9, 6), "sliced": torch.randn(9, 12)[:, ::2]
    }[strides]  # fmt: skip
    torch.save({"fc.weight": weight}, tmp_path / "a.pt")
    for source in ({"fc.weight": weight}, tmp_path / "a.pt"):
        network, recorder = recorded(source)
        assert_pieces_equal_parts(network)
        assert recorder.read == 0


def test_views_at_an_offset(tmp_path):
    torch.manual_seed(0)
    flat = torch.randn(200)
    tensors = {"a.weight": flat[3:45].view(6, 7), "b.weight": flat[50:70].view(4, 5)}
    torch.save(tensors, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert len([name for name in archive.namelist() if "/data/" in name]) == 1, "both view one storage"
    network, recorder = recorded(tmp_path / "a.pt")
    assert_pieces_equal_parts(network)
    assert recorder.read > 0
    for layer, part in network.parts():
        assert torch.equal(network.read(part)[..., 0], tensors[f"{layer.name}.weight"])


def test_negated_views_are_right(tmp_path):
    torch.manual_seed(0)
    weight = torch.view_as_complex(torch.randn(5, 4, 2)).conj().imag
    assert weight.is_neg()
    torch.save({"fc.weight": weight}, tmp_path / "a.pt")
    network = read_network(tmp_path / "a.pt")
    assert_pieces_equal_parts(network)
    assert torch.equal(network.read(network.layers[0].parts[0])[..., 0], weight)


def test_big_endian_archives_are_not_read_in_ranges(tmp_path):
    weight = torch.randn(6, 5)
    torch.save({"fc.weight": weight}, tmp_path / "a.pt")
    write_big_endian(tmp_path / "a.pt", tmp_path / "b.pt")
    network, recorder = recorded(tmp_path / "b.pt")
    assert_pieces_equal_parts(network)
    assert (recorder.read, set(recorder.whole)) == (0, {"fc.weight"})
    assert torch.equal(network.read(network.layers[0].parts[0])[..., 0], weight)


def test_only_the_piece_is_read(tmp_path):
    save_file({"fc.weight": torch.randn(64, 32)}, tmp_path / "a.safetensors")
    network, recorder = recorded(tmp_path / "a.safetensors")
    part = network.layers[0].parts[0]
    first = next(iter(network.read_blocks(part, 100)))
    assert first.values.shape == (3, 32, 1)
    assert (recorder.read, recorder.whole) == (96, [])
    network.read_sample(part, index([5, 6, 7, 60]), index([3, 1]))
    assert (recorder.read, recorder.whole) == (96 + 4 * 32, [])


def test_a_third_of_a_fused_tensor_reads_a_third(tmp_path):
    save_file({"attn.in_proj_weight": torch.randn(36, 12)}, tmp_path / "a.safetensors")
    network, recorder = recorded(tmp_path / "a.safetensors")
    blocks = list(network.read_blocks(network.layers[1].parts[0], 10**6))
    assert len(blocks) == 1
    assert (recorder.read, recorder.whole) == (12 * 12, [])


def test_interleaved_heads_are_read_run_by_run():
    part = Part("qkv", Role.WEIGHT, (6, 5), in_axis=1, axis=0, start=2, run=2, step=6)
    source = read_network({"qkv": torch.arange(90.0).view(18, 5)}).source
    network = Network("a", (), source)
    assert network.read(part)[:, 0, 0].tolist() == [10, 15, 40, 45, 70, 75]
    for most in (1, 5, 12, 100):
        pieces = torch.cat([block.values.flatten() for block in network.read_blocks(part, most)])
        assert torch.equal(pieces, network.read(part).flatten())
    assert torch.equal(network.read_sample(part, index([5, 0, 3]), None), network.read(part)[[5, 0, 3]])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_pieces_with_nonfinite_values_are_refused(bad, tmp_path):
    weight = torch.randn(10, 10)
    weight[7, 3] = bad
    save_file({"fc.weight": weight}, tmp_path / "a.safetensors")
    network = read_network(tmp_path / "a.safetensors")
    part = network.layers[0].parts[0]
    blocks = network.read_blocks(part, 50)
    assert torch.equal(next(blocks).values[..., 0], weight[:5])
    with pytest.raises(CheckpointError, match=re.escape("1 NaN or infinite values of 50 in entries 50 to 100")):
        next(blocks)


def test_large_finite_values_are_no_infinity(tmp_path):
    weight = torch.full((8, 8), 60000.0, dtype=torch.float16)
    save_file({"fc.weight": weight, "b.weight": torch.full((8, 8), 3e38)}, tmp_path / "a.safetensors")
    assert_pieces_equal_parts(read_network(tmp_path / "a.safetensors"))


def test_neurons_and_ranges_that_are_not_there(tmp_path):
    network = read_network(nn.Linear(4, 3))
    source = network.source
    assert isinstance(source, RangeSource)
    with pytest.raises(IndexError, match="rows 1 to 3 of a part of tensor 'weight' with 3 rows"):
        network.read_sample(network.layers[0].parts[0], index([1, 3]), None)
    with pytest.raises(IndexError, match="columns -1 to 2 of a part of tensor 'weight' with 4 columns"):
        network.read_sample(network.layers[0].parts[0], None, index([-1, 2]))
    for start, stop in ((-1, 3), (0, 13), (5, 2)):
        with pytest.raises(CheckpointError, match="has 12 entries"):
            source.load_range("weight", start, stop)
    with pytest.raises(CheckpointError, match="no tensor 'fc'"):
        source.load_range("fc", 0, 1)


def test_a_file_that_shrinks_between_pieces_is_an_error(tmp_path):
    for name, save in (("a.safetensors", save_file), ("a.pt", torch.save)):
        save({"fc.weight": torch.randn(100, 100)}, tmp_path / name)
        network = read_network(tmp_path / name)
        blocks = network.read_blocks(network.layers[0].parts[0], 1000)
        next(blocks)
        with (tmp_path / name).open("r+b") as stream:
            stream.truncate(5000)
        with pytest.raises(CheckpointError, match="truncated"):
            list(blocks)


def test_kernels_with_positions_first_are_read_whole():
    network, recorder = recorded({"conv.kernel": torch.randn(3, 3, 5, 6), "conv.bias": torch.randn(6)})
    part = next(part for layer, part in network.parts() if layer.type is LayerType.CONV2D and len(part.shape) == 4)
    assert part.out_axis == 3
    assert_pieces_equal_parts(network)
    assert "conv.kernel" in recorder.whole
