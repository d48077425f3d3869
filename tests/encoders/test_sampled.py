"""A sample of the rows of large tensors stands for the whole."""

import pytest
import torch
from oracles import handmade

from sne.encoders import layout_reader, sampled
from sne.encoders.descriptors import DESCRIPTOR_NAMES, describe
from sne.encoders.limits import Limits
from sne.encoders.measures import Probes, WholeTensor
from sne.encoders.sampled import SampledTensor, choose_rows, num_read
from sne.encoders.sampling import choose
from sne.encoders.tensor_tokens import tokenize
from sne.networks import Layer, LayerType, Network, Part, Role


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_reader, "MAX_WHOLE", 60)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def network(shape: tuple[int, ...], *, in_first: bool = False, seed: int = 0) -> tuple[Network, Part]:
    axes = (1, 0) if in_first else (0, 1)
    part = Part("w", Role.WEIGHT, shape, *axes)
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.1
    return Network("n", (Layer("w", LayerType.LINEAR, 0, (part,)),), handmade.RangedTensors({"w": weights})), part


def test_a_budget_is_shared_among_the_parts_and_kept():
    given = handmade.network(handmade.mlp((30, 200, 100, 40)))
    parts = [part for _, part in given.parts()]
    total = given.num_weights
    assert choose_rows(parts, Limits()) == {} == choose_rows(parts, Limits(budget=total))
    assert num_read(given, Limits()) == num_read(given, Limits(budget=total)) == total
    limits = Limits(budget=8000)
    chosen = choose_rows(parts, limits)
    assert 7600 < num_read(given, limits) <= 8000
    for part, rows in chosen.items():
        assert len(rows.unique()) == len(rows) and 0 <= int(rows.min()) and int(rows.max()) < part.shape[0]
    read = [len(rows) * part.num_entries // part.shape[0] for part, rows in chosen.items()]
    assert len(read) == 3 and max(read) - min(read) < 400
    assert all(torch.equal(rows, choose_rows(parts, limits)[part]) for part, rows in chosen.items())
    other = choose_rows(parts, Limits(budget=8000, seed=1))
    assert any(not torch.equal(rows, other[part]) for part, rows in chosen.items())
    # Every large part is represented, however small the budget is.
    assert {len(rows) for rows in choose_rows(parts, Limits(budget=1)).values()} == {sampled.LEAST_ROWS}


@pytest.mark.parametrize("in_first", [False, True])
def test_only_the_chosen_rows_are_read(in_first):
    given, part = network((400, 50), in_first=in_first)
    chosen = torch.arange(0, 400, 10)
    tensor = SampledTensor([given], part, chosen)
    features = describe(tensor)
    assert features.shape == (1, len(DESCRIPTOR_NAMES)) and features.isfinite().all()
    assert (
        sum(given.source.ranges.values()) == 2 * 40 * 50 and not given.source.loads
    )  # once for the pass, once for the sample


@pytest.mark.parametrize("in_first", [False, True])
def test_all_rows_give_what_the_whole_gives(in_first):
    given, part = network((60, 50), in_first=in_first)
    whole = WholeTensor(given.read(part)[None])
    tensor = SampledTensor([given], part, torch.arange(60))
    difference = (describe(tensor) - describe(whole)).abs()[0]
    is_counted = torch.tensor([name.startswith("distribution/") for name in DESCRIPTOR_NAMES])
    assert difference[~is_counted].max() < 2e-5 and difference[is_counted].max() < 5e-3
    probes = Probes(normal(1, 18, whole.num_in), normal(1, whole.num_in).abs())
    got, expected = tensor.respond(probes), whole.respond(probes)
    torch.testing.assert_close(got.values, expected.values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.gain, expected.gain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("in_first", [False, True])
def test_a_sample_estimates_the_whole(in_first):
    given, part = network((4000, 100), in_first=in_first)
    whole = WholeTensor(given.read(part)[None])
    tensor = SampledTensor([given], part, torch.arange(3, 4000, 10))
    assert float(tensor.moments[0, 0]) == pytest.approx(float(whole.moments[0, 0]), rel=0.02)
    for got, expected in zip(tensor.squared_norms, whole.squared_norms, strict=True):
        assert got.shape == expected.shape and float(got.mean()) == pytest.approx(float(expected.mean()), rel=0.02)
    probes = Probes(normal(1, 18, whole.num_in), torch.full((1, whole.num_in), 1 / whole.num_in))
    got, expected = tensor.respond(probes), whole.respond(probes)
    assert float(got.values.square().mean()) == pytest.approx(float(expected.values.square().mean()), rel=0.15)
    assert float(got.gain.mean()) == pytest.approx(float(expected.gain.mean()), rel=0.05)


def test_networks_are_tokenized_within_a_budget():
    given = handmade.network(handmade.mlp((30, 200, 100, 3)))
    source = handmade.RangedTensors(given.source.tensors)
    (full,) = tokenize([Network("n", given.layers, source)])
    (some,) = tokenize([Network("n", given.layers, source)], limits=Limits(budget=8000))
    (same,) = tokenize([Network("n", given.layers, source)], limits=Limits(budget=8000))
    assert torch.equal(some.features, same.features) and torch.equal(some.is_matrix, full.is_matrix)
    assert some.features.isfinite().all() and some.outputs.shape == full.outputs.shape
    column = DESCRIPTOR_NAMES.index("distribution/log_rms")
    torch.testing.assert_close(some.features[:, column], full.features[:, column], rtol=0, atol=0.1)
    assert not torch.equal(some.features, full.features)


@pytest.mark.parametrize("layers", [handmade.mlp((30, 200, 100, 40)), handmade.gru(20, 60), handmade.transformer(24)])
def test_no_more_weights_are_loaded_than_are_reported(layers):
    given = handmade.network(layers)
    source = handmade.RangedTensors(given.source.tensors)
    network = Network("n", layers, source)
    limits = Limits(budget=given.num_weights // 5)
    (item,) = tokenize([network], limits=limits)
    assert item.features.isfinite().all()
    assert (
        sum(source.ranges.values()) <= 2 * num_read(network, limits) <= 2 * limits.budget
    )  # a sample of neurons is read twice
    assert all(source.tensors[name].numel() <= 200 for name in source.loads)


def test_rows_that_are_read_stand_for_themselves():
    given, part = network((4000, 100))
    rows = choose(4000, 400, torch.Generator().manual_seed(1))
    whole, tensor = WholeTensor(given.read(part)[None]), SampledTensor([given], part, rows)
    torch.testing.assert_close(tensor.squared_norms[0][:, rows], whole.squared_norms[0][:, rows])
    probes = Probes(normal(1, 18, 100), torch.full((1, 100), 0.01))
    got, expected = tensor.respond(probes), whole.respond(probes)
    torch.testing.assert_close(got.gain[:, rows], expected.gain[:, rows], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(got.values[..., rows], expected.values[..., rows], rtol=1e-4, atol=1e-5)
