"""The table of composed weights. A new way to store a weight is one file in this folder and one row here."""

from collections.abc import Callable, Mapping, Sequence

from sne.checkpoints.composed.scales import find_scaled
from sne.checkpoints.composed.weight import ComposedWeight
from sne.checkpoints.composed.weight_norm import find_normalised
from sne.networks import TensorInfo

COMPOSITIONS: Mapping[str, Callable[[Mapping[str, TensorInfo]], Sequence[ComposedWeight]]] = {
    "scales": find_scaled,
    "weight norm": find_normalised,
}
"""Functions that find the composed weights among stored tensors, from names, shapes and dtypes alone."""


def find_composed(infos: Mapping[str, TensorInfo]) -> list[ComposedWeight]:
    """Finds every composed weight among stored tensors.

    Args:
        infos: Every stored tensor, by name.

    Returns:
        The composed weights. If two rows of `COMPOSITIONS` claim one weight, the first row takes it.
    """
    found: dict[str, ComposedWeight] = {}
    for find in COMPOSITIONS.values():
        for weight in find(infos):
            found.setdefault(weight.info.name, weight)
    return list(found.values())
