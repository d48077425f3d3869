"""The contract of baselines, and the simplest one: the mean."""

import abc
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sne.errors import SneError
from sne.zoo import Zoo


class Baseline(abc.ABC):
    """A simple predictor of one property. It is fitted on rows of a zoo and predicts other rows."""

    @abc.abstractmethod
    def fit(
        self, zoo: Zoo, rows: NDArray[np.int64], targets: NDArray[Any], *, target: str, kind: str, seed: int
    ) -> None:
        """Learns from networks with a known target.

        Args:
            zoo: Zoo that has the rows.
            rows: Row numbers of the networks.
            targets: One value per row; class numbers (integers from 0) if `kind` is "class".
            target: Column of the zoo that the targets come from. It must not be used as a feature.
            kind: Kind of the property: "fraction", "real" or "class".
            seed: Random seed.
        """

    @abc.abstractmethod
    def predict(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Predicts the property.

        Args:
            zoo: Zoo that has the rows; it may be another one than in `fit`.
            rows: Row numbers of the networks.

        Returns:
            One value per row: fractions within [0, 1], real numbers, or class numbers.
        """


@final
class MeanBaseline(Baseline):
    """Predicts the training mean, or the most frequent class, for every network."""

    def fit(
        self, zoo: Zoo, rows: NDArray[np.int64], targets: NDArray[Any], *, target: str, kind: str, seed: int
    ) -> None:
        """Computes the mean of the targets, or the most frequent class.

        Raises:
            SneError: If there are no rows.
        """
        if len(targets) == 0:
            raise SneError("no training rows: the mean of the targets is not defined")
        self.value = np.bincount(targets.astype(np.int64)).argmax() if kind == "class" else np.mean(targets)

    def predict(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Predicts the same value for every row."""
        return np.full(len(rows), self.value)
