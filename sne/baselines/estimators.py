"""Estimators of scikit-learn with the settings that baselines and experts on features share."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@runtime_checkable
class Estimator(Protocol):
    """A regressor or classifier with the interface of scikit-learn."""

    def fit(self, X: Any, y: Any) -> Any:
        """Learns from features [rows, features] and targets [rows]; returns the estimator itself."""
        ...

    def predict(self, X: Any) -> Any:
        """Predicts one value per row of features."""
        ...


def boosting(
    kind: str, seed: int, categorical: list[bool] | None = None, *, learning_rate: float | None = None
) -> Estimator:
    """Builds gradient boosting on histograms with the defaults of scikit-learn.

    Args:
        kind: Kind of the property: "fraction", "real" or "class".
        seed: Random seed.
        categorical: Whether each feature is a category, coded as an integer; None if no feature is.
        learning_rate: Shrinkage of each tree; None for 0.1.

    Returns:
        A classifier if `kind` is "class", otherwise a regressor. Features may be nan.

    Example:
        >>> model = boosting("real", seed=0).fit(np.arange(100.0)[:, None], np.arange(100) >= 50)
        >>> model.predict([[10.0], [90.0]]).round(1).tolist()
        [0.0, 1.0]
    """
    model: Any = HistGradientBoostingClassifier if kind == "class" else HistGradientBoostingRegressor
    return model(random_state=seed, categorical_features=categorical, learning_rate=learning_rate or 0.1)


def perceptron(kind: str, seed: int, *, learning_rate: float | None = None) -> Estimator:
    """Builds a perceptron with two hidden layers of 256 units on standardised features.

    Training stops early, judged by a tenth of the rows.

    Args:
        kind: Kind of the property: "fraction", "real" or "class".
        seed: Random seed.
        learning_rate: Initial learning rate of Adam; None for 1e-3.

    Returns:
        A classifier if `kind` is "class", otherwise a regressor. Features must be finite.

    Example:
        >>> list(perceptron("class", seed=0).named_steps)
        ['standardscaler', 'mlpclassifier']
    """
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


ESTIMATORS: Mapping[str, Callable[..., Estimator]] = {"boosting": boosting, "mlp": perceptron}
"""Functions that build an estimator, by name."""


def clipped(values: NDArray[Any], kind: str) -> NDArray[Any]:
    """Limits predictions of a fraction to [0, 1] and returns other predictions unchanged.

    Args:
        values: Predictions, one per row.
        kind: Kind of the property: "fraction", "real" or "class".

    Returns:
        The predictions, one per row.

    Example:
        >>> clipped(np.array([-0.5, 0.25, 2.0]), "fraction").tolist()
        [0.0, 0.25, 1.0]
    """
    return np.clip(values, 0.0, 1.0) if kind == "fraction" else values
