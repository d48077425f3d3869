"""Baselines on weight statistics: mean, variance and quantiles of each tensor, a strong and simple method."""

import warnings
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from sne.baselines.baseline import Baseline
from sne.baselines.estimators import ESTIMATORS, clipped
from sne.errors import SneError
from sne.networks import Network
from sne.zoo import Zoo

STATISTICS = ("mean", "variance", "minimum", "quantile_25", "median", "quantile_75", "maximum")
"""Names of the statistics of one set of values, in order."""

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def statistics(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Computes mean, variance and quantiles of each row.

    Args:
        values: Values [rows, entries].

    Returns:
        Statistics [rows, 7], in the order of `STATISTICS`.

    Source: Unterthiner et al., arXiv 2002.11448, section 4.
    Differs: nothing.

    Example:
        >>> statistics(np.array([[1, 2, 3, 4, 5]], dtype=np.float32)).tolist()
        [[3.0, 2.0, 1.0, 2.0, 3.0, 4.0, 5.0]]
    """
    wide = values.astype(np.float64)
    return np.concatenate([wide.mean(1)[:, None], wide.var(1)[:, None], np.quantile(wide, _QUANTILES, axis=1).T], 1)


def _by_layout(networks: Sequence[Network]) -> list[list[int]]:
    """Groups row numbers of networks that have the same layers."""
    groups: dict[Any, list[int]] = {}
    for row, network in enumerate(networks):
        key = tuple((layer.type, layer.parts) for layer in network.layers)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _values(networks: Sequence[Network], rows: list[int]) -> list[tuple[str, NDArray[np.float32]]]:
    """Returns type and role, and values [networks, entries], of every part of networks with the same layers."""
    first = networks[rows[0]]
    return [
        (
            f"{layer.type.value}.{part.role.value}",
            np.stack([networks[row].read(part).reshape(-1).numpy() for row in rows]),
        )
        for layer, part in first.parts()
        if part.num_entries
    ]


def per_tensor(networks: Sequence[Network], width: int | None = None) -> NDArray[np.float64]:
    """Computes the statistics of every tensor and puts them side by side, in order of depth.

    Args:
        networks: Any networks. Rows of networks with fewer tensors than `width` are filled up with nan.
        width: Number of tensors per row, further ones are left out; None for the largest number in any network.

    Returns:
        Features [networks, width * 7].
    """
    count = max(sum(1 for _ in network.parts()) for network in networks) if width is None else width
    features = np.full((len(networks), count * len(STATISTICS)), np.nan)
    for rows in _by_layout(networks):
        columns = [statistics(values) for _, values in _values(networks, rows)][:count]
        joined = np.concatenate(columns, 1)
        features[rows, : joined.shape[1]] = joined
    return features


def pooled(networks: Sequence[Network], kinds: Sequence[str] | None = None) -> tuple[NDArray[np.float64], list[str]]:
    """Computes statistics over all tensors of one layer type and role, which any two architectures have in common.

    Args:
        networks: Any networks.
        kinds: Types and roles that get columns, such as "conv2d.weight", in order; None for all that occur, sorted.

    Returns:
        Features [networks, (kinds + 1) * 7], with nan where a network has no such tensor, and the kinds. The last seven
        columns are the statistics of all values of a network.
    """
    found: dict[tuple[int, str], NDArray[np.float64]] = {}
    everything = np.zeros((len(networks), len(STATISTICS)))
    for rows in _by_layout(networks):
        joined: dict[str, list[NDArray[np.float32]]] = {}
        for kind, values in _values(networks, rows):
            joined.setdefault(kind, []).append(values)
        for kind, values in joined.items():
            for row, numbers in zip(rows, statistics(np.concatenate(values, 1)), strict=True):
                found[row, kind] = numbers
        everything[rows] = statistics(np.concatenate([v for values in joined.values() for v in values], 1))
    names = sorted({kind for _, kind in found}) if kinds is None else list(kinds)
    missing = np.full(len(STATISTICS), np.nan)
    table = [
        np.concatenate([*(found.get((row, kind), missing) for kind in names), everything[row]])
        for row in range(len(networks))
    ]
    return np.stack(table), names


@final
class StatisticsBaseline(Baseline):
    """An estimator on weight statistics.

    If all training networks have the same layers, every tensor has columns of its own. Otherwise statistics are pooled
    by layer type and role, so that they transfer between architectures.

    Args:
        model: Name of the estimator: "boosting" (gradient boosting on the statistics, where missing ones stay missing)
            or "mlp" (a perceptron on their signed logarithms, where missing ones are zero).
        is_pooled: Whether statistics are always pooled; None to pool them only if layers differ.
        learning_rate: Learning rate of the estimator; None for its default.

    Raises:
        SneError: If there is no such model.

    Source: Unterthiner et al., arXiv 2002.11448, section 4.
    Differs: scikit-learn's boosting in place of LightGBM; pooling by type is ours.
    """

    def __init__(self, *, model: str, is_pooled: bool | None = None, learning_rate: float | None = None) -> None:
        if model not in ESTIMATORS:
            raise SneError(f"unknown model {model!r}; known: {', '.join(ESTIMATORS)}")
        self.name = model
        self.pooling = is_pooled
        self.learning_rate = learning_rate

    def fit(
        self, zoo: Zoo, rows: NDArray[np.int64], targets: NDArray[Any], *, target: str, kind: str, seed: int
    ) -> None:
        """Learns from the statistics of the rows' weights."""
        self.kind = kind
        networks = zoo.networks(rows)
        self.is_pooled = len(_by_layout(networks)) > 1 if self.pooling is None else self.pooling
        self.kinds: list[str] | None = None
        self.width: int | None = None
        if self.is_pooled:
            features, self.kinds = pooled(networks)
        else:
            features = per_tensor(networks)
            self.width = features.shape[1] // len(STATISTICS)
        self.model = ESTIMATORS[self.name](kind, seed, learning_rate=self.learning_rate)
        with warnings.catch_warnings():  # a perceptron that stops at its last iteration is no concern of the caller
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(self._inputs(features), targets)

    def predict(self, zoo: Zoo, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Predicts from the statistics of the rows' weights."""
        networks = zoo.networks(rows)
        features = pooled(networks, self.kinds)[0] if self.is_pooled else per_tensor(networks, self.width)
        return clipped(self.model.predict(self._inputs(features)), self.kind)

    def _inputs(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.name == "boosting":
            return features
        known = np.nan_to_num(features, nan=0.0, posinf=0.0, neginf=0.0)
        return np.sign(known) * np.log1p(np.abs(known) / 1e-4)
