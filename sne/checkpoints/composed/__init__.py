"""Weights that are stored in another form than the network uses: integers with scales, weight normalisation.

A new way to store a weight is one file in this folder and one row of `COMPOSITIONS`.
"""

from sne.checkpoints.composed.compositions import COMPOSITIONS as COMPOSITIONS
from sne.checkpoints.composed.compositions import find_composed as find_composed
from sne.checkpoints.composed.permuted import PermutedWeight as PermutedWeight
from sne.checkpoints.composed.scales import ScaledWeight as ScaledWeight
from sne.checkpoints.composed.weight import ComposedWeight as ComposedWeight
from sne.checkpoints.composed.weight import Facts as Facts
from sne.checkpoints.composed.weight import Found as Found
from sne.checkpoints.composed.weight_norm import NormalisedWeight as NormalisedWeight
