from dataclasses import FrozenInstanceError

import pytest

from sne.encoders import Limits, limits
from sne.errors import SneError


def test_limits_are_one_or_more_and_frozen():
    for values in ({"memory": 0}, {"budget": 0}, {"budget": -5}):
        with pytest.raises(SneError, match=f"{next(iter(values))} is {next(iter(values.values()))}, expected at least"):
            Limits(**values)
    with pytest.raises(FrozenInstanceError):
        Limits().budget = 3


def test_spare_memory(monkeypatch):
    assert 10**6 < limits.resident_size() < 10**12
    monkeypatch.setattr(limits, "resident_size", lambda: 9 * 10**8)
    assert Limits().spare_memory() == 10**8 and Limits(memory=2 * 10**9).spare_memory() == 11 * 10**8
    monkeypatch.setattr(limits, "resident_size", lambda: 5 * 10**9)
    assert Limits().spare_memory() == limits.LEAST_SPARE
