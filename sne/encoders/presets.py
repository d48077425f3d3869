"""The encoders by name: what a saved predictor and the command line call them."""

from collections.abc import Callable
from functools import partial

from sne.encoders.contract import NetworkEncoder
from sne.encoders.set_encoder import SetEncoder
from sne.encoders.tensor_set_encoder import TensorSetEncoder

ENCODERS: dict[str, type[NetworkEncoder]] = {"SetEncoder": SetEncoder, "TensorSetEncoder": TensorSetEncoder}
"""Names in a predictor's config.json."""

PRESETS: dict[str, Callable[..., NetworkEncoder]] = {
    "paper": SetEncoder,
    "default": TensorSetEncoder,
    "paper-canonical": partial(SetEncoder, canonical=True),
    "default-canonical": partial(TensorSetEncoder, canonical=True),
}
"""`paper` owes the paper everything, `default` owes it nothing. The canonical ones read every network at the canonical
point of its orbit under scalings and sign flips, where its symmetry is known."""
