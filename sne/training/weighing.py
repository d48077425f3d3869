"""Weights of experts, chosen on networks that none of them had learned from."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

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


def weigh(
    properties: Sequence[Property],
    targets: Float[np.ndarray, "rows properties"],
    predictions: Sequence[Float[np.ndarray, "rows outputs"]],
) -> Float[np.ndarray, "experts properties"]:
    """Chooses the weight of each expert for each property.

    Greedy selection: beginning with the best expert, the expert that helps most is added again and again, with
    replacement, and the best of all means on the way is kept. Numbers are judged by rank agreement (Kendall's tau to
    three decimals), then by mean absolute error; classes by log loss.

    Args:
        properties: The properties.
        targets: Labels as `Property.encode` gives them; nan where missing.
        predictions: Predictions of each expert for the same networks, made out of fold.

    Returns:
        Weights that are not negative and add up to 1 for each property. Equal weights where fewer than two labels
        are known.

    Source: Caruana et al., "Ensemble selection from libraries of models", ICML 2004.
    Differs: The objective is lexicographic; the best step on the way is kept instead of the last.
    """
    columns = []
    for column, (prop, where) in enumerate(zip(properties, output_slices(properties), strict=True)):
        known = np.flatnonzero(~np.isnan(targets[:, column]))
        if len(known) > MOST_ROWS:
            known = known[np.linspace(0, len(known) - 1, MOST_ROWS).round().astype(np.int64)]
        if len(predictions) == 1 or len(known) < 2:
            columns.append(np.full(len(predictions), 1 / len(predictions)))
            continue
        quality = _quality(prop, targets[known, column])
        columns.append(_select([own[known][:, where] for own in predictions], quality))
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


Quality = Callable[[np.ndarray], tuple[float, ...]]
"""From predictions to a tuple that is larger for better ones."""


def _quality(prop: Property, labels: np.ndarray) -> Quality:
    if prop.kind == "class":
        numbers = labels.astype(np.int64)

        def minus_log_loss(values: np.ndarray) -> tuple[float, ...]:
            return (float(np.log(values[np.arange(len(numbers)), numbers].clip(1e-6)).mean()),)

        return minus_log_loss

    def agreement(values: np.ndarray) -> tuple[float, ...]:
        return (round(metrics.kendall_tau(labels, values[:, 0]), 3), -metrics.mae(labels, values[:, 0]))

    return agreement


def _select(predictions: Sequence[np.ndarray], quality: Quality) -> Float[np.ndarray, " experts"]:
    counts = np.zeros(len(predictions), dtype=np.int64)
    total = np.zeros_like(predictions[0])
    best, best_counts = (-float("inf"),), counts
    for step in range(1, STEPS + 1):
        found = [quality((total + own) / step) for own in predictions]
        chosen = max(range(len(found)), key=lambda number: found[number])
        counts = counts + np.eye(len(predictions), dtype=np.int64)[chosen]
        total = total + predictions[chosen]
        if found[chosen] > best:
            best, best_counts = found[chosen], counts
    return best_counts / best_counts.sum()
