"""Function probing: learned inputs are fed to the networks themselves, whose outputs a perceptron reads."""

from collections.abc import Callable

from sne.baselines import Baseline
from sne.lab.probing.baseline import DeepLinearProbes as DeepLinearProbes
from sne.lab.probing.baseline import FreeProbes as FreeProbes
from sne.lab.probing.baseline import ProbingBaseline as ProbingBaseline
from sne.lab.probing.running import NetworkRunner as NetworkRunner
from sne.lab.probing.running import input_shape as input_shape

PROBING_BASELINES: dict[str, Callable[[], Baseline]] = {"probing": ProbingBaseline}
"""Baselines that run the networks, by name; weights alone do not suffice for them."""
