"""Tensors stored in few bits beside their scales: which belong together, and their values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sne.networks import TensorInfo

_NARROW = ("int8", "uint8", "int4", "float8")
_BNB_RANGE = 127.0


@dataclass(frozen=True)
class Scaling:
    """How the values of a tensor follow from what is stored: (stored - zero_point) * scale / divisor.

    Args:
        scale: name of the tensor that holds the scales.
        zero_point: name of the tensor that holds the zero points, if any.
        divisor: constant divisor of the format.
        axis: axis along which one-dimensional scales lie.
    """

    scale: str
    zero_point: str | None = None
    divisor: float = 1.0
    axis: int = 0


def find_scalings(infos: Mapping[str, TensorInfo]) -> dict[str, Scaling]:
    """Pairs narrow tensors with their scales by the names in use.

    `x.weight` goes with `x.weight_scale` (compressed-tensors), `x.weight_scale_inv` (block-wise float8),
    `x.weight.scale`, `x.scale`, or `x.SCB` (bitsandbytes int8, rows over 127).

    Args:
        infos: every stored tensor.

    Returns:
        Scalings by the name of the narrow tensor. Tensors without a scale are not in it.
    """
    found: dict[str, Scaling] = {}
    for name, info in infos.items():
        if not info.dtype.startswith(_NARROW) or not info.shape:
            continue
        stem = name.rpartition(".")[0]
        prefix = f"{stem}." if stem else ""
        if f"{prefix}SCB" in infos and info.dtype == "int8":
            found[name] = Scaling(f"{prefix}SCB", divisor=_BNB_RANGE)
            continue
        for candidate in (f"{name}_scale", f"{name}_scale_inv", f"{name}.scale", f"{prefix}scale"):
            if candidate in infos and candidate != name and fits(info.shape, infos[candidate].shape):
                zeros = (f"{name}_zero_point", f"{name}.zero_point", f"{prefix}zero_point")
                zero = next((z for z in zeros if z in infos), None)
                found[name] = Scaling(candidate, zero)
                break
    return found


def fits(shape: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    """Whether scales of one shape can belong to values of another: one, one a row, or one a block."""
    if all(size == 1 for size in scale):
        return True
    if len(scale) == 1:
        return scale[0] == shape[0]
    if len(scale) != len(shape):
        return False
    return all(0 < blocks <= size for size, blocks in zip(shape, scale, strict=True))


def apply_scaling(values: Tensor, scaling: Scaling, stored: Callable[[str], Tensor]) -> Tensor:
    """The float values of a narrow tensor.

    Args:
        values: the stored values.
        scaling: how to read them.
        stored: loads a companion tensor by name.

    Returns:
        float32 values of the same shape.
    """
    result = values.to(torch.float32)
    if scaling.zero_point is not None:
        result = result - _spread(stored(scaling.zero_point).to(torch.float32), result.shape, scaling.axis)
    scale = _spread(stored(scaling.scale).to(torch.float32), result.shape, scaling.axis)
    return result * scale / scaling.divisor


def _spread(scale: Tensor, shape: torch.Size, axis: int) -> Tensor:
    if scale.numel() == 1:
        return scale.reshape(())
    if scale.ndim == 1:
        return scale.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    for a, (size, blocks) in enumerate(zip(shape, scale.shape, strict=True)):
        if blocks not in (1, size):
            scale = scale.repeat_interleave(-(-size // blocks), dim=a).narrow(a, 0, size)
    return scale
