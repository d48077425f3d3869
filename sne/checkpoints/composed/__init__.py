"""Weights that are stored in another form than the network uses: integers with scales, weight normalisation."""

from sne.checkpoints.composed.known import COMPOSITIONS as COMPOSITIONS
from sne.checkpoints.composed.known import find_composed as find_composed
from sne.checkpoints.composed.scales import ScaledWeight as ScaledWeight
from sne.checkpoints.composed.weight import ComposedWeight as ComposedWeight
from sne.checkpoints.composed.weight_norm import NormalisedWeight as NormalisedWeight
