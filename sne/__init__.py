"""sne reads any neural network by its weights alone.

Names and packages are imported when they are first used, so that importing `sne` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from sne import baselines as baselines
    from sne import callbacks as callbacks
    from sne import checkpoints as checkpoints
    from sne import encoders as encoders
    from sne import health as health
    from sne import making as making
    from sne import metrics as metrics
    from sne import networks as networks
    from sne import nn as nn
    from sne import predictors as predictors
    from sne import provenance as provenance
    from sne import report as report
    from sne import sklearn as sklearn
    from sne import symmetry as symmetry
    from sne import training as training
    from sne import zoo as zoo
    from sne.checkpoints import read_network as read_network
    from sne.encoders import NetworkEncoder as NetworkEncoder
    from sne.errors import CheckpointError as CheckpointError
    from sne.errors import PredictorError as PredictorError
    from sne.errors import ProvenanceError as ProvenanceError
    from sne.errors import SneError as SneError
    from sne.errors import SymmetryError as SymmetryError
    from sne.errors import TrainingError as TrainingError
    from sne.errors import ZooError as ZooError
    from sne.health import Finding as Finding
    from sne.health import HealthReport as HealthReport
    from sne.health import check as check
    from sne.networks import Network as Network
    from sne.predictors import Predictor as Predictor
    from sne.predictors import encode as encode
    from sne.provenance import Comparison as Comparison
    from sne.provenance import Relation as Relation
    from sne.provenance import compare as compare
    from sne.report import Card as Card
    from sne.report import card as card
    from sne.symmetry import Symmetry as Symmetry
    from sne.training import TrainingSettings as TrainingSettings
    from sne.training import evaluate as evaluate
    from sne.training import fit as fit
    from sne.zoo import Split as Split
    from sne.zoo import Zoo as Zoo

_PACKAGES = (
    "baselines",
    "callbacks",
    "checkpoints",
    "encoders",
    "health",
    "making",
    "metrics",
    "networks",
    "nn",
    "predictors",
    "provenance",
    "report",
    "sklearn",
    "symmetry",
    "training",
    "zoo",
)
_PACKAGE_OF = {
    "Card": "report",
    "CheckpointError": "errors",
    "Comparison": "provenance",
    "Finding": "health",
    "HealthReport": "health",
    "Network": "networks",
    "NetworkEncoder": "encoders",
    "Predictor": "predictors",
    "PredictorError": "errors",
    "ProvenanceError": "errors",
    "SneError": "errors",
    "Relation": "provenance",
    "Split": "zoo",
    "Symmetry": "symmetry",
    "SymmetryError": "errors",
    "TrainingError": "errors",
    "TrainingSettings": "training",
    "Zoo": "zoo",
    "ZooError": "errors",
    "card": "report",
    "check": "health",
    "compare": "provenance",
    "encode": "predictors",
    "evaluate": "training",
    "fit": "training",
    "read_network": "checkpoints",
}
__all__ = ["__version__", *sorted((*_PACKAGE_OF, *_PACKAGES))]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"sne.{name}")
    if name not in _PACKAGE_OF:
        raise AttributeError(f"module 'sne' has no attribute {name!r}")
    return getattr(import_module(f"sne.{_PACKAGE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
