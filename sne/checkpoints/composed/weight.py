"""The contract of composed weights: weights whose values follow from stored tensors by a formula."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sne.networks import Hint, TensorInfo

_FLOATS = ("float64", "float32", "float16", "bfloat16")
_MAX_SMALL = 4096
_MAX_AXES = 8
_MAX_SIZE = 2**40


@dataclass(frozen=True)
class ComposedWeight(abc.ABC):
    """A weight that is not stored as it is used, for example as integers and a scale.

    Args:
        info: Name and shape of the weight as the network uses it, and the dtype of its main stored tensor. The name
            may be that of a stored tensor, which it then replaces, or a new one.
    """

    info: TensorInfo

    @property
    @abc.abstractmethod
    def companions(self) -> Mapping[str, str]:
        """Role of each further stored tensor, such as "scale", by name. These tensors are no weights of their own."""

    @abc.abstractmethod
    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes the values of the weight.

        Args:
            stored: Function that loads a tensor by name: a stored one, or a weight under a pruning mask.

        Returns:
            The values that the network computes with, in a floating dtype and the shape of `info`.
        """


@dataclass(frozen=True)
class Facts:
    """What is known about a checkpoint before its values are read.

    Args:
        infos: Every stored tensor, by name.
        config: Content of the `config.json` beside the checkpoint, empty if there is none.
        metadata: What the file says about itself in pairs of strings, such as the metadata of a safetensors file.
        read: Function that reads a stored tensor by name; None if values cannot be read. See `read_small`.
    """

    infos: Mapping[str, TensorInfo]
    config: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    read: Callable[[str], Tensor] | None = None

    def read_small(self, name: str) -> Tensor | None:
        """Reads a tensor that describes others, such as a stored shape.

        Args:
            name: Name of a stored tensor.

        Returns:
            The values, or None if there is no such tensor, if it has more than 4,096 entries, or if values cannot be
            read.
        """
        info = self.infos.get(name)
        if info is None or self.read is None or info.num_entries > _MAX_SMALL:
            return None
        return self.read(name)

    def read_integers(self, name: str) -> tuple[int, ...] | None:
        """Reads a small tensor of whole numbers as a flat tuple; None under the conditions of `read_small`."""
        values = self.read_small(name)
        if values is None or values.dtype.is_floating_point or values.is_complex():
            return None
        return tuple(int(value) for value in values.flatten().tolist())

    def read_text(self, name: str) -> str | None:
        """Reads a small tensor of bytes as text; None under the conditions of `read_small`."""
        values = self.read_small(name)
        if values is None or values.dtype != torch.uint8:
            return None
        return bytes(values.flatten().tolist()).decode(errors="replace")


@dataclass(frozen=True)
class Found:
    """What a composition finds among stored tensors.

    Args:
        weights: The composed weights, by name.
        packed: Reason why it is not read, by name, for each stored tensor that is recognised and cannot be read.
    """

    weights: Mapping[str, ComposedWeight] = field(default_factory=dict)
    packed: Mapping[str, str] = field(default_factory=dict)


def is_float(info: TensorInfo) -> bool:
    """Whether a tensor is stored as floats of 16 bits or more, in which torch computes.

    Example:
        >>> is_float(TensorInfo("fc.weight", (2, 3), "bfloat16")), is_float(TensorInfo("ids", (3,), "int64"))
        (True, False)
    """
    return info.dtype in _FLOATS


def is_shape(sizes: Sequence[Any]) -> bool:
    """Whether values that a file gives as a shape can be one: 1 to 8 positive whole numbers."""
    return 0 < len(sizes) <= _MAX_AXES and all(type(size) is int and 0 < size < _MAX_SIZE for size in sizes)


def mark_packed(hints: Mapping[str, Hint], packed: Mapping[str, str]) -> dict[str, Hint]:
    """Adds hints for tensors that are recognised as packed and cannot be read.

    Args:
        hints: Hints so far, by the name of a tensor or module.
        packed: Reason why it is not read, by the name of the tensor.
    """
    result = dict(hints)
    for name, reason in packed.items():
        result[name] = replace(result.get(name, Hint()), unused=reason)
    return result


def mark_composed(hints: Mapping[str, Hint], weights: Mapping[str, ComposedWeight]) -> dict[str, Hint]:
    """Adds hints for composed weights and their companions.

    Args:
        hints: Hints so far, by the name of a tensor or module.
        weights: Composed weights, by name.

    Returns:
        Hints that mark integers as usable weights, and each companion as unused with the reason.
    """
    result = dict(hints)
    for name, weight in weights.items():
        if weight.info.dtype.startswith(("int", "uint")):
            result[name] = replace(result.get(name, Hint()), is_scaled=True)
        for companion, role in weight.companions.items():
            reason = f"{role} of a weight, applied when that is loaded"
            result[companion] = replace(result.get(companion, Hint()), unused=reason)
    return result
