"""A tensor that is read in pieces is measured as a whole one is."""

import math

import pytest
import torch
from oracles import handmade
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sne.encoders import layout_reader, measures, streamed
from sne.encoders.descriptors import DESCRIPTOR_NAMES, describe
from sne.encoders.layer_signals import SIGNAL_NAMES
from sne.encoders.layout_reader import LayoutReader
from sne.encoders.measures import Probes, WholeTensor
from sne.encoders.streamed import StreamedTensor, WholePart
from sne.encoders.tensor_tokens import tokenize
from sne.networks import Layer, LayerType, Network, Part, Role

SHAPES = [(30, 40, 1), (30, 5, 9), (200, 1, 1), (7, 3, 25), (2, 300, 1), (9, 1, 9)]


def weights(*shape: int, batch: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *shape, generator=generator) * 0.3 + 0.05


def stream(tensor: torch.Tensor) -> StreamedTensor:
    part = Part("w", Role.WEIGHT, tuple(tensor.shape[1:]), 0, 1)
    layers = (Layer("w", LayerType.LINEAR, 0, (part,)),)
    networks = [Network("n", layers, handmade.TensorsInMemory({"w": one})) for one in tensor]
    return StreamedTensor([WholePart(network, part) for network in networks])


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "READ_ENTRIES", 200)
    monkeypatch.setattr(streamed, "PIECE_ENTRIES", 64)


