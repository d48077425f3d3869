"""Large matrices are read in part, with the values of the whole."""

import pytest
import torch

from sne import read_network
from sne.provenance.matching import match
from sne.provenance.states import Counterpart, ReadsInPart, StoredState


@pytest.mark.parametrize("dim", [0, 1])
def test_lines_are_those_of_the_whole_matrix(dim, monkeypatch):
    monkeypatch.setattr("sne.provenance.states.LARGE", 100)
    state = {"0.weight": torch.randn(24, 16), "2.weight": torch.randn(4, 24)}
    other = {f"net.{name}": values + 1 for name, values in state.items()}
    first, second = read_network(state), read_network(other)
    places = torch.tensor([0, 3, 11])
    for found, values in (
        (StoredState(first), state["0.weight"]),
        (Counterpart(first, second, match(first, second)), other["net.0.weight"]),
    ):
        assert isinstance(found, ReadsInPart)
        lines = found.lines("0.weight", dim, lambda length: places)
        assert lines is not None and torch.equal(lines, values.movedim(dim, 0)[:, places])
        assert found.lines("2.weight", dim, lambda length: places) is None  # it is small
