"""Network encoders: SNE after the paper, and the default encoder."""

from collections.abc import Callable
from functools import partial

from sne.encoders.contract import EncoderBatch as EncoderBatch
from sne.encoders.contract import NetworkEncoder as NetworkEncoder
from sne.encoders.limits import Limits as Limits
from sne.encoders.set_encoder import SetEncoder as SetEncoder
from sne.encoders.tensor_set_encoder import TensorSetEncoder as TensorSetEncoder

PRESETS: dict[str, Callable[..., NetworkEncoder]] = {
    "paper": SetEncoder,
    "default": TensorSetEncoder,
    "paper-canonical": partial(SetEncoder, canonical=True),
    "default-canonical": partial(TensorSetEncoder, canonical=True),
}
"""Encoders by the names that the command line and `sne.fit` take. `paper` follows the paper, `default` is our own. The
canonical ones read every network at the canonical point of its orbit under scalings and sign flips, if its symmetry is
known."""

ENCODERS: dict[str, type[NetworkEncoder]] = {"SetEncoder": SetEncoder, "TensorSetEncoder": TensorSetEncoder}
"""Encoder classes by the names that a saved predictor's config.json holds."""
