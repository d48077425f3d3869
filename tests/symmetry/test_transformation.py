"""The algebra of transformations, on symmetries written by hand."""

import json
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import not_understood

from sne.symmetry import (
    Fixed,
    Group,
    Mixing,
    Span,
    Symmetry,
    SymmetryError,
    apply,
    apply_flat,
    compose,
    invert,
    sample,
    symmetry_from_json,
    symmetry_to_json,
)

HEADS, CHANNELS, WIDTH = 2, 3, 4
SHAPES = {"qk": (2 * HEADS * CHANNELS, WIDTH), "rows": (3, WIDTH), "var": (WIDTH,)}
ALL = ("permutation", "scaling", "sign", "mixing")


def by_hand() -> Symmetry:
    """Queries and keys in one tensor, written from `WIDTH` neurons: channels in heads, heads, neurons."""
    width = HEADS * CHANNELS
    channels = [
        Group(
            f"channels {head}",
            CHANNELS,
            (Span("qk", 0, head * CHANNELS, power=1), Span("qk", 0, width + head * CHANNELS, power=-1)),
            ("permutation", "scaling", "sign"),
        )
        for head in range(HEADS)
    ]
    heads = Group("heads", HEADS, (Span("qk", 0, outer=2, inner=CHANNELS),), ("permutation",))
    neurons = Group(
        "neurons",
        WIDTH,
        (Span("qk", 1, power=-1), Span("rows", 1, power=1), Span("var", 0, power=2)),
        ("permutation", "scaling"),
    )
    mixing = Mixing("mix 0", CHANNELS, (Span("qk", 0, power=1), Span("qk", 0, width, power=-1)))
    fixed = (Fixed("rows", 0, "input"), Fixed("rows", 0, "not understood: aten.flip"))
    return Symmetry((*channels, heads, neurons), (mixing,), dict(SHAPES), {"tied": "rows"}, fixed)


def a_state(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    state = {name: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for name, shape in
             SHAPES.items()}  # fmt: skip
    return {**state, "tied": state["rows"], "other": torch.ones(2)}


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-9, atol=1e-9)


draws = st.tuples(
    st.integers(0, 10_000), st.sets(st.sampled_from(ALL), min_size=1).map(sorted), st.sampled_from([0.0, 0.5, 1.0])
)


@settings(max_examples=40, deadline=None)
@given(draws)
def test_the_inverse_undoes(drawn):
    state, g = a_state(), sample(by_hand(), *drawn)
    assert_equal(apply(invert(g), apply(g, state)), state)
    assert_equal(apply(compose(g, invert(g)), state), state)
    assert_equal(apply(compose(invert(g), g), state), state)


@settings(max_examples=40, deadline=None)
@given(draws, draws, draws)
def test_composition_is_application_in_turn(first, second, third):
    f, g, h = (sample(by_hand(), *drawn) for drawn in (first, second, third))
    state = a_state()
    assert_equal(apply(compose(g, h), state), apply(h, apply(g, state)))
    assert_equal(apply(compose(compose(f, g), h), state), apply(compose(f, compose(g, h)), state))
    assert_equal(apply(invert(compose(g, h)), state), apply(invert(g), apply(invert(h), state)))


def test_the_identity():
    state = a_state()
    identity = sample(by_hand(), 0, kinds=ALL, fraction=0.0)
    same = apply(identity, state)
    assert all(torch.equal(same[name], state[name]) for name in state)
    g = sample(by_hand(), 3, kinds=ALL)
    assert_equal(apply(compose(identity, g), state), apply(g, state))
    nothing = sample(by_hand(), 0, kinds=())
    assert all(apply(nothing, state)[name] is state[name] for name in state)


def test_every_entry_against_a_slow_loop():
    """Moves each group's neurons one entry at a time, as the definition of a span says."""
    symmetry = by_hand()
    only = Symmetry((symmetry.groups[2],), (), dict(SHAPES))
    g = sample(only, 5)
    old = a_state()["qk"]
    order = [1, 0] if not torch.equal(apply(g, a_state())["qk"], old) else [0, 1]
    new = old.clone()
    (span,) = only.groups[0].spans
    for neuron in range(HEADS):
        for o in range(span.outer):
            for k in range(span.inner):
                to, come = ((o * HEADS + i) * span.inner + k for i in (neuron, order[neuron]))
                new[to] = old[come]
    assert torch.equal(apply(g, a_state())["qk"], new)
    assert any(not torch.equal(apply(sample(only, seed), a_state())["qk"], old) for seed in range(5))


