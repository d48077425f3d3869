"""Weights of torchao, whose tensor subclasses are saved as several tensors each."""

import json
from collections.abc import Mapping
from typing import Any

from sne.checkpoints.composed.scales import ScaledWeight
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found
from sne.networks import TensorInfo

_DATA = "_qdata"
_READ = ("Int8Tensor", "IntxUnpackedToInt8Tensor", "Float8Tensor")
_PARTS = ("qdata", "scale", "zero_point", "scale_and_zero", "act_pre_scale", "act_quant_scale", "per_tensor_scale")
_UNREAD = "packed by torchao, not read; save the network with its weights dequantised"


def find_torchao(facts: Facts) -> Found:
    """Finds weights that torchao saved in safetensors: `x._weight_qdata`, `x._weight_scale`, `x._weight_zero_point`.

    The metadata of the file holds the class and the size of blocks of each weight. Classes with one number of 8 bits
    per entry are read, packed ones are not.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The weights under their names in the network, and the tensors of those that are not read.

    Source: torchao 0.18, `torchao.prototype.safetensors`.
    Differs: nothing.
    """
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    for name, info in facts.infos.items():
        head, dot, leaf = name.rpartition(".")
        if not (leaf.startswith("_") and leaf.endswith(_DATA)):
            continue
        stem = name.removesuffix("qdata")
        target = f"{head}{dot}{leaf[1 : -len(_DATA)]}"
        parts = {part: facts.infos[stem + part] for part in _PARTS if stem + part in facts.infos}
        weight = _read(info, parts, target, _settings(facts.metadata.get(target)))
        if weight is not None and target not in facts.infos:
            weights[target] = weight
            parts = {part: own for part, own in parts.items() if own.name not in weight.companions}
        packed |= {own.name: _UNREAD for own in parts.values()}
    return Found(weights, packed)


def _read(
    data: TensorInfo, parts: Mapping[str, TensorInfo], name: str, settings: Mapping[str, Any]
) -> ScaledWeight | None:
    """Returns a weight of one number per entry, whose blocks fit its scales."""
    scale, zero_point = parts.get("scale"), parts.get("zero_point")
    content = settings.get("_data")
    blocks = content.get("block_size") if isinstance(content, Mapping) else None
    if settings.get("_type") not in _READ or scale is None or "act_pre_scale" in parts:
        return None
    if not isinstance(blocks, list) or len(blocks) != len(data.shape) or not data.dtype.startswith(("int8", "float8")):
        return None
    if not all(type(block) is int and block > 0 for block in blocks):
        return None
    expected = tuple(size // block for size, block in zip(data.shape, blocks, strict=True))
    is_even = all(size % block == 0 for size, block in zip(data.shape, blocks, strict=True))
    if not is_even or scale.shape != expected or (zero_point is not None and zero_point.shape != expected):
        return None
    zero_name = None if zero_point is None else zero_point.name
    info = TensorInfo(name, data.shape, data.dtype)
    return ScaledWeight(info, scale.name, zero_name, blocks=tuple(blocks), values=data.name)


def _settings(text: str | None) -> Mapping[str, Any]:
    try:
        content = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
