"""Neural networks that read weights, other people's methods, as network encoders: one file a method."""

from sne.baselines.neural.contract import CannotTakeError as CannotTakeError
from sne.baselines.neural.contract import Maker as Maker
from sne.encoders import NetworkEncoder

NEURAL_BASELINES: dict[str, Maker] = {}
"""Makers by the names that studies use."""

NEURAL_ENCODERS: dict[str, type[NetworkEncoder]] = {}
"""Classes by the names that predictor folders use."""