def test_scales_go_with_the_powers():
    symmetry = Symmetry((by_hand().groups[3],), (), dict(SHAPES))
    state = {name: torch.ones(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    new = apply(sample(symmetry, 1, ("scaling",)), state)
    scale = new["rows"][0]
    assert bool(((scale >= 0.5) & (scale <= 2) & (scale != 1)).all())
    torch.testing.assert_close(new["qk"][0], 1 / scale)
    torch.testing.assert_close(new["var"], scale**2)


def test_what_stays():
    state = a_state(dtype=torch.float16)
    new = apply(sample(by_hand(), 0, ALL), state)
    assert list(new) == list(state) and new["other"] is state["other"]
    assert all(new[name].dtype == torch.float16 for name in SHAPES)
    assert new["tied"] is new["rows"]
    assert torch.equal(state["rows"], a_state(dtype=torch.float16)["rows"])
    untied = apply(sample(by_hand(), 0), {**state, "tied": state["rows"] + 1})
    assert torch.equal(untied["tied"], untied["rows"] + 1)
    without = {name: tensor for name, tensor in state.items() if name != "rows"}
    assert torch.equal(apply(sample(by_hand(), 0), without)["tied"], apply(sample(by_hand(), 0), state)["rows"])


def test_draws_are_seeded():
    one, two = (apply(sample(by_hand(), 7, ALL), a_state()) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    generator = torch.Generator().manual_seed(7)
    drawn = apply(sample(by_hand(), generator, ALL), a_state())
    assert_equal(drawn, one)
    assert not torch.equal(apply(sample(by_hand(), generator, ALL), a_state())["qk"], one["qk"])


def test_partial_draws_move_a_part():
    group = Group("many", 100, (Span("x", 0),), ("permutation",))
    symmetry = Symmetry((group,), (), {"x": (100,)})
    moved = apply(sample(symmetry, 0, fraction=0.2), {"x": torch.arange(100)})["x"] != torch.arange(100)
    assert 0 < int(moved.sum()) <= 20


@dataclass
class Slot:
    name: str
    shape: tuple[int, ...]
    offset: int


def test_flat_vectors():
    state = {name: tensor for name, tensor in a_state().items() if name != "other"}
    slots, pieces, offset = [], [], 0
    for name, tensor in state.items():
        slots.append(Slot(name, tuple(tensor.shape), offset))
        pieces.append(tensor.reshape(-1))
        offset += tensor.numel()
    vector = torch.cat([*pieces, torch.ones(3, dtype=torch.float64)])
    for seed, kinds in enumerate((("permutation",), ("permutation", "scaling", "sign"), (), ALL)):
        g = sample(by_hand(), seed, kinds)
        expected = torch.cat([*(tensor.reshape(-1) for tensor in apply(g, state).values()), vector[-3:]])
        torch.testing.assert_close(apply_flat(g, slots, vector), expected)
        assert torch.equal(vector[:-3], torch.cat(pieces))
    with pytest.raises(SymmetryError, match=r"qk is \[3\], expected \[12, 4\]"):
        apply_flat(sample(by_hand(), 0), [Slot("qk", (3,), 0)], torch.ones(3))
    with pytest.raises(SymmetryError, match="has no qk"):
        apply_flat(sample(by_hand(), 0), slots[1:], vector)


def test_json_both_ways():
    symmetry = by_hand()
    again = symmetry_from_json(symmetry_to_json(symmetry))
    assert again == symmetry and symmetry_to_json(again) == symmetry_to_json(symmetry)
    assert [one.reason for one in not_understood(again)] == ["not understood: aten.flip"]


def change(path, value):
    plain = json.loads(symmetry_to_json(by_hand()))
    at = plain
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "the symmetry is list, expected dict"),
        ("{}", "version is None, expected 1"),
        (change(["version"], 2), "version is 2"),
        (change(["groups"], {}), "groups is dict, expected list"),
        (change(["groups", 0, "size"], True), r"groups\[0\].size is bool, expected int"),
        (change(["groups", 0, "size"], 0), "size is 0"),
        (change(["groups", 0, "size"], 10**9), "do not lie in 0 to 12"),
        (change(["groups", 0, "kinds"], ["rotation"]), "expected some of permutation, scaling, sign"),
        (change(["groups", 0, "name"], "heads"), "the name 'heads' occurs twice"),
        (change(["groups", 0, "more"], 1), "expected name, size, spans, kinds"),
        (change(["groups", 0, "spans", 0, "start"], -1), "do not lie in 0 to 12"),
        (change(["groups", 0, "spans", 1, "start"], 2), "two spans overlap at entry 2"),
        (change(["groups", 0, "spans", 0, "dim"], 2), "the tensor has 2 axes"),
        (change(["groups", 0, "spans", 0, "tensor"], "x"), "shape is not among the shapes"),
        (change(["mixings", 0, "spans", 0, "power"], 2), "expected spans of power 1 or -1"),
        (change(["shapes", "qk"], [12, "4"]), "shapes, qk is str, expected int"),
        (change(["aliases", "tied"], 3), "aliases, tied is int, expected str"),
        (change(["fixed", 0], ["rows", 0]), r"fixed\[0\] is list, expected dict"),
    ],
)
def test_damaged_json_is_told_in_one_line(text, message):
    with pytest.raises(SymmetryError, match=message) as caught:
        symmetry_from_json(text, "here.json")
    assert str(caught.value).startswith("here.json") and "\n" not in str(caught.value)


def test_states_that_do_not_fit():
    g = sample(by_hand(), 0, ("permutation", "scaling"))
    state = a_state()
    with pytest.raises(SymmetryError, match=r"qk is \[3\], expected \[12, 4\]"):
        apply(g, {**state, "qk": torch.ones(3)})
    with pytest.raises(SymmetryError, match="has no qk"):
        apply(g, {name: tensor for name, tensor in state.items() if name != "qk"})
    with pytest.raises(SymmetryError, match=r"qk holds torch.int8, which cannot be scaled"):
        apply(g, {**state, "qk": state["qk"].to(torch.int8)})
    with pytest.raises(SymmetryError, match="kind 'rotation' is unknown"):
        sample(by_hand(), 0, ("rotation",))
    with pytest.raises(SymmetryError, match="fraction is 2"):
        sample(by_hand(), 0, fraction=2.0)
    other = sample(Symmetry((Group("g", 2, (Span("qk", 0),), ("permutation",)),), (), {"qk": (2,)}), 0)
    with pytest.raises(SymmetryError, match=r"qk is \[12, 4\] in one and \[2\] in the other"):
        compose(g, other)
