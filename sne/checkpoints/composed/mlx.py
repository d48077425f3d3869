"""Quantised weights of MLX: whole numbers in words of 32 bits, with a scale and a bias per group."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from sne.checkpoints.composed.bits import packed_size, spread_groups, unpack_bits
from sne.checkpoints.composed.float4 import FloatFourWeight
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found
from sne.networks import TensorInfo

_BITS = (2, 3, 4, 5, 6, 8)
_GROUPS = (16, 32, 64, 128)
_MX_BLOCK = 32
_OPEN = (
    "packed by MLX, not read: the number of bits is not known; put the config.json of the network, with its "
    "quantization settings, beside the checkpoint"
)
_UNREAD = "packed by MLX in an unknown layout, not read; save the network with its weights dequantised"


@final
@dataclass(frozen=True)
class MlxWeight(ComposedWeight):
    """A weight with the values number * scale + bias, where scale and bias belong to a group of inputs.

    Args:
        info: Name and shape of the weight, and the dtype of the words.
        scales: Name of the scales, one per group along the last axis.
        biases: Name of the biases, of the same shape.
        bits: Bits per number.

    Source: `mlx.core.quantize` and `mlx.core.dequantize` of MLX 0.32, mode "affine".
    Differs: nothing.
    """

    scales: str
    biases: str
    bits: int

    @property
    def companions(self) -> Mapping[str, str]:
        """The scales and biases."""
        return {self.scales: "scales", self.biases: "biases of groups"}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes float32 values of the shape of the weight."""
        size = self.info.shape[-1]
        numbers = unpack_bits(stored(self.info.name), self.bits, size).float()
        scales, biases = stored(self.scales).float(), stored(self.biases).float()
        return numbers * spread_groups(scales, size) + spread_groups(biases, size)


def find_mlx(facts: Facts) -> Found:
    """Finds weights that MLX packed: `x.weight` as uint32, with `x.scales` and `x.biases`, or MXFP4 without biases.

    The number of bits and the size of groups are in the configuration, under "quantization". Without it they are read
    off the shapes if only one pair fits.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The weights, and the tensors of other packed layouts of these names.
    """
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    for name, info in facts.infos.items():
        if info.dtype != "uint32" or len(info.shape) < 2:
            continue
        path = name.rpartition(".")[0]
        prefix = f"{path}." if path else ""
        scales, biases = facts.infos.get(f"{prefix}scales"), facts.infos.get(f"{prefix}biases")
        if scales is None:
            continue
        found = _read(facts, info, scales, biases, path)
        if not isinstance(found, str):
            weights[name] = found
        else:
            packed |= {part: found for part in (name, f"{prefix}scales", f"{prefix}biases") if part in facts.infos}
    return Found(weights, packed)


def _read(
    facts: Facts, info: TensorInfo, scales: TensorInfo, biases: TensorInfo | None, path: str
) -> MlxWeight | FloatFourWeight | str:
    """Returns a weight, or the reason why it is not read."""
    settings = facts.config.get("quantization", facts.config.get("quantization_config"))
    settings = settings if isinstance(settings, Mapping) else {}
    own = settings.get(path)
    settings = {**settings, **own} if isinstance(own, Mapping) else settings
    if scales.shape[:-1] != info.shape[:-1] or not scales.num_entries:
        return _UNREAD
    if biases is None:
        # A byte of 32 values is a power of two; the other formats of floats have other sizes.
        is_mx = scales.dtype == "uint8" and 8 * info.shape[-1] == _MX_BLOCK * scales.shape[-1]
        if not is_mx or settings.get("mode", "mxfp4") != "mxfp4":
            return _UNREAD
        shape = (*info.shape[:-1], 8 * info.shape[-1])
        return FloatFourWeight(TensorInfo(info.name, shape, info.dtype), info.name, scales.name)
    if scales.shape != biases.shape or settings.get("mode", "affine") != "affine":
        return _UNREAD
    fitting = [
        (bits, group)
        for bits in _BITS
        for group in _GROUPS
        if info.shape[-1] == packed_size(scales.shape[-1] * group, bits)
        and settings.get("bits", bits) == bits
        and settings.get("group_size", group) == group
    ]
    if len(fitting) != 1:
        return _OPEN if fitting else _UNREAD
    ((bits, group),) = fitting
    shape = (*info.shape[:-1], scales.shape[-1] * group)
    return MlxWeight(TensorInfo(info.name, shape, info.dtype), scales.name, biases.name, bits)
