"""Weights stored in few bits together with a scale: integers and float8, per tensor, row, column or block."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found

_NARROW = ("int8", "uint8", "int4", "float8")
_BITSANDBYTES_RANGE = 127.0


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
    """

    scale: str
    zero_point: str | None = None
    divisor: float = 1.0
    axis: int = 0

    @property
    def companions(self) -> Mapping[str, str]:
        """The scale and, if there is one, the zero point."""
        zero_point = {} if self.zero_point is None else {self.zero_point: "zero point"}
        return {self.scale: "scale", **zero_point}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes float32 values of the shape of the weight."""
        values = stored(self.info.name).to(torch.float32)
        if self.zero_point is not None:
            values = values - _spread(stored(self.zero_point).to(torch.float32), values.shape, self.axis)
        scale = _spread(stored(self.scale).to(torch.float32), values.shape, self.axis)
        return values * scale / self.divisor


def find_scaled(facts: Facts) -> Found:
    """Pairs narrow tensors with their scales by name.

    `x.weight` is paired with `x.weight_scale` (compressed-tensors), `x.weight_scale_inv` (float8 in blocks),
    `x.weight.scale`, `x.scale`, or `x.SCB` (int8 of bitsandbytes, with rows divided by 127).

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The scaled weights. Tensors without a scale are not among them.

    Example:
        >>> from sne.networks import TensorInfo
        >>> weight = TensorInfo("fc.weight", (4, 3), "int8")
        >>> scale = TensorInfo("fc.weight_scale", (4,), "float32")
        >>> find_scaled(Facts({info.name: info for info in (weight, scale)})).weights["fc.weight"].companions
        {'fc.weight_scale': 'scale'}
    """
    infos = facts.infos
    found: dict[str, ComposedWeight] = {}
    for name, info in infos.items():
        if not info.dtype.startswith(_NARROW) or not info.shape:
            continue
        stem = name.rpartition(".")[0]
        prefix = f"{stem}." if stem else ""
        if f"{prefix}SCB" in infos and info.dtype == "int8":
            found[name] = ScaledWeight(info, f"{prefix}SCB", divisor=_BITSANDBYTES_RANGE)
            continue
        for candidate in (f"{name}_scale", f"{name}_scale_inv", f"{name}.scale", f"{prefix}scale"):
            if candidate in infos and candidate != name and _scale_fits(info.shape, infos[candidate].shape):
                zero_points = (f"{name}_zero_point", f"{name}.zero_point", f"{prefix}zero_point")
                found[name] = ScaledWeight(info, candidate, next((z for z in zero_points if z in infos), None))
                break
    return Found(found)


def _scale_fits(shape: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    """Whether scales of one shape can belong to values of another: one, one per row, or one per block."""
    if all(size == 1 for size in scale):
        return True
    if len(scale) == 1:
        return scale[0] == shape[0]
    if len(scale) != len(shape):
        return False
    return all(0 < blocks <= size for size, blocks in zip(shape, scale, strict=True))


def _spread(scale: Tensor, shape: torch.Size, axis: int) -> Tensor:
    """Expands scales so that they broadcast with values of the given shape."""
    if scale.numel() == 1:
        return scale.reshape(())
    if scale.ndim == 1:
        return scale.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    for a, (size, blocks) in enumerate(zip(shape, scale.shape, strict=True)):
        if blocks not in (1, size):
            scale = scale.repeat_interleave(-(-size // blocks), dim=a).narrow(a, 0, size)
    return scale
