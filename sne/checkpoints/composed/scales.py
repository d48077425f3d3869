"""Weights stored in few bits together with a scale: integers and float8, per tensor, row, column or block."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.composed.bits import powers_of_two
from sne.checkpoints.composed.comfy import comfy_layers
from sne.checkpoints.composed.leftovers import is_activation_scale
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found
from sne.checkpoints.configuration import quantisation_of
from sne.networks import TensorInfo

_NARROW = ("int8", "uint8", "int4", "uint4", "float8")
_EXPONENTS = "float8_e8m0fnu"
_USUAL_BLOCK = 128
_HALVES = (2, 3, 4)
_COMFY = ("float8_", "int8_")
_OTHER = (
    "of few bits with a scale of an unknown layout, not read; save the network with its weights dequantised, or put "
    "the config.json with the size of blocks (quantization_config) beside the checkpoint"
)
_UNSIGNED = "uint8 with a scale and no zero point: packed in an unknown way, not read"


@final
@dataclass(frozen=True)
class ScaledWeight(ComposedWeight):
    """A weight with the values (stored - zero point) * scale / divisor.

    Args:
        info: Name, shape and stored dtype of the weight.
        scale: Name of the tensor that holds the scales.
        zero_point: Name of the tensor that holds the zero points, if the format has any.
        divisor: Constant divisor of the format.
        axis: Axis of the weight along which one-dimensional scales run.
        blocks: Number of entries that share a scale along each axis; None if scales are one-dimensional or broadcast.
        values: Name of the stored values, if it is not the name of the weight.
    """

    scale: str
    zero_point: str | None = None
    divisor: float = 1.0
    axis: int = 0
    blocks: tuple[int, ...] | None = None
    values: str | None = None

    @property
    def companions(self) -> Mapping[str, str]:
        """The scale and, if there are any, the zero point and the values under another name."""
        zero_point = {} if self.zero_point is None else {self.zero_point: "zero point"}
        values = {} if self.values in (None, self.info.name) else {self.values: "values"}
        return {**values, self.scale: "scale", **zero_point}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes float32 values of the shape of the weight."""
        own = stored(self.values or self.info.name)
        values = own.to(torch.float32)
        if self.zero_point is not None:
            values = values - self._spread(stored(self.zero_point).to(torch.float32), values.shape)
        scale = stored(self.scale)
        is_exponent = scale.dtype == torch.uint8 and self.info.dtype.startswith("float8")
        scale = powers_of_two(scale) if is_exponent else scale.to(torch.float32)
        return values * self._spread(scale, values.shape) / self.divisor

    def _spread(self, scale: Tensor, shape: torch.Size) -> Tensor:
        """Expands scales so that they broadcast with values of the given shape."""
        if scale.numel() == 1:
            return scale.reshape(())
        if self.blocks is not None:
            return _repeat(
                scale.reshape([-(-s // b) for s, b in zip(shape, self.blocks, strict=True)]), self.blocks, shape
            )
        if scale.ndim == 1:
            return scale.reshape([-1 if a == self.axis else 1 for a in range(len(shape))])
        return scale.unsqueeze(-1) if scale.ndim == len(shape) - 1 else scale


def find_scaled(facts: Facts) -> Found:
    """Pairs narrow tensors with their scales by name.

    A tensor `x.weight` is paired with `x.weight_scale` (compressed-tensors, TensorRT Model Optimizer),
    `x.weight_scale_inv` (DeepSeek, where it multiplies as well), `x.weight.scale`, `x.scale_weight` (ComfyUI),
    `x.weight_scales`, `x.scales` or `x.scale`. Scales of blocks need the size of blocks: that of the configuration
    (`weight_block_size`, `group_size`), else the power of two that fits, which is the usual 128 as a rule.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The scaled weights, and the narrow tensors whose scales are of an unknown layout. Tensors without a scale are
        not among them.

    Example:
        >>> weight = TensorInfo("fc.weight", (4, 3), "int8")
        >>> scale = TensorInfo("fc.weight_scale", (4,), "float32")
        >>> find_scaled(Facts({info.name: info for info in (weight, scale)})).weights["fc.weight"].companions
        {'fc.weight_scale': 'scale'}
    """
    infos = facts.infos
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    settings = quantisation_of(facts.config)
    comfy = comfy_layers(facts)
    unpaired: list[TensorInfo] = []
    for name, info in infos.items():
        if not info.dtype.startswith(_NARROW) or not info.shape or not info.num_entries or info.dtype == _EXPONENTS:
            continue
        scale = next((infos[n] for n in _scale_names(name) if n in infos and n != name), None)
        if scale is None or scale.dtype.startswith(("int", "bool")):
            if info.dtype.startswith("float8") and len(info.shape) > 1:
                unpaired.append(info)
            continue
        found = _pair(facts, info, scale, settings, comfy.get(name.rpartition(".")[0], {}))
        if isinstance(found, str):
            packed |= {name: found, scale.name: found}
        else:
            weights[name] = found
    used = {companion for weight in weights.values() for companion in weight.companions}
    return Found(weights, packed | _of_unknown_scales(facts, unpaired, used))


def _of_unknown_scales(facts: Facts, unpaired: list[TensorInfo], used: set[str]) -> dict[str, str]:
    """Returns the float8 tensors without a known scale whose module has a tensor that is called a scale."""
    if not unpaired:
        return {}
    modules = {
        name.rpartition(".")[0]
        for name in facts.infos
        if "scal" in name.rpartition(".")[2] and name not in used and not is_activation_scale(name)
    }
    return {info.name: _OTHER for info in unpaired if info.name.rpartition(".")[0] in modules - {""}}


def _scale_names(name: str) -> tuple[str, ...]:
    """Returns the names that the scale of a tensor may have, the surest first."""
    head, dot, leaf = name.rpartition(".")
    prefix = head + dot
    names = (f"{name}_scale", f"{name}_scale_inv", f"{name}.scale", f"{name}_scales", f"{prefix}scale_{leaf}")
    return (*names, f"{prefix}scales", f"{prefix}scale") if leaf == "weight" else names


def _pair(
    facts: Facts, info: TensorInfo, scale: TensorInfo, settings: Mapping[str, Any], comfy: Mapping[str, Any]
) -> ScaledWeight | str:
    """Returns a weight and its scale, or the reason why they cannot be read."""
    prefix = info.name.rpartition(".")[0]
    names = (f"{info.name}_zero_point", f"{info.name}.zero_point", f"{prefix}.zero_point" if prefix else "zero_point")
    zero_point = next((facts.infos[n] for n in names if n in facts.infos), None)
    if info.dtype in ("uint8", "uint4") and zero_point is None:
        return _UNSIGNED
    if scale.dtype == _EXPONENTS and not info.dtype.startswith("float8"):
        return _OTHER
    if scale.dtype == "uint8" and not info.dtype.startswith("float8"):
        return _OTHER
    if zero_point is not None and zero_point.shape != scale.shape and zero_point.num_entries != 1:
        return _OTHER
    if info.dtype in ("int8", "uint8") and any(settings.get(key) in _HALVES for key in ("bits", "w_bit")):
        return _OTHER  # two numbers per byte, or one: both are in use
    if not str(comfy.get("format", "float8_")).startswith(_COMFY):
        return _OTHER
    if type(size := comfy.get("group_size")) is int:
        settings = {"weight_block_size": [size] * len(info.shape)}
    if _has_more_scales(facts, info.name, scale.name):
        return _OTHER
    zero_name = None if zero_point is None else zero_point.name
    shape, sizes = info.shape, scale.shape
    if scale.num_entries == 1 or _broadcasts(shape, sizes):
        return ScaledWeight(info, scale.name, zero_name)
    if len(sizes) == len(shape) + 1 and sizes[-1] == 1:
        sizes = sizes[:-1]  # groups of ComfyUI: [out, groups, 1]
    blocks = _block_sizes(shape, sizes, settings)
    if blocks is None:
        return _OTHER
    return ScaledWeight(info, scale.name, zero_name, blocks=blocks)


def _has_more_scales(facts: Facts, name: str, scale: str) -> bool:
    """Whether a tensor has a second scale, so that the first does not tell its values."""
    head, dot, leaf = name.rpartition(".")
    leaves = ("_scale_2", "_global_scale", "_scale_scale", "_scale_offset")
    names = {f"{name}{end}" for end in leaves} | {
        f"{head}{dot}scale_2",
        f"{head}{dot}{leaf}_scale_inv",
        f"{name}_scale",
    }
    return any(n in facts.infos for n in names if n != scale)


def _broadcasts(shape: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    """Whether scales are one per row, or one per index of some axes and the same along the others."""
    if len(scale) == 1:
        return scale[0] == shape[0]
    if len(scale) == len(shape) - 1:
        return scale == shape[:-1]
    return len(scale) == len(shape) and all(n in (1, size) for n, size in zip(scale, shape, strict=True))


def _block_sizes(shape: tuple[int, ...], scale: tuple[int, ...], settings: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Returns how many entries share a scale along each axis; None if that is not certain."""
    if len(scale) != len(shape) or not all(0 < count <= size for count, size in zip(scale, shape, strict=True)):
        return None
    configured = settings.get("weight_block_size")
    if isinstance(configured, list) and len(configured) <= len(shape) and all(type(b) is int for b in configured):
        wanted = [*[None] * (len(shape) - len(configured)), *configured]
    else:
        group = settings.get("group_size")
        wanted = [*[None] * (len(shape) - 1), group if type(group) is int and group > 0 else None]
    is_square = sum(count != size for count, size in zip(scale, shape, strict=True)) > 1
    blocks = [
        _block_size(size, count, block, usual=_USUAL_BLOCK if is_square else None)
        for size, count, block in zip(shape, scale, wanted, strict=True)
    ]
    known = tuple(block for block in blocks if block is not None)
    return known if len(known) == len(shape) else None


def _block_size(size: int, count: int, configured: int | None, *, usual: int | None) -> int | None:
    """Returns how many of `size` entries share each of `count` scales, the last of which may have fewer."""
    if count == size:
        return 1
    if configured is not None:
        return configured if configured > 0 and -(-size // configured) == count else None
    if usual is not None and -(-size // usual) == count:
        return usual
    if count == 1:
        return size
    fitting = {2**k for k in range(1, 16) if -(-size // 2**k) == count}
    if size % count == 0:
        fitting.add(size // count)
    return fitting.pop() if len(fitting) == 1 else None


def _repeat(scale: Tensor, blocks: tuple[int, ...], shape: torch.Size) -> Tensor:
    """Repeats the scale of each block along every axis."""
    for axis, (block, size) in enumerate(zip(blocks, shape, strict=True)):
        if block > 1:
            scale = scale.repeat_interleave(block, dim=axis).narrow(axis, 0, size)
    return scale
