"""A baseline on hyper-parameters: what can be predicted without looking at the weights."""

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sne.baselines.baseline import Baseline
from sne.baselines.estimators import Estimator, boosting, clipped
from sne.zoo import Zoo

_MAX_CATEGORIES = 254  # limit of scikit-learn's histograms is 255, one of them for values not seen in training


@final
class HyperparameterBaseline(Baseline):
    """Gradient boosting on the `config.` columns, the step and the family of a network, except the target itself.

    Args:
        learning_rate: Learning rate of the boosting; None for the default of scikit-learn.

    Source: Unterthiner et al., arXiv 2002.11448, section 4 (hyper-parameters as features).
    Differs: scikit-learn's boosting; a column that another zoo lacks is treated as missing there.
    """

    def __init__(self, *, learning_rate: float | None = None) -> None:
        self.learning_rate = learning_rate

    def fit(
        self, zoo: Zoo, rows: NDArray[np.int64], targets: NDArray[Any], *, target: str, kind: str, seed: int
    ) -> None:
        """Learns from the columns of the rows."""
        self.kind = kind
        self.names = [name for name in (*zoo.hyperparameter_names, "step", "family") if name != target]
        self.codes: dict[str, dict[Any, int]] = {}
        for name in self.names:
            values = zoo.column(name)[rows]
            if values.dtype == object:
                known = sorted({value for value in values if value is not None})[:_MAX_CATEGORIES]
                self.codes[name] = {value: code for code, value in enumerate(known)}
        features = self._features(zoo, rows)
        self.used = [i for i in range(features.shape[1]) if np.isfinite(features[:, i]).any()]
        categorical = [self.names[i] in self.codes for i in self.used]
        model = boosting(kind, seed, categorical, learning_rate=self.learning_rate)
        self.model: Estimator = model.fit(features[:, self.used], targets)

    def predict(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Predicts from the columns of the rows."""
        return clipped(self.model.predict(self._features(zoo, rows)[:, self.used]), self.kind)

    def _features(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns one column per name; texts are coded as integers, and what is missing or unknown is nan."""
        present = {*zoo.hyperparameter_names, "step", "family"}
        columns = []
        for name in self.names:
            if name not in present:
                columns.append(np.full(len(rows), np.nan))
                continue
            values = zoo.column(name)[rows]
            if name in self.codes:
                values = np.array([self.codes[name].get(value, np.nan) for value in values])
            elif values.dtype == object:
                values = np.full(len(rows), np.nan)
            columns.append(values)
        return np.stack(columns, 1).astype(np.float64)
