"""The order of modules by the graph of a file, where names do not decide."""

import torch
from network_modules import order, read

from sne.networks import Hint


def square(*names: str) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.ones(4, 4) for name in names}


def test_the_graph_decides_where_the_order_would_be_a_guess():
    state = square("alpha", "beta", "delta")
    assert "guess" in read(state).notes[0].reason
    hints = {"beta": Hint(order=3), "delta": Hint(order=7), "alpha": Hint(order=12)}
    network = read(state, hints)
    assert order(network) == ["beta", "delta", "alpha"] and not network.notes


def test_names_decide_before_the_graph():
    hints = {"fc1": Hint(order=9), "fc2": Hint(order=3), "head": Hint(order=1)}
    assert order(read(square("fc1", "fc2", "head"), hints)) == ["fc1", "fc2", "head"]


def test_a_guess_stays_one_if_the_graph_does_not_hold_all():
    network = read(square("alpha", "beta"), {"beta": Hint(order=1)})
    assert order(network) == ["alpha", "beta"] and "guess" in network.notes[0].reason


def test_constants_without_names_are_in_the_order_of_the_graph():
    hints = {"constants.c0": Hint(order=5), "constants.c1": Hint(order=2), "constants.c2": Hint(order=8)}
    state = square("constants.c0", "constants.c1", "constants.c2")
    assert order(read(state, hints)) == ["constants.c1", "constants.c0", "constants.c2"]


def test_modules_are_ordered_by_their_first_layer_and_prefixes_are_kept_in_hints():
    state = square("model.beta.a", "model.beta.b", "model.alpha.a", "model.alpha.b")
    hints = {f"model.{name}": Hint(order=i) for i, name in enumerate(("beta.a", "beta.b", "alpha.b", "alpha.a"))}
    assert order(read(state, hints)) == ["beta.a", "beta.b", "alpha.b", "alpha.a"]
