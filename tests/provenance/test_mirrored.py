"""`compare(b, a)` says of two networks what `compare(a, b)` says, with the directions turned."""

import math

import pytest
import torch
from provenance.descendants import cnn, copy_of, noisy, perceptron, pruned, quantised, vision_transformer
from torch import nn

from sne import compare
from sne.making.descent.changes import rounded, without_units
from sne.provenance.relation import Relation

TURNED = {"second from first": "first from second", "first from second": "second from first", None: None}


def floats(state):
    return {name: values.detach() for name, values in state.items() if values.is_floating_point()}


def recurrent():
    torch.manual_seed(3)
    state = nn.GRU(12, 24, batch_first=True).state_dict()
    head = {"head.weight": torch.randn(5, 24) / 5, "head.bias": torch.zeros(5)}
    return {**{f"rnn.{name}": values for name, values in state.items()}, **head}


BASES = {
    "perceptron": floats(perceptron(0, (32, 64, 48, 10)).state_dict()),
    "cnn": floats(cnn(0).state_dict()),
    "transformer": vision_transformer(0, 24),
    "recurrent": recurrent(),
}


def of_matrices(state, change):
    return {
        name: change(values) if values.ndim == 2 and min(values.shape) >= 16 else values
        for name, values in state.items()
    }


def adapted(values):
    """Adds an update of rank 2, as a merged adapter does."""
    torch.manual_seed(values.shape[0])
    return values + 0.1 * values.std() * torch.randn(len(values), 2) @ torch.randn(2, values.shape[1])


def without_a_direction(values):
    """Removes the largest singular direction, which tells the child."""
    left, sizes, right = torch.linalg.svd(values, full_matrices=False)
    sizes[0] = 0
    return left * sizes @ right


def alternately(state):
    """Removes a direction of one matrix, and adds one to another, which speaks for either network as the child."""
    names = [name for name, values in state.items() if values.ndim == 2 and min(values.shape) >= 16][:2]
    changed = without_a_direction(state[names[0]]), without_a_direction(state[names[-1]])
    return {**state, names[0]: changed[0]}, {**state, names[-1]: changed[1]}


def descendants(family, state):
    head = [name for name in state if name.endswith("weight")][-1]
    made = {
        "copy": dict(state),
        "renamed": {f"net.{name}": values for name, values in state.items()},
        "half": rounded(state, torch.float16),
        "bfloat16": rounded(state, torch.bfloat16),
        "int8": {name: quantised(values, 8) for name, values in state.items()},
        "int4": {name: quantised(values, 4) for name, values in state.items()},
        "pruned": {name: pruned(values, 0.5) for name, values in state.items()},
        "units": without_units(state, 0.25),
        "tuned": noisy(state, 0.1),
        "tuned long": noisy(state, 0.6),
        "tuned, pruned": {name: pruned(values, 0.5) for name, values in noisy(state, 0.1).items()},
        "tuned, half": rounded(noisy(state, 0.1), torch.float16),
        "biases moved": {
            name: 1.4 * values if values.ndim == 1 else values for name, values in noisy(state, 0.1).items()
        },
        "head tuned": noisy(state, 0.5, only=head),
        "other head": {**state, head: torch.randn_like(state[head])},
        "wider head": {**state, head: torch.randn(len(state[head]) + 3, *state[head].shape[1:])},
        "no head": {name: values for name, values in state.items() if name != head},
        "stranger": {
            name: torch.randn_like(values) * values.std() for name, values in state.items() if len(values) > 1
        },
    }
    if family != "cnn":
        made["adapted"] = of_matrices(state, adapted)
        made["less"] = of_matrices(state, without_a_direction)
        made["one less"], made["other less"] = alternately(state)
    if family == "transformer":
        made["blocks"] = {name: values for name, values in state.items() if not name.startswith("blocks.1.")}
    if family in ("perceptron", "cnn"):
        module, inputs = (perceptron(0, (32, 64, 48, 10)), torch.randn(2, 32))
        if family == "cnn":
            module, inputs = cnn(0), torch.randn(2, 3, 12, 12)
        made["permuted"] = floats(copy_of(module, inputs))
        made["rescaled"] = floats(copy_of(module, inputs, kinds=("permutation", "scaling", "sign")))
        made["rescaled, tuned"] = noisy(made["rescaled"], 0.1)
    return made


def assert_mirrored(one, other, what):
    found, back = compare(one, other), compare(other, one)
    assert (found.relation, found.related) == (back.relation, back.related), what
    assert (found.direction, found.aligned) == (TURNED[back.direction], back.aligned), what
    assert found.confidence == pytest.approx(back.confidence, abs=1e-3), what
    assert found.distance == pytest.approx(back.distance, rel=0.02, abs=1e-9), what
    assert (found.p_value is None) == (back.p_value is None), what
    if found.p_value is not None:
        assert math.log(found.p_value) == pytest.approx(math.log(back.p_value), rel=0.25, abs=1e-9), what


@pytest.mark.parametrize("family", BASES)
def test_a_network_and_what_was_made_of_it(family):
    state = BASES[family]
    for kind, made in descendants(family, state).items():
        assert_mirrored(state, made, f"{family} and {kind}")


def test_descendants_of_one_network():
    made = list(descendants("perceptron", BASES["perceptron"]).items())
    for number, (kind, state) in enumerate(made):
        other, second = made[(number + 5) % len(made)]
        assert_mirrored(state, second, f"{kind} and {other}")


def test_updates_that_speak_for_either_network_have_no_direction():
    one, other = alternately(BASES["perceptron"])
    found = compare(one, other)
    assert found.relation is Relation.LOW_RANK and found.direction is None and found.confidence == 0
