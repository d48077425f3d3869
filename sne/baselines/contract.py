"""What every baseline promises."""

import abc
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sne.zoo import Zoo


class Baseline(abc.ABC):
    """A simple predictor of one property, fitted and asked by rows of a zoo."""

    @abc.abstractmethod
    def fit(
        self, zoo: Zoo, rows: NDArray[np.int64], targets: NDArray[Any], *, target: str, kind: str, seed: int
    ) -> None:
        """Learns from some networks.

        Args:
            zoo: where the rows are.
            rows: row numbers of networks whose target is known.
            targets: one value a row; class numbers (integers from 0) where `kind` is "class".
            target: the zoo's column that the targets come from, which must not be looked at.
            kind: "fraction", "real" or "class".
            seed: of whatever is random.
        """

    @abc.abstractmethod
    def predict(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[Any]:
        """One prediction a row; the zoo may be another than the one learned from."""
