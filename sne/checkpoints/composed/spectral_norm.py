"""Spectral normalisation: weights stored before they are divided by an estimate of their largest singular value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Tensor

from sne.checkpoints.composed.parametrised import parametrised_weights
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found, is_float
from sne.errors import CheckpointError
from sne.networks import TensorInfo

_UNFIT = "under a spectral norm whose vectors do not fit it, not read"
_CLEAR = 2.0


@final
@dataclass(frozen=True)
class SpectralWeight(ComposedWeight):
    """A weight with the values original / (u . W v), where W is the original as a matrix.

    Args:
        info: Name, shape and stored dtype of the weight.
        original: Name of the tensor that holds the values before the division.
        left: Name of the left singular vector u.
        right: Name of the right singular vector v.

    Source: Miyato et al., arXiv 1802.05957, section 2.1, as `torch.nn.utils.spectral_norm` computes it in evaluation.
    Differs: nothing.
    """

    original: str
    left: str
    right: str

    @property
    def companions(self) -> Mapping[str, str]:
        """The values before the division and the singular vectors."""
        return {
            self.original: "values before normalisation",
            self.left: "singular vector",
            self.right: "singular vector",
        }

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes the values in float32, or in float64 if they are stored so.

        Raises:
            CheckpointError: If sizes and values leave open which axis counts the rows of the matrix.
        """
        original, left, right = stored(self.original), stored(self.left), stored(self.right)
        dtype = torch.promote_types(original.dtype, torch.float32)
        original, left, right = original.to(dtype), left.to(dtype).flatten(), right.to(dtype).flatten()
        # The axis is 1 for transposed convolutions and 0 otherwise. If both sizes fit, the vectors tell: with the
        # right matrix the product is about its largest singular value, with a wrong one far below.
        products = [
            left @ original.movedim(axis, 0).flatten(1) @ right
            for axis in _axes(tuple(original.shape), left.numel(), right.numel())
        ]
        ordered = sorted(products, key=lambda product: -abs(float(product)))
        if len(ordered) > 1 and abs(float(ordered[0])) < _CLEAR * abs(float(ordered[1])):
            raise CheckpointError(
                self.original, "spectral norm along the first or the second axis: neither sizes nor values tell which"
            )
        return original / ordered[0]


@final
@dataclass(frozen=True)
class IteratedWeight(ComposedWeight):
    """A weight with the values original / |W v| after one step of the power method, v = W^T u / |W^T u|.

    Args:
        info: Name, shape and stored dtype of the weight.
        original: Name of the tensor that holds the values before the division; that of the weight itself in BigGAN.
        left: Name of the left singular vector u before the step.
        others: Names of further stored tensors that the step replaces.

    Source: `SN` of BigGAN-PyTorch (`x.u0`, `x.sv0`), and implementations before torch 0.4 (`x.weight_bar`), which
    take a step in each evaluation. The network that is loaded and evaluated once has these values.
    Differs: nothing.
    """

    original: str
    left: str
    others: tuple[str, ...] = ()

    @property
    def companions(self) -> Mapping[str, str]:
        """The values before the division, if they have another name, and the state of the power method."""
        own = {} if self.original == self.info.name else {self.original: "values before normalisation"}
        return {**own, self.left: "singular vector", **dict.fromkeys(self.others, "state of the spectral norm")}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes the values in float32, or in float64 if they are stored so."""
        original, left = stored(self.original), stored(self.left)
        dtype = torch.promote_types(original.dtype, torch.float32)
        original, left = original.to(dtype), left.to(dtype).flatten()
        matrix = original.flatten(1)
        right = torch.nn.functional.normalize(left @ matrix, dim=0)
        return original / (matrix @ right).norm()


def find_spectral(facts: Facts) -> Found:
    """Finds weights under `torch.nn.utils.spectral_norm` and `torch.nn.utils.parametrizations.spectral_norm`.

    The former stores `x.weight_orig`, `x.weight_u` and `x.weight_v`, the latter `x.parametrizations.weight.original`,
    `x.parametrizations.weight.0._u` and `0._v`. BigGAN stores `x.weight`, `x.u0` and `x.sv0`, implementations before
    torch 0.4 `x.weight_bar`, `x.weight_u` and `x.weight_v`.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The weights, under the names that they have without normalisation, and the tensors of those that cannot be
        formed.

    Example:
        >>> shapes = {"fc.weight_orig": (4, 3), "fc.weight_u": (4,), "fc.weight_v": (3,)}
        >>> infos = {name: TensorInfo(name, shape, "float32") for name, shape in shapes.items()}
        >>> list(find_spectral(Facts(infos)).weights)
        ['fc.weight']
    """
    infos = facts.infos
    states = {
        name: (f"{path}original", f"{path}0._u", f"{path}0._v")
        for name, (path, leaves) in parametrised_weights(infos).items()
        if leaves == {"original", "0._u", "0._v"}
    }
    states |= {name[:-2]: (f"{name[:-2]}_orig", name, f"{name[:-2]}_v") for name in infos if name.endswith("_u")}
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    for name, (original, left, right) in states.items():
        if original not in infos or name in infos or not is_float(infos[original]):
            continue
        info, vector = infos[original], infos.get(right)
        if vector is not None and _axes(info.shape, infos[left].num_entries, vector.num_entries):
            weights[name] = SpectralWeight(TensorInfo(name, info.shape, info.dtype), original, left, right)
        else:
            packed |= {part: _UNFIT for part in (original, left, right) if part in infos}
    for left in infos:
        if left.endswith(("u0", "_u")) and (weight := _iterated(infos, left)) is not None:
            weights[weight.info.name] = weight
    return Found(weights, packed)


def _iterated(infos: Mapping[str, TensorInfo], left: str) -> IteratedWeight | None:
    """Returns the weight that a singular vector belongs to in a network that takes a step in each evaluation."""
    prefix, dot, leaf = left.rpartition(".")
    prefix += dot
    if leaf == "u0" and f"{prefix}sv0" in infos and f"{prefix}u1" not in infos:
        name = original = f"{prefix}weight"
        others = (f"{prefix}sv0",)
    elif leaf.endswith("_u") and f"{left[:-2]}_bar" in infos and left[:-2] not in infos:
        name, original = left[:-2], f"{left[:-2]}_bar"
        others = (f"{name}_v",) if f"{name}_v" in infos else ()
    else:
        return None
    info = infos.get(original)
    if info is None or not is_float(info) or len(info.shape) < 2 or infos[left].num_entries != info.shape[0]:
        return None
    return IteratedWeight(TensorInfo(name, info.shape, info.dtype), original, left, others)


def _axes(shape: tuple[int, ...], left: int, right: int) -> list[int]:
    """Returns the axes that may count the rows of the matrix. Matrices are not transposed."""
    candidates = range(0 if len(shape) < 2 else 2 if len(shape) > 2 else 1)
    return [a for a in candidates if (shape[a], prod(shape)) == (left, left * right)]
