"""The canonical point of an orbit: the same for every copy, the least of all, and no other function."""

from dataclasses import replace
from itertools import pairwise, product
from random import Random

import pytest
import torch
from networks_to_trace import ARCHITECTURES, traced
from oracles.signs_by_loop import canonical_signs
from proof import change, state_of
from torch import nn

from sne import read_network
from sne.symmetry import (
    Group,
    Span,
    Symmetry,
    SymmetryError,
    apply,
    canonical_transformation,
    canonicalize,
    sample,
    trace,
)

KINDS = ("scaling", "sign")
SIGNS_UNTOLD = ("llama",)  # channels and heads flip the same entries


def canonical(symmetry, state, kinds=KINDS):
    return apply(canonical_transformation(symmetry, state, kinds), state)


def furthest(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one if one[name].is_floating_point())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_copies_come_to_one_point(name):
    module, _, symmetry = traced(name)
    state = {key: tensor.detach() for key, tensor in state_of(module).items()}
    kinds = ("scaling",) if name in SIGNS_UNTOLD else KINDS
    point = canonical(symmetry, state, kinds)
    for seed in range(3):
        copy = apply(sample(symmetry, seed, kinds), state)
        assert furthest(point, canonical(symmetry, copy, kinds)) < 1e-6


@pytest.mark.parametrize("name", ["small_cnn", "vit", "residual_cnn", "llama"])
def test_tensors_are_squared_in_pieces(name, monkeypatch):
    module, _, symmetry = traced(name)
    state = {key: values.double() for key, values in module.state_dict().items() if values.is_floating_point()}
    before = {key: values.clone() for key, values in state.items()}
    whole = canonical_transformation(symmetry, state)
    monkeypatch.setattr("sne.symmetry.canonical._PIECE", 8)
    pieces = canonical_transformation(symmetry, state)
    for one, other in zip(apply(whole, state).values(), apply(pieces, state).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)
    assert all(torch.equal(values, before[key]) for key, values in state.items())


@pytest.mark.parametrize("name", ["small_cnn", "cnn_s", "vit", "rnn_relu", "residual_cnn", "grouped", "bert"])
def test_the_function_stays(name):
    module, inputs, symmetry = traced(name)
    state = {key: tensor.detach() for key, tensor in state_of(module).items()}
    assert change(module, inputs, canonical_transformation(symmetry, state)) < 1e-10


def mlp(*widths, activation=nn.ReLU):
    torch.manual_seed(0)
    layers = [layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), activation())]
    module = nn.Sequential(*layers[:-1]).double()
    return module, trace(module, (torch.randn(2, widths[0], dtype=torch.float64),))


@pytest.mark.parametrize("widths", [(3, 5, 2), (6, 9, 4, 7, 3), (8,) * 20], ids=str)
def test_the_scales_are_those_of_the_least_weights(widths):
    module, symmetry = mlp(*widths)
    state = {key: 3 * tensor.detach() for key, tensor in module.state_dict().items()}
    least = sum(float(t.square().sum()) for t in canonical(symmetry, state).values())
    logs = [torch.zeros(width, dtype=torch.float64, requires_grad=True) for width in widths[1:-1]]

    def total():
        sums, before = torch.zeros((), dtype=torch.float64), torch.zeros(widths[0], dtype=torch.float64)
        for number, after in enumerate([*logs, torch.zeros(widths[-1], dtype=torch.float64)]):
            weight, bias = state[f"{2 * number}.weight"], state[f"{2 * number}.bias"]
            sums = sums + (weight * after.exp()[:, None] / before.exp()).square().sum()
            sums = sums + (bias * after.exp()).square().sum()
            before = after
        return sums

    optimiser = torch.optim.LBFGS(
        logs, max_iter=2000, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        loss = total()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert least == pytest.approx(total().item(), rel=1e-9)
    assert least < sum(float(t.square().sum()) for t in state.values())


def test_what_flips_with_a_neuron_has_no_negative_sum():
    module, symmetry = mlp(5, 7, 6, 3, activation=nn.Tanh)
    state = module.state_dict()
    point = canonical(symmetry, state)
    assert bool((point["0.weight"].sum(1) + point["0.bias"] >= 0).all())
    second = point["2.weight"].sum(1) + point["2.bias"] + point["4.weight"].sum(0)
    assert bool((second >= 0).all())
    assert any(not torch.equal(point[name], state[name]) for name in state)


def with_shared_tensors(seed):
    """A symmetry whose groups share tensors, on other axes or with overlapping spans, and weights."""
    random = Random(seed)
    shapes = {f"t{number}": tuple(random.choices((4, 6), k=random.choice((1, 2, 2)))) for number in range(8)}
    groups = []
    for number in range(6):
        spans = []
        for name in random.sample(list(shapes), random.choice((2, 3))):
            dim, inner = random.randrange(len(shapes[name])), random.choice((1, 2))
            start = random.randint(0, shapes[name][dim] - 2 * inner)
            spans.append(Span(name, dim, start, inner=inner, power=random.choice((1, -1, 1, 2))))
        groups.append(Group(f"g{number}", 2, tuple(spans), ("sign",)))
    generator = torch.Generator().manual_seed(seed)
    state = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    return Symmetry(tuple(groups), shapes=shapes), state


def test_groups_are_settled_in_the_order_of_a_slow_loop():
    orders = []
    for seed in range(60):
        symmetry, state = with_shared_tensors(seed)
        values = {
            (name, place): tensor[place].item()
            for name, tensor in state.items()
            for place in product(*map(range, tensor.shape))
        }
        orders.append(list(canonical_signs(symmetry, values)))
        point = canonical(symmetry, state, ("sign",))
        assert all(point[name][place].item() == value for (name, place), value in values.items())
    assert any(order != sorted(order) for order in orders)


def test_again_it_stays():
    module, symmetry = mlp(5, 7, 6, 3)
    state = canonical(symmetry, module.state_dict())
    assert furthest(state, canonical(symmetry, state)) < 1e-9


def test_neurons_that_one_side_of_which_is_zero():
    module, symmetry = mlp(4, 3, 2)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state["2.weight"][:, 0] = 0
    state["0.weight"][1], state["0.bias"][1] = 0, 0
    state["2.weight"][:, 2], state["0.weight"][2], state["0.bias"][2] = 0, 0, 0
    point = canonical(symmetry, state)
    read = point["0.weight"].square().sum(1) + point["0.bias"].square()
    assert read[0].item() == pytest.approx(1) and read[1:].eq(0).all()
    assert point["2.weight"][:, 1].square().sum().item() == pytest.approx(1)
    copy = apply(sample(symmetry, 1, ("scaling",)), state)
    assert furthest(point, canonical(symmetry, copy)) < 1e-9


def pruned(module, share, seed, has_bias):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor * (torch.rand(tensor.shape, generator=generator) < share) * (has_bias or "bias" not in name)
        for name, tensor in module.state_dict().items()
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.25, 0.5])
@pytest.mark.parametrize("has_bias", [False, True])
def test_pruned_networks_have_one_point_too(seed, share, has_bias):
    module, symmetry = mlp(6, 12, 10, 8, 9, 4)
    state = pruned(module, share, seed, has_bias)
    point = canonical(symmetry, state)
    for draw in range(3):
        copy = apply(sample(symmetry, draw, ("scaling",)), state)
        assert furthest(point, canonical(symmetry, copy)) < 1e-7


