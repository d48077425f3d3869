"""Function probing: learned inputs, shown to the networks themselves; it runs networks, so it needs their modules."""

from collections.abc import Callable

from sne.baselines import Baseline
from sne.lab.probing.baseline import ProbingBaseline as ProbingBaseline
from sne.lab.probing.baseline import probe_features as probe_features
from sne.lab.probing.modules import input_shape as input_shape
from sne.lab.probing.probes import DeepLinearProbes as DeepLinearProbes
from sne.lab.probing.probes import FreeProbes as FreeProbes
from sne.lab.probing.running import NetworkRunner as NetworkRunner

PROBING_BASELINES: dict[str, Callable[[], Baseline]] = {"probing": ProbingBaseline}
"""Baselines that run the networks, and so need more than weights."""
