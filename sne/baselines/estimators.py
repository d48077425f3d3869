"""The two regressors (or classifiers) that the feature baselines share."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@runtime_checkable
class Estimator(Protocol):
    """A scikit-learn estimator."""

    def fit(self, X: Any, y: Any) -> Any:
        """Learns from features and targets."""
        ...

    def predict(self, X: Any) -> Any:
        """One prediction a row."""
        ...


def boosting(
    kind: str, seed: int, categorical: list[bool] | None = None, *, learning_rate: float | None = None
) -> Estimator:
    """Gradient boosting on histograms, as scikit-learn sets it up but for another learning rate where one is given."""
    model: Any = HistGradientBoostingClassifier if kind == "class" else HistGradientBoostingRegressor
    return model(random_state=seed, categorical_features=categorical, learning_rate=learning_rate or 0.1)


def perceptron(kind: str, seed: int, *, learning_rate: float | None = None) -> Estimator:
    """A perceptron with two hidden layers of 256 on standardised features, stopped early on a tenth of the rows."""
    model = MLPClassifier if kind == "class" else MLPRegressor
    pipeline: Any = make_pipeline(
        StandardScaler(),
        model(
            hidden_layer_sizes=(256, 256),
            early_stopping=True,
            n_iter_no_change=20,
            max_iter=300,
            learning_rate_init=learning_rate or 1e-3,
            random_state=seed,
        ),
    )
    return pipeline


def clipped(values: NDArray[Any], kind: str) -> NDArray[Any]:
    """Predictions of a fraction brought back into [0, 1]."""
    return np.clip(values, 0.0, 1.0) if kind == "fraction" else values
