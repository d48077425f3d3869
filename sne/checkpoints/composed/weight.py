"""The contract of composed weights: weights whose values follow from stored tensors by a formula."""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from sne.networks import Hint, TensorInfo


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
            stored: Function that loads a stored tensor by name.

        Returns:
            The values that the network computes with, in a floating dtype and the shape of `info`.
        """


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
            reason = f"{role} of {name}, applied when that tensor is loaded"
            result[companion] = replace(result.get(companion, Hint()), unused=reason)
    return result
