"""The table of compositions, and the search for all of them among the tensors of a checkpoint."""

from collections.abc import Callable, Mapping

from sne.checkpoints.composed.scales import find_scaled
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found
from sne.checkpoints.composed.weight_norm import find_normalised

COMPOSITIONS: Mapping[str, Callable[[Facts], Found]] = {
    "scales": find_scaled,
    "weight norm": find_normalised,
}
"""Functions that find composed weights among stored tensors, from names, shapes, dtypes and configuration. If two of
them claim one weight, the first takes it."""


def find_composed(facts: Facts) -> Found:
    """Finds every composed weight among stored tensors.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The composed weights, and the tensors that are recognised as packed and cannot be read. If two rows of
        `COMPOSITIONS` claim one weight, the first row takes it.
    """
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    for find in COMPOSITIONS.values():
        found = find(facts)
        weights = {**found.weights, **weights}
        packed = {**found.packed, **packed}
    used = {name for weight in weights.values() for name in (weight.info.name, *weight.companions)}
    return Found(weights, {name: reason for name, reason in packed.items() if name not in used})
