"""Weight normalisation: weights stored as a direction and a length."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sne.checkpoints.composed.parametrised import parametrised_weights
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found, is_float
from sne.networks import TensorInfo

_UNFIT = "a weight norm whose length does not fit, not read"
_OTHERS = ("q", "k", "r")  # queries, keys and receptances beside values and gates: time_mix_v and time_mix_g of RWKV


@final
@dataclass(frozen=True)
class NormalisedWeight(ComposedWeight):
    """A weight with the values length * direction / norm(direction).

    The norm runs over the axes along which the length has one entry, so that the axis that the network was normalised
    along does not have to be known.

    Args:
        info: Name, shape and stored dtype of the weight.
        direction: Name of the tensor that holds the direction, with the shape of the weight.
        length: Name of the tensor that holds the length, one entry per index of the normalised axis, or one in all.

    Source: Salimans & Kingma, arXiv 1602.07868, equation 2.
    Differs: nothing.
    """

    direction: str
    length: str

    @property
    def companions(self) -> Mapping[str, str]:
        """The direction and the length."""
        return {self.direction: "direction", self.length: "length"}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes the values in float32, or in float64 if they are stored so."""
        direction, length = stored(self.direction), stored(self.length)
        dtype = torch.promote_types(direction.dtype, torch.float32)
        direction, length = direction.to(dtype), length.to(dtype)
        shape = length.shape if length.ndim == direction.ndim else (length.numel(),) + (1,) * (direction.ndim - 1)
        axes = [axis for axis, size in enumerate(shape) if size == 1]
        norm = direction.square().sum(axes, keepdim=True).sqrt() if axes else direction.abs()
        return direction * (length.reshape(shape) / norm)


def find_normalised(facts: Facts) -> Found:
    """Finds weights under `torch.nn.utils.weight_norm` and `torch.nn.utils.parametrizations.weight_norm`.

    The former stores `x.weight_g` and `x.weight_v`, the latter `x.parametrizations.weight.original0` and `original1`.
    The weight may have any name. If another parametrisation with a state of its own follows, the weight is left to
    `find_parametrised`.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The weights, under the names that they have without normalisation, and the tensors of those that cannot be
        formed.

    Example:
        >>> length = TensorInfo("fc.weight_g", (4, 1), "float32")
        >>> direction = TensorInfo("fc.weight_v", (4, 3), "float32")
        >>> find_normalised(Facts({info.name: info for info in (length, direction)})).weights["fc.weight"].info
        TensorInfo(name='fc.weight', shape=(4, 3), dtype='float32')
    """
    infos = facts.infos
    pairs = {
        name: (f"{path}original1", f"{path}original0")
        for name, (path, leaves) in parametrised_weights(infos).items()
        if leaves == {"original0", "original1"}
    }
    pairs |= {
        name[:-2]: (name, f"{name[:-2]}_g")
        for name in infos
        if name.endswith("_v") and not any(f"{name[:-2]}_{other}" in infos for other in _OTHERS)
    }
    found: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    for name, (direction, length) in pairs.items():
        info = infos[direction]
        if name in infos or length not in infos or not is_float(info):
            continue
        if _length_fits(info.shape, infos[length].shape):
            found[name] = NormalisedWeight(TensorInfo(name, info.shape, info.dtype), direction, length)
        elif len(info.shape) > 1 and "weight" in name.rpartition(".")[2]:
            packed |= {direction: _UNFIT, length: _UNFIT}
    return Found(found, packed)


def _length_fits(shape: tuple[int, ...], length: tuple[int, ...]) -> bool:
    """Whether a length is a scalar, or has one entry per index of one axis and size 1 along the others.

    A length with a single axis belongs to the first axis of the weight, if no other axis has its size.
    """
    if len(shape) < 2:
        return False
    if not length:
        return True
    if len(length) == 1:
        return length[0] == shape[0] and (length[0] == 1 or length[0] not in shape[1:])
    sizes = [(size, wanted) for size, wanted in zip(length, shape, strict=False) if size != 1]
    return len(length) == len(shape) and len(sizes) <= 1 and all(size == wanted for size, wanted in sizes)
