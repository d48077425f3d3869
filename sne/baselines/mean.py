"""The training mean: what a predictor must beat to have learned anything."""

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sne.baselines.contract import Baseline
from sne.zoo import Zoo


@final
class MeanBaseline(Baseline):
    """Predicts the training mean, or the most frequent class, for every network."""

    def fit(
        self, zoo: Zoo, rows: NDArray[np.int64], targets: NDArray[Any], *, target: str, kind: str, seed: int
    ) -> None:
        """Takes the mean (or the most frequent class) of the targets."""
        if len(targets) == 0:
            raise ValueError("no training rows: the mean of nothing is unknown")
        self.value = np.bincount(targets.astype(np.int64)).argmax() if kind == "class" else np.mean(targets)

    def predict(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The same value for every row."""
        return np.full(len(rows), self.value)
