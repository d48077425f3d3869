"""Weights of bitsandbytes: 4 bits (nf4, fp4) in blocks, and 8 bits per row."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeGuard, final

import torch
from torch import Tensor

from sne.checkpoints.composed.bits import look_up, unpack_bits
from sne.checkpoints.composed.scales import ScaledWeight
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found, is_shape
from sne.networks import TensorInfo

_STATE = ".quant_state.bitsandbytes__"
_RANGE = 127.0
_WIDTHS = {"uint8": 1, "int8": 1, "float16": 2, "bfloat16": 2, "float32": 4}
_UNREAD = "packed by bitsandbytes in an unknown layout, not read; save the network with its weights dequantised"
_MAX_SIZE = 2**40


@final
@dataclass(frozen=True)
class FourBitWeight(ComposedWeight):
    """A weight whose values are entries of a table of 16, times the largest magnitude of their block.

    Args:
        info: Name and shape of the weight, and the dtype of the bytes.
        block_size: Number of values per block, in the order of the flattened weight.
        nested_block_size: Number of blocks that share a magnitude, if magnitudes are quantised in turn; 0 otherwise.
        nested_offset: Number to add to magnitudes that are quantised in turn.

    Source: Dettmers et al., arXiv 2305.14314, section 3, as bitsandbytes 0.50 stores it (`QuantState`).
    Differs: nothing.
    """

    block_size: int
    nested_block_size: int = 0
    nested_offset: float = 0.0

    @property
    def companions(self) -> Mapping[str, str]:
        """The magnitudes and the tables."""
        name = self.info.name
        roles = {"absmax": "magnitudes", "quant_map": "values"}
        if self.nested_block_size:
            roles |= {"nested_absmax": "magnitudes of magnitudes", "nested_quant_map": "values of magnitudes"}
        return {f"{name}.{leaf}": role for leaf, role in roles.items()}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes float32 values of the shape of the weight."""
        name, count = self.info.name, self.info.num_entries
        stored_bytes = stored(name).flatten().contiguous().view(torch.uint8)
        halves = unpack_bits(stored_bytes, 4, 2 * stored_bytes.numel())
        indices = halves.unflatten(0, (-1, 2)).flip(1).flatten()[:count]  # the upper half comes first
        magnitudes = stored(f"{name}.absmax").flatten()
        if self.nested_block_size:
            outer = stored(f"{name}.nested_absmax").float().flatten().repeat_interleave(self.nested_block_size)
            magnitudes = look_up(magnitudes, stored(f"{name}.nested_quant_map")) * outer[: magnitudes.numel()]
            magnitudes = magnitudes + self.nested_offset
        scale = magnitudes.float().repeat_interleave(self.block_size)[:count]
        return (look_up(indices, stored(f"{name}.quant_map")) * scale).reshape(self.info.shape)


def find_bitsandbytes(facts: Facts) -> Found:
    """Finds weights that bitsandbytes packed.

    4 bits: `x.weight` with `x.weight.absmax`, `x.weight.quant_map` and the JSON text
    `x.weight.quant_state.bitsandbytes__nf4` (or `__fp4`). 8 bits: `x.weight` with `x.SCB`, and `x.weight_format` 0.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The weights, and the tensors of other packed layouts of these names.
    """
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    for name in facts.infos:
        if _STATE in name:
            target = name.partition(_STATE)[0]
            weight = _four_bits(facts, target, name)
            packed[name] = "settings of a weight that bitsandbytes packed, not a weight"
            if weight is not None:
                weights[target] = weight
            else:
                leaves = ("", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map")
                packed |= {target + leaf: _UNREAD for leaf in leaves if target + leaf in facts.infos}
        elif name == "SCB" or name.endswith(".SCB"):
            prefix = name[: -len("SCB")]
            target = next((n for n in (f"{prefix}weight", f"{prefix}CB") if n in facts.infos), None)
            form = f"{prefix}weight_format"
            if form in facts.infos:
                packed[form] = "settings of a weight that bitsandbytes packed, not a weight"
            if target is None:
                continue
            info, scale = facts.infos[target], facts.infos[name]
            is_known = info.dtype == "int8" and len(info.shape) == 2 and scale.shape == info.shape[:1]
            if is_known and set(facts.read_integers(form) or (0,)) == {0}:
                final_info = TensorInfo(f"{prefix}weight", info.shape, info.dtype)
                weights[final_info.name] = ScaledWeight(final_info, name, divisor=_RANGE, values=target)
            else:
                packed[target] = packed[name] = _UNREAD
    return Found(weights, packed)


def _four_bits(facts: Facts, name: str, state_name: str) -> FourBitWeight | None:
    """Returns a weight of 4 bits if its settings and sizes fit together."""
    infos, state = facts.infos, _parse(facts.read_text(state_name))
    leaves = [infos.get(f"{name}{leaf}") for leaf in ("", ".absmax", ".quant_map")]
    info, magnitudes, table = leaves
    if info is None or magnitudes is None or table is None or info.dtype not in _WIDTHS:
        return None
    shape, block = state.get("shape"), state.get("blocksize")
    if not isinstance(shape, list) or not is_shape(shape) or not _is_count(block):
        return None
    count = prod(shape)
    if -(-count // 2) > info.num_entries * _WIDTHS[info.dtype] or info.num_entries * _WIDTHS[info.dtype] > count:
        return None
    if magnitudes.num_entries != -(-count // block) or table.num_entries != 16:
        return None
    result = TensorInfo(name, tuple(shape), info.dtype)
    if f"{name}.nested_absmax" not in infos:
        return FourBitWeight(result, block) if magnitudes.dtype.startswith(("float", "bfloat")) else None
    outer, outer_block, offset = (
        infos[f"{name}.nested_absmax"],
        state.get("nested_blocksize"),
        state.get("nested_offset"),
    )
    table = infos.get(f"{name}.nested_quant_map")
    if not _is_count(outer_block) or not isinstance(offset, float | int) or table is None or table.num_entries != 256:
        return None
    if outer.num_entries != -(-magnitudes.num_entries // outer_block) or magnitudes.dtype != "uint8":
        return None
    return FourBitWeight(result, block, outer_block, float(offset))


def _parse(text: str | None) -> Mapping[str, Any]:
    try:
        content = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 < value <= _MAX_SIZE
