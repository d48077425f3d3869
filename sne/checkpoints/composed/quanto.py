"""Weights of quanto: 8 bits per entry with a scale per row, or 2 and 4 bits with scales and shifts per group."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sne.checkpoints.composed.scales import ScaledWeight
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found
from sne.networks import TensorInfo

_DATA = "._data"
_BITS = {2: 4, 4: 2}
_UNREAD = "packed by quanto, not read: its shape is not stored; save the network with its weights dequantised"
_NARROW = ("int8", "float8")


@final
@dataclass(frozen=True)
class ShiftedWeight(ComposedWeight):
    """A weight with the values number * scale - shift, or (number - shift) * scale if shifts are whole numbers.

    Args:
        info: Name and shape of the weight, and the dtype of the bytes.
        bits: Bits per number. Each byte holds numbers of groups that are far apart.

    Source: optimum-quanto 0.2.7, `pack_weights` and `QBitsDequantizer`.
    Differs: nothing.
    """

    bits: int

    @property
    def companions(self) -> Mapping[str, str]:
        """The packed numbers, scales and shifts."""
        roles = {"._data._data": "packed numbers", "._scale": "scales", "._shift": "shifts"}
        return {self.info.name + leaf: role for leaf, role in roles.items()}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes float32 values of the shape of the weight."""
        name = self.info.name
        data, scale, shift = (stored(name + leaf) for leaf in ("._data._data", "._scale", "._shift"))
        shifts = range(0, 8, self.bits)
        numbers = torch.cat([(data >> by) & (2**self.bits - 1) for by in shifts])[: scale.shape[0]].float()
        if shift.is_floating_point():
            values = numbers * scale.float() - shift.float()
        else:
            values = (numbers - shift.float()) * scale.float()
        return values.reshape(self.info.shape)


def find_quanto(facts: Facts) -> Found:
    """Finds weights that quanto quantised.

    8 bits: `x._data` with `x._scale`. 2 and 4 bits: `x._data._data` with `x._scale` and `x._shift`. Their shape is not
    stored; it is known if there is a bias, whose size is the number of outputs.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The weights under the name `x`, and the tensors of packed weights whose shape is not known.
    """
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    for name, info in facts.infos.items():
        if not name.endswith(_DATA):
            continue
        target = name.removesuffix(_DATA).removesuffix(_DATA)
        parts = [part for part in (name, f"{target}._scale", f"{target}._shift") if part in facts.infos]
        scale = facts.infos.get(f"{target}._scale")
        if scale is None or target in facts.infos:
            continue
        if name == target + _DATA:
            fits = scale.num_entries == 1 or scale.shape == (*info.shape[:1], *[1] * (len(info.shape) - 1))
            if fits and info.dtype.startswith(_NARROW) and f"{target}._shift" not in facts.infos:
                weights[target] = ScaledWeight(TensorInfo(target, info.shape, info.dtype), scale.name, values=name)
                continue
        elif (weight := _read_packed(facts, info, scale, target)) is not None:
            weights[target] = weight
            continue
        packed |= {part: _UNREAD for part in parts}
    return Found(weights, packed)


def _read_packed(facts: Facts, data: TensorInfo, scale: TensorInfo, name: str) -> ShiftedWeight | None:
    """Returns a weight of 2 or 4 bits if its shape is known."""
    bias, shift = facts.infos.get(f"{name.removesuffix('weight')}bias"), facts.infos.get(f"{name}._shift")
    if bias is None or len(bias.shape) != 1 or not bias.num_entries or not name.endswith("weight"):
        return None
    if data.dtype != "uint8" or len(data.shape) != 2 or shift is None or shift.shape != scale.shape:
        return None
    groups = scale.shape[0] if scale.shape[1:] == (1,) else 0
    fitting = [bits for bits, per_byte in _BITS.items() if groups and data.shape[0] == -(-groups // per_byte)]
    num_in, rest = divmod(groups * data.shape[1], bias.shape[0])
    if len(fitting) != 1 or rest or groups % bias.shape[0]:
        return None
    return ShiftedWeight(TensorInfo(name, (bias.shape[0], num_in), data.dtype), fitting[0])
