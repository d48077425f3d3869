"""Network encoders: SNE itself."""

from sne.encoders.contract import EncoderBatch as EncoderBatch
from sne.encoders.contract import NetworkEncoder as NetworkEncoder
from sne.encoders.presets import ENCODERS as ENCODERS
from sne.encoders.presets import PRESETS as PRESETS
from sne.encoders.set_encoder import SetEncoder as SetEncoder
from sne.encoders.tensor_set_encoder import TensorSetEncoder as TensorSetEncoder
