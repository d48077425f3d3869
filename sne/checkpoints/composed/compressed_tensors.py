"""Weights that compressed-tensors packed: whole numbers of 1 to 8 bits in words of 32 bits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sne.checkpoints.composed.bits import packed_size, spread_groups, unpack_bits
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found, is_shape
from sne.errors import CheckpointError
from sne.networks import TensorInfo

_SUFFIX = "_packed"
_LEAVES = ("_packed", "_scale", "_shape", "_zero_point", "_g_idx")
_UNREAD = "packed by compressed-tensors in an unknown layout, not read; save the network with its weights dequantised"


@final
@dataclass(frozen=True)
class PackedWeight(ComposedWeight):
    """A weight with the values (number - zero point) * scale, where both belong to a group of inputs.

    Args:
        info: Name and shape [..., out, in] of the weight, and the dtype of the words.
        bits: Bits per number. Numbers are stored with 2^(bits - 1) added to them.
        has_zero_point: Whether there are packed zero points; otherwise they are 0.
        has_groups: Whether the group of each input is stored; otherwise groups are equally large and in order.
        has_gaps: Whether no number lies in two words, as in old versions of the library for 3, 5, 6 and 7 bits.

    Source: compressed-tensors 0.20, `pack_to_int32` and `PackedQuantizationCompressor`, format "pack-quantized".
    Differs: nothing.
    """

    bits: int
    has_zero_point: bool = False
    has_groups: bool = False
    has_gaps: bool = False

    @property
    def companions(self) -> Mapping[str, str]:
        """The packed numbers, the scales, the shape and, if there are any, zero points and groups."""
        roles = {"_packed": "packed numbers", "_scale": "scales", "_shape": "shape"}
        roles |= {"_zero_point": "zero points"} if self.has_zero_point else {}
        roles |= {"_g_idx": "groups of inputs"} if self.has_groups else {}
        return {f"{self.info.name}{leaf}": role for leaf, role in roles.items()}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes float32 values of the shape of the weight."""
        name, (num_out, num_in) = self.info.name, self.info.shape[-2:]
        numbers = self._unpack(stored(f"{name}_packed"), num_in)
        scales = stored(f"{name}_scale").float()
        zeros = torch.zeros((), dtype=torch.float32)
        if self.has_zero_point:
            words = stored(f"{name}_zero_point")
            zeros = self._unpack(words.transpose(-1, -2), num_out).transpose(-1, -2)
        if not self.has_groups:
            zeros = zeros if zeros.ndim == 0 else spread_groups(zeros, num_in)
            return (numbers - zeros) * spread_groups(scales, num_in)
        group = stored(f"{name}_g_idx").long()
        if not 0 <= int(group.min()) <= int(group.max()) < scales.shape[-1]:
            raise CheckpointError(f"{name}_g_idx", f"groups from {group.min()} to {group.max()}, expected 0 to "
                                  f"{scales.shape[-1] - 1}")  # fmt: skip
        return (numbers - (zeros if zeros.ndim == 0 else zeros[..., group])) * scales[..., group]

    def _unpack(self, words: Tensor, count: int) -> Tensor:
        """Unpacks numbers along the last axis."""
        if self.has_gaps:
            per_word = 32 // self.bits
            numbers = unpack_bits(words.unsqueeze(-1), self.bits, per_word).flatten(-2)[..., :count]
        else:
            numbers = unpack_bits(words, self.bits, count)
        return numbers.float() - 2 ** (self.bits - 1)


def find_compressed_tensors(facts: Facts) -> Found:
    """Finds weights that compressed-tensors packed: `x_packed` as int32, with `x_scale` and `x_shape`.

    The number of bits follows from the shapes.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The weights under the name `x`, and the tensors of other packed layouts of these names.
    """
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    for name, info in facts.infos.items():
        target = name.removesuffix(_SUFFIX)
        if target == name or info.dtype != "int32" or f"{target}_scale" not in facts.infos:
            continue
        weight = _read(facts, target)
        if weight is not None:
            weights[target] = weight
        else:
            parts = (target + leaf for leaf in _LEAVES)
            packed |= {part: _UNREAD for part in parts if part in facts.infos}
    return Found(weights, packed)


def _read(facts: Facts, name: str) -> PackedWeight | None:
    infos = facts.infos
    packed, scale = infos[f"{name}_packed"], infos[f"{name}_scale"]
    shape = facts.read_integers(f"{name}_shape")
    if shape is None or len(shape) < 2 or not is_shape(shape) or name in infos:
        return None
    num_out, num_in = shape[-2:]
    if packed.shape[:-1] != shape[:-1] or scale.shape[:-1] != shape[:-1] or not scale.num_entries:
        return None
    layouts = [(bits, False) for bits in range(1, 9) if packed.shape[-1] == packed_size(num_in, bits)]
    bits = _configured_bits(facts)
    gaps = (3, 5, 6) if bits is None else (3, 5, 6, 7)  # 7 bits with gaps are as long as the usual 8 bits
    layouts += [(bits, True) for bits in gaps if packed.shape[-1] == -(-num_in // (32 // bits))]
    layouts = [layout for layout in layouts if bits in (None, layout[0])]
    if len(layouts) != 1:
        return None
    ((bits, has_gaps),) = layouts
    groups, zeros = infos.get(f"{name}_g_idx"), infos.get(f"{name}_zero_point")
    if (num_in % scale.shape[-1] and groups is None) or (groups is not None and not _is_index(groups, num_in)):
        return None
    if zeros is not None:
        size = -(-num_out // (32 // bits)) if has_gaps else packed_size(num_out, bits)
        if zeros.dtype != "int32" or zeros.shape != (*shape[:-2], size, scale.shape[-1]):
            return None
    info = TensorInfo(name, shape, packed.dtype)
    return PackedWeight(info, bits, zeros is not None, groups is not None, has_gaps)


def _is_index(groups: TensorInfo, num_in: int) -> bool:
    """Whether a tensor holds one group per input."""
    return groups.shape == (num_in,) and groups.dtype.startswith("int")


def _configured_bits(facts: Facts) -> int | None:
    """Returns the number of bits that the configuration gives all weights; None if it gives none or several."""
    settings = facts.config.get("quantization_config")
    groups = settings.get("config_groups") if isinstance(settings, Mapping) else None
    found: set[int] = set()
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        bits = weights.get("num_bits") if isinstance(weights, Mapping) else None
        if type(bits) is int:
            found.add(bits)
    return found.pop() if len(found) == 1 else None