@pytest.mark.parametrize("seed", range(5))
def test_parts_of_pruned_networks_that_are_cut_off_do_no_harm(seed):
    module, symmetry = mlp(6, 12, 10, 8, 9, 4)
    state = pruned(module, 0.1, seed, has_bias=False)
    point = canonical(symmetry, state)
    assert all(bool((point[name].abs() < 10).all()) for name in state)
    assert all(torch.equal(point[name] == 0, state[name] == 0) for name in state)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_spoil_no_others(bad):
    module, symmetry = mlp(4, 3, 2)
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state["0.weight"][1, 2] = bad
    point = canonical(symmetry, state)
    assert all(int((~tensor.isfinite()).sum()) == (name == "0.weight") for name, tensor in point.items())


def test_tied_tensors_by_any_name():
    spans = (Span("a", 0, power=1), Span("b", 1, power=-1))
    symmetry = Symmetry((Group("g", 2, spans, ("scaling",)),), (), {"a": (2, 3), "b": (3, 2)}, {"also a": "a"})
    a, b = torch.ones(2, 3), torch.full((3, 2), 16.0)
    changed = canonical(symmetry, {"also a": a, "b": b})
    assert torch.allclose(changed["also a"], torch.full((2, 3), 4.0))
    assert torch.allclose(changed["b"], torch.full((3, 2), 4.0))


def test_powers_above_one():
    spans = (Span("a", 0, power=2), Span("b", 0, power=-1))
    symmetry = Symmetry((Group("g", 2, spans, ("scaling", "sign")),), (), {"a": (2,), "b": (2,)})
    a, b = torch.tensor([3.0, 2.0]), torch.tensor([-5.0, 7.0])
    changed = canonical(symmetry, {"a": a, "b": b})
    assert torch.allclose(2 * changed["a"].square(), changed["b"].square())
    assert bool((changed["b"] > 0).all()) and bool((changed["a"] > 0).all())


def test_what_is_refused():
    module, symmetry = mlp(4, 3, 2)
    state = module.state_dict()
    with pytest.raises(SymmetryError, match=r"'permutation' has no canonical point, expected scaling or sign"):
        canonical_transformation(symmetry, state, ("permutation",))
    with pytest.raises(SymmetryError, match=r"the state dict has no 0\.weight"):
        canonical_transformation(symmetry, {"2.weight": state["2.weight"]})
    with pytest.raises(SymmetryError, match=r"0\.bias is \[1\], expected \[3\]"):
        canonical_transformation(symmetry, {**state, "0.bias": torch.zeros(1)})


class _Known:
    """A state dict that knows its symmetry."""

    def __init__(self, network, symmetry):
        self.name, self.infos, self.load, self.symmetry = "known", network.source.infos, network.source.load, symmetry


def test_a_network_is_read_at_its_point():
    module, symmetry = mlp(5, 7, 3)
    state = module.state_dict()
    network = read_network(state)
    known = canonicalize(replace(network, source=_Known(network, symmetry)))
    expected = canonical(symmetry, state)
    assert all(torch.allclose(known.source.load(name), expected[name]) for name in state)
    assert known.source.name == "known" and known.source.infos == network.source.infos
    assert canonicalize(network) is network  # names tell nothing of activations
