from dataclasses import FrozenInstanceError

import pytest

from sne.encoders import Limits
from sne.errors import SneError


def test_limits_are_one_or_more_and_frozen():
    for values in ({"memory": 0}, {"budget": 0}, {"budget": -5}):
        with pytest.raises(SneError, match=f"{next(iter(values))} is {next(iter(values.values()))}, expected at least"):
            Limits(**values)
    with pytest.raises(FrozenInstanceError):
        Limits().budget = 3
