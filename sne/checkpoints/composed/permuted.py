"""Weights whose axes are stored in another order than torch's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from sne.checkpoints.composed.weight import ComposedWeight


@final
@dataclass(frozen=True)
class PermutedWeight(ComposedWeight):
    """A weight whose values are those of one stored tensor with its axes in another order.

    Args:
        info: Name, shape in torch's order of axes, and stored dtype of the weight.
        stored_name: Name of the stored tensor; the name of the weight, if the weight replaces the stored tensor.
        axes: Stored axis of each axis of the weight: (0, 3, 1, 2) turns [out, height, width, in] into
            [out, in, height, width].

    Example:
        >>> import torch
        >>> from sne.networks import TensorInfo
        >>> weight = PermutedWeight(TensorInfo("conv.weight", (16, 3, 5, 5), "float32"), "conv.weight", (0, 3, 1, 2))
        >>> weight.compose({"conv.weight": torch.ones(16, 5, 5, 3)}.__getitem__).shape
        torch.Size([16, 3, 5, 5])
    """

    stored_name: str
    axes: tuple[int, ...]

    @property
    def companions(self) -> Mapping[str, str]:
        """The stored tensor, if it has another name."""
        return {} if self.stored_name == self.info.name else {self.stored_name: "values in another order of axes"}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Returns the stored values with their axes in the order of the weight."""
        return stored(self.stored_name).permute(self.axes)
