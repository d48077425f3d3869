"""Weights that are stored in another form than the network uses: integers with scales, weight normalisation.

A new way to store a weight is one file in this folder and one row of `COMPOSITIONS`.
"""

from collections.abc import Callable, Mapping, Sequence

from sne.checkpoints.composed.scales import ScaledWeight as ScaledWeight
from sne.checkpoints.composed.scales import find_scaled
from sne.checkpoints.composed.weight import ComposedWeight as ComposedWeight
from sne.checkpoints.composed.weight_norm import NormalisedWeight as NormalisedWeight
from sne.checkpoints.composed.weight_norm import find_normalised
from sne.networks import TensorInfo

COMPOSITIONS: Mapping[str, Callable[[Mapping[str, TensorInfo]], Sequence[ComposedWeight]]] = {
    "scales": find_scaled,
    "weight norm": find_normalised,
}
"""Functions that find the composed weights among stored tensors, from names, shapes and dtypes alone. If two of them
claim one weight, the first takes it."""
