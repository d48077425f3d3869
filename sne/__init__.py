"""sne reads any neural network by its weights alone.

Names are imported when they are first used, so that importing `sne` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    import sne.symmetry as symmetry  # noqa: F401
    from sne.checkpoints import CheckpointError as CheckpointError
    from sne.checkpoints import read_network as read_network
    from sne.encoders import NetworkEncoder as NetworkEncoder
    from sne.networks import Network as Network
    from sne.predictors import Predictor as Predictor
    from sne.predictors import PredictorError as PredictorError
    from sne.predictors import encode as encode
    from sne.symmetry import Symmetry as Symmetry
    from sne.symmetry import SymmetryError as SymmetryError
    from sne.training import TrainingError as TrainingError
    from sne.training import TrainingSettings as TrainingSettings
    from sne.training import fit as fit
    from sne.zoo import Zoo as Zoo
    from sne.zoo import ZooError as ZooError

_ROOMS = {
    "CheckpointError": "checkpoints",
    "Network": "networks",
    "NetworkEncoder": "encoders",
    "Predictor": "predictors",
    "PredictorError": "predictors",
    "Symmetry": "symmetry",
    "SymmetryError": "symmetry",
    "TrainingError": "training",
    "TrainingSettings": "training",
    "Zoo": "zoo",
    "ZooError": "zoo",
    "encode": "predictors",
    "fit": "training",
    "read_network": "checkpoints",
}
_MODULES = ("symmetry",)  # used as sne.symmetry.trace
__all__ = ["__version__", *sorted((*_ROOMS, *_MODULES))]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"sne.{name}")
    if name not in _ROOMS:
        raise AttributeError(f"module 'sne' has no attribute {name!r}")
    return getattr(import_module(f"sne.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
