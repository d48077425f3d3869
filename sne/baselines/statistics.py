"""Weight statistics: mean, variance and quantiles of every tensor, the field's strong simple baseline."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from sne.baselines.contract import Baseline
from sne.baselines.estimators import Estimator, boosting, clipped, perceptron
from sne.networks import Network
from sne.zoo import Zoo

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
STATISTICS_SIZE = 2 + len(QUANTILES)


def statistics(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean, variance and the quantiles 0, 25, 50, 75 and 100 % of each row.

    Source: Unterthiner et al., arXiv 2002.11448, section 4.
    Differs: nothing.
    """
    wide = values.astype(np.float64)
    return np.concatenate([wide.mean(1)[:, None], wide.var(1)[:, None], np.quantile(wide, QUANTILES, axis=1).T], 1)


def _by_layout(networks: Sequence[Network]) -> list[list[int]]:
    groups: dict[Any, list[int]] = {}
    for row, network in enumerate(networks):
        key = tuple((layer.type, layer.parts) for layer in network.layers)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _values(networks: Sequence[Network], rows: list[int]) -> list[tuple[str, NDArray[np.float32]]]:
    """Every part of networks of one layout: its type and role, and its values [networks, entries]."""
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
    """Statistics of every tensor, side by side in order of depth.

    Args:
        networks: any networks; those with fewer tensors than the widest are filled up with nan.
        width: number of tensors a row holds; the most that any network has if None. Further tensors are left out.

    Returns:
        [networks, width * 7].
    """
    count = max(sum(1 for _ in network.parts()) for network in networks) if width is None else width
    features = np.full((len(networks), count * STATISTICS_SIZE), np.nan)
    for rows in _by_layout(networks):
        columns = [statistics(values) for _, values in _values(networks, rows)][:count]
        joined = np.concatenate(columns, 1)
        features[rows, : joined.shape[1]] = joined
    return features


def pooled(networks: Sequence[Network], kinds: Sequence[str] | None = None) -> tuple[NDArray[np.float64], list[str]]:
    """Statistics pooled over all tensors of one type and role, so that networks of any architecture compare.

    Args:
        networks: any networks.
        kinds: the types and roles that get columns, in order; all that occur, sorted, if None. The last group of
            columns pools everything.

    Returns:
        [networks, (kinds + 1) * 7], nan where a network has no such tensor; and the kinds.
    """
    found: dict[tuple[int, str], NDArray[np.float64]] = {}
    everything = np.zeros((len(networks), STATISTICS_SIZE))
    for rows in _by_layout(networks):
        joined: dict[str, list[NDArray[np.float32]]] = {}
        for kind, values in _values(networks, rows):
            joined.setdefault(kind, []).append(values)
        for kind, values in joined.items():
            for row, numbers in zip(rows, statistics(np.concatenate(values, 1)), strict=True):
                found[row, kind] = numbers
        everything[rows] = statistics(np.concatenate([v for values in joined.values() for v in values], 1))
    names = sorted({kind for _, kind in found}) if kinds is None else list(kinds)
    missing = np.full(STATISTICS_SIZE, np.nan)
    table = [
        np.concatenate([*(found.get((row, kind), missing) for kind in names), everything[row]])
        for row in range(len(networks))
    ]
    return np.stack(table), names


@final
class StatisticsBaseline(Baseline):
    """An estimator on weight statistics.

    Where all training networks have one layout, every tensor has columns of its own; otherwise statistics are pooled
    by layer type and role, so that they cross architectures.

    Args:
        model: "boosting" (gradient boosting on the statistics as they are, missing ones left missing) or "mlp"
            (a perceptron on their signed logarithms, standardised; missing ones are zero).
        is_pooled: whether statistics are pooled whatever the training networks are, for predictions across
            architectures; None: where their layouts differ.
        learning_rate: of the estimator; None: its own.

    Source: Unterthiner et al., arXiv 2002.11448, section 4.
    Differs: scikit-learn's boosting in place of LightGBM; pooling by type is ours.
    """

    def __init__(self, *, model: str, is_pooled: bool | None = None, learning_rate: float | None = None) -> None:
        if model not in ESTIMATORS:
            raise ValueError(f"unknown model {model!r}; known: {', '.join(ESTIMATORS)}")
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
            self.width = features.shape[1] // STATISTICS_SIZE
        self.model = ESTIMATORS[self.name](kind, seed, learning_rate=self.learning_rate)
        with warnings.catch_warnings():  # that a perceptron stopped at its last iteration concerns no reader of a table
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


ESTIMATORS: Mapping[str, Callable[..., Estimator]] = {"boosting": boosting, "mlp": perceptron}
