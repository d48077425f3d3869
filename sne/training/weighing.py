"""Weights of experts, chosen on networks that none of them had learned from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sne import metrics
from sne.predictors import Property
from sne.predictors.properties import output_slices

STEPS = 20
"""Number of greedy steps, and so the largest denominator of a weight."""
WITH_START = {"adapted": 0.8, "forest": 0.2}
"""Weights by kind of expert where one starts from another predictor, chosen on families and image sets that this
predictor had not seen (docs/predictions.md)."""
PSEUDO_LABELS = 300
"""Number of labels that these weights count for."""
LEAST_WEIGHT = 0.05
"""Least weight of an expert beside them; less is not worth its time."""
MOST_ROWS = 20_000
"""Number of networks that choose weights; of more, so many are taken at equal distances."""
RUN_PARTS = 5
"""Number of parts into which runs are dealt, to see which way of choosing weights holds on other runs."""
LEAST_PARTS = 3
"""Least number of parts with labels for that; with fewer, all experts weigh the same."""


def deal_runs(runs: Sequence[str]) -> Int[np.ndarray, " rows"]:
    """Deals training runs into `RUN_PARTS` parts, and returns the part of each row."""
    names, run_of = np.unique(np.asarray(runs), return_inverse=True)
    return (np.random.default_rng(0).permutation(len(names)) % RUN_PARTS)[run_of]


def weigh(
    properties: Sequence[Property],
    targets: Float[np.ndarray, "rows properties"],
    predictions: Sequence[Float[np.ndarray, "rows outputs"]],
    parts: Int[np.ndarray, " rows"],
    *,
    by_part: bool = False,
) -> Float[np.ndarray, "experts properties"]:
    """Chooses the weight of each expert for each property.

    There are three ways: the best expert alone, all experts alike, and greedy selection. In greedy selection, beginning
    with the best expert, the expert that helps most is added again and again, with replacement, and the best of all
    means on the way is kept. Each way chooses weights without the networks of one part after the other, and predicts
    these; the way that does best there chooses the final weights, from all parts. Experts are thus combined only if
    that is better than the best of them on networks that had no influence on the weights.

    Numbers are judged by rank agreement (Kendall's tau to three decimals), then by mean absolute error; classes by log
    loss.

    Args:
        properties: The properties.
        targets: Labels as `Property.encode` gives them; nan where missing.
        predictions: Predictions of each expert for the same networks, made out of fold.
        parts: Part of each network: runs dealt at random, or families.
        by_part: Whether networks are compared within their part only, and parts count alike.

    Returns:
        Weights that are not negative and add up to 1 for each property. Equal weights where fewer than `LEAST_PARTS`
        parts have labels.

    Source: Caruana et al., "Ensemble selection from libraries of models", ICML 2004, for greedy selection.
    Differs: The objective is lexicographic; the best step on the way is kept instead of the last; selection is one of
        three ways.
    """
    columns = []
    for column, (prop, where) in enumerate(zip(properties, output_slices(properties), strict=True)):
        known = np.flatnonzero(~np.isnan(targets[:, column]))
        if len(known) > MOST_ROWS:
            known = known[np.linspace(0, len(known) - 1, MOST_ROWS).round().astype(np.int64)]
        if by_part:  # a part needs two labels to be ranked
            names, counts = np.unique(parts[known], return_counts=True)
            known = known[np.isin(parts[known], names[counts > 1])]
        judged = _JudgedProperty(
            prop, targets[known, column], np.stack([own[known][:, where] for own in predictions]), parts[known], by_part
        )
        columns.append(_chosen_weights(judged))
    return np.stack(columns, axis=1)


def lean(
    kinds: Sequence[str],
    weights: Float[np.ndarray, "experts properties"],
    targets: Float[np.ndarray, "rows properties"],
) -> Float[np.ndarray, "experts properties"]:
    """Moves weights towards those of `WITH_START`, the more so the fewer labels have chosen them.

    With few labels, chance decides which expert looks best out of fold.

    Args:
        kinds: Kinds of the experts, one of them "adapted".
        weights: Weights that were chosen by labels.
        targets: These labels; nan where missing.

    Returns:
        The means of the weights, counted as often as there are labels, and of those of `WITH_START`, counted
        `PSEUDO_LABELS` times. Experts with less than `LEAST_WEIGHT` are left out.

    Example:
        >>> lean(["forest", "adapted"], np.array([[1.0], [0.0]]), np.zeros((100, 1))).round(2).tolist()
        [[0.4], [0.6]]
    """
    counts = (~np.isnan(targets)).sum(0)
    trusted = np.array([WITH_START.get(kind, 0.0) for kind in kinds])[:, None]
    leaned = (counts * weights + PSEUDO_LABELS * trusted / trusted.sum()) / (counts + PSEUDO_LABELS)
    kept = np.where(leaned >= LEAST_WEIGHT, leaned, 0.0)
    return kept / kept.sum(0)


Quality = tuple[float, ...]
"""Larger for better predictions."""


@dataclass(frozen=True)
class _JudgedProperty:
    """Predictions of one property by every expert, with labels."""

    prop: Property
    labels: Float[np.ndarray, " rows"]
    predictions: Float[np.ndarray, "experts rows outputs"]
    parts: Int[np.ndarray, " rows"]
    by_part: bool

    def take(self, rows: np.ndarray) -> "_JudgedProperty":
        return _JudgedProperty(self.prop, self.labels[rows], self.predictions[:, rows], self.parts[rows], self.by_part)

    def quality(self, values: Float[np.ndarray, "rows outputs"]) -> Quality:
        """Judges values: tau and minus the mean absolute error of numbers, minus the log loss of classes."""
        groups = [self.parts == part for part in np.unique(self.parts)] if self.by_part else [self.parts == self.parts]
        if self.prop.kind == "class":
            chances = values[np.arange(len(values)), self.labels.astype(np.int64)].clip(1e-6)
            return (float(np.mean([np.log(chances[group]).mean() for group in groups])),)
        taus = [metrics.kendall_tau(self.labels[group], values[group, 0]) for group in groups]
        errors = [metrics.mae(self.labels[group], values[group, 0]) for group in groups]
        return (round(float(np.mean(taus)), 3), -float(np.mean(errors)))


def _chosen_weights(judged: _JudgedProperty) -> Float[np.ndarray, " experts"]:
    """Lets each way choose without one part after the other, and returns the weights of the best way."""
    experts = len(judged.predictions)
    parts = np.unique(judged.parts)
    if experts == 1 or len(parts) < LEAST_PARTS:
        return _equal(judged)
    best, chosen = None, _equal
    for way in WAYS:
        values = np.zeros_like(judged.predictions[0])
        for part in parts:
            inside = judged.parts == part
            weights = way(judged.take(np.flatnonzero(~inside)))
            values[inside] = np.tensordot(weights, judged.predictions[:, inside], 1)
        found = judged.quality(values)
        if best is None or found > best:
            best, chosen = found, way
    return chosen(judged)


def _best(judged: _JudgedProperty) -> Float[np.ndarray, " experts"]:
    found = [judged.quality(own) for own in judged.predictions]
    return np.eye(len(found))[max(range(len(found)), key=lambda number: found[number])]


def _equal(judged: _JudgedProperty) -> Float[np.ndarray, " experts"]:
    return np.full(len(judged.predictions), 1 / len(judged.predictions))


def _greedy(judged: _JudgedProperty) -> Float[np.ndarray, " experts"]:
    predictions = judged.predictions
    counts = np.zeros(len(predictions), dtype=np.int64)
    total = np.zeros_like(predictions[0])
    best, best_counts = (-float("inf"),), counts
    for step in range(1, STEPS + 1):
        found = [judged.quality((total + own) / step) for own in predictions]
        chosen = max(range(len(found)), key=lambda number: found[number])
        counts = counts + np.eye(len(predictions), dtype=np.int64)[chosen]
        total = total + predictions[chosen]
        if found[chosen] > best:
            best, best_counts = found[chosen], counts
    return best_counts / best_counts.sum()


WAYS: Sequence[Callable[[_JudgedProperty], Float[np.ndarray, " experts"]]] = (_best, _equal, _greedy)
"""Ways of choosing weights; of ways that are equally good, the first one decides."""
