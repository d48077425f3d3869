"""Function probing: learned inputs, shown to the networks themselves; it runs networks, so it needs their modules."""

from sne.baselines.probing.baseline import ProbingBaseline as ProbingBaseline
from sne.baselines.probing.baseline import probe_features as probe_features
from sne.baselines.probing.modules import input_shape as input_shape
from sne.baselines.probing.probes import DeepLinearProbes as DeepLinearProbes
from sne.baselines.probing.probes import FreeProbes as FreeProbes
from sne.baselines.probing.running import NetworkRunner as NetworkRunner