def assert_described_alike(got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Features that are computed from counts may differ by the rounding of bfloat16, all others by little."""
    for column, name in enumerate(DESCRIPTOR_NAMES):
        is_counted = name.startswith("distribution/") and name.split("/")[1] not in ("log_rms", "mean", "deviation")
        allowed = 5e-3 if is_counted else tolerance
        assert (got[:, column] - expected[:, column]).abs().max() <= allowed, name


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("most", [1000, 6])
def test_pieces_are_described_as_the_whole(shape, most, monkeypatch):
    for module in (measures, streamed):
        monkeypatch.setattr(module, "MAX_NEURONS", most)
    monkeypatch.setattr(measures, "MAX_INPUTS", 20 if most == 6 else 2048)
    tensor = weights(*shape)
    assert_described_alike(describe(stream(tensor)), describe(WholeTensor(tensor)), 2e-5)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shared", [None, slice(None), torch.tensor([[0], [0]])])
def test_pieces_answer_probes_as_the_whole(shape, shared):
    tensor = weights(*shape)
    probes = Probes(weights(18, shape[1]), weights(shape[1]).square(), shared)
    got, expected = stream(tensor).respond(probes), WholeTensor(tensor).respond(probes)
    torch.testing.assert_close(got.values, expected.values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got.gain, expected.gain, rtol=1e-5, atol=1e-6)
    if shared is None:
        assert got.reads is None and expected.reads is None
    else:
        assert torch.equal(got.reads, expected.reads)
    matrix = tensor.sum(-1)
    exact = torch.einsum("bpi,boi->bpo", probes.values, matrix)
    torch.testing.assert_close(expected.values, exact, rtol=1e-5, atol=1e-5)
    exact = torch.einsum("bi,boi->bo", probes.gain, tensor.square().sum(-1))
    torch.testing.assert_close(expected.gain, exact, rtol=1e-5, atol=1e-6)


def test_bfloat16_weights_have_exact_quantiles():
    tensor = weights(40, 50, 1).bfloat16().float()
    got, expected = describe(stream(tensor)), describe(WholeTensor(tensor))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.usefixtures("small_pieces")
def test_networks_are_described_alike_in_pieces(monkeypatch):
    networks = [handmade.network(layers, seed=3) for layers in (handmade.mlp(), handmade.cnn(), handmade.transformer())]
    expected = tokenize(networks)
    monkeypatch.setattr(layout_reader, "MAX_WHOLE", 10)
    for item, other in zip(tokenize(networks), expected, strict=True):
        size = len(DESCRIPTOR_NAMES)
        assert_described_alike(item.features[:, :size], other.features[:, :size], 2e-5)
        of_images = torch.tensor([name.startswith("images/") for name in SIGNAL_NAMES])
        got, whole = item.features[:, size:], other.features[:, size:]
        assert not got[:, of_images].any()  # the first layer is streamed
        torch.testing.assert_close(got[:, ~of_images], whole[:, ~of_images], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(item.outputs, other.outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layers", [handmade.mlp(), handmade.cnn(), handmade.transformer()])
def test_every_tensor_is_read_once(layers):
    network = handmade.network(layers)
    tokenize([network])
    assert sorted(network.source.loads) == sorted({part.tensor for _, part in network.parts()})


def test_large_tensors_are_read_once_and_their_sample_once_more(monkeypatch):
    monkeypatch.setattr(layout_reader, "MAX_WHOLE", 60)
    monkeypatch.setattr(layout_reader, "MAX_WAITING", 1)  # whatever waits is described as soon as possible
    monkeypatch.setattr(streamed, "READ_ENTRIES", 50)
    given = handmade.network(handmade.transformer(24))
    source = handmade.RangedTensors(given.source.tensors)
    tokenize([Network("n", given.layers, source)])
    for name, entries in source.ranges.items():
        loads = source.loads.count(name) * source.tensors[name].numel()
        assert entries + loads <= 2 * source.tensors[name].numel(), name


def test_tensors_that_wait_are_described_before_they_fill_the_memory(monkeypatch):
    monkeypatch.setattr(layout_reader, "MAX_WAITING", 50)
    network = handmade.network(handmade.mlp())
    reader = LayoutReader([network])
    parts = [part for _, part in network.parts()]
    most = 0
    for part in parts:
        reader.measure(part)
        most = max(most, sum(tensor.weights.numel() for tensor in reader._waiting.values()))
    assert most <= 50 + max(part.num_entries for part in parts)
    for part, row in zip(parts, reader.describe(parts), strict=True):
        alone = describe(WholeTensor(network.read(part)[None]))
        torch.testing.assert_close(row, alone, rtol=1e-5, atol=1e-6)


class LargestAllocation(TorchDispatchMode):
    """Records the largest tensor that any operation creates, in bytes."""

    def __init__(self, *known: torch.Tensor) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, torch.Tensor) and result.untyped_storage().data_ptr() not in self.known:
                self.largest = max(self.largest, result.untyped_storage().nbytes())
        return results


@pytest.mark.parametrize("shape", [(4096, 1024, 1), (1024, 512, 9)])
def test_large_tensors_need_little_memory(shape):
    tensor = weights(*shape, batch=1)
    with LargestAllocation(tensor) as allocation:
        describe(stream(tensor))
    assert allocation.largest < 4 << 20 < 4 * tensor.numel()


@pytest.mark.parametrize("shape", [(1200, 900, 1), (400, 300, 9), (1 << 20 | 5, 1, 1)])
def test_large_tensors_are_described_whole_in_any_order(shape):
    tensor = weights(*shape, batch=1)
    got = describe(stream(tensor))
    assert got.isfinite().all()
    shuffle = torch.Generator().manual_seed(3)
    rows, columns = (torch.randperm(size, generator=shuffle) for size in shape[:2])
    torch.testing.assert_close(describe(stream(tensor[:, rows][:, :, columns])), got, rtol=0, atol=1e-5)
    relative = tensor.double() / tensor.double().square().mean().sqrt()
    fourth = (relative - relative.mean()).pow(4).mean()
    assert float(got[0, DESCRIPTOR_NAMES.index("distribution/kurtosis")]) == pytest.approx(
        float(fourth.log1p()), abs=1e-4
    )
    assert float(got[0, DESCRIPTOR_NAMES.index("distribution/mean")]) == pytest.approx(float(relative.mean()), abs=1e-6)


@pytest.mark.parametrize("place", [(0, 0, 0), (599, 899, 0)])
def test_one_outlier_of_a_large_tensor_is_seen_wherever_it_is(place):
    tensor = weights(1200, 900, 1, batch=1)
    changed = tensor.clone()
    changed[(0, *place)] = 25.0
    column = DESCRIPTOR_NAMES.index("distribution/quantile_1")
    rms = float(changed.square().mean().sqrt())
    assert float(describe(stream(changed))[0, column]) == pytest.approx(math.log1p(25 / rms), abs=5e-3)
    assert float(describe(stream(tensor))[0, column]) < math.log1p(5 / rms)


@pytest.mark.parametrize("value", [0.0, 0.3, -1e-8, 1e9])
def test_large_constant_tensors_are_finite(value):
    got = describe(stream(torch.full((1, 1 << 19, 3, 1), value)))
    assert got.isfinite().all()
    assert float(got[0, DESCRIPTOR_NAMES.index("distribution/deviation")]) < 1e-3


@pytest.mark.parametrize("value", [3e9, -3e38])
def test_excessive_entries_are_bounded(value):
    tensor = weights(30, 40, 1)
    tensor[1, 3, 4] = value
    bounded = WholeTensor(tensor.clamp(-measures.LARGEST, measures.LARGEST))
    torch.testing.assert_close(describe(stream(tensor)), describe(bounded), rtol=1e-2, atol=1e-2)
    probes = Probes(weights(18, 40), weights(40).square())
    torch.testing.assert_close(stream(tensor).respond(probes).gain, bounded.respond(probes).gain)


def test_a_small_deviation_from_a_large_mean_is_seen():
    tensor = 1 + 1e-4 * weights(512, 512, 1, batch=1)
    column = DESCRIPTOR_NAMES.index("distribution/deviation")
    assert float(describe(stream(tensor))[0, column]) == pytest.approx(float(tensor.double().std()), rel=1e-2)
