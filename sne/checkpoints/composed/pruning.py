"""Pruned weights: stored as the weight before pruning and a mask."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found, is_float
from sne.networks import TensorInfo


@final
@dataclass(frozen=True)
class PrunedWeight(ComposedWeight):
    """A weight with the values original * mask.

    Args:
        info: Name, shape and stored dtype of the weight.

    Source: `torch.nn.utils.prune`, `BasePruningMethod.apply_mask`.
    Differs: nothing.
    """

    @property
    def companions(self) -> Mapping[str, str]:
        """The values before pruning and the mask."""
        return {f"{self.info.name}_orig": "values before pruning", f"{self.info.name}_mask": "pruning mask"}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Multiplies the values by the mask, in the dtype of the values."""
        original = stored(f"{self.info.name}_orig")
        return original * stored(f"{self.info.name}_mask").to(original.dtype)


def find_pruned(facts: Facts) -> Found:
    """Finds weights and biases under `torch.nn.utils.prune`, which stores `x.weight_orig` and `x.weight_mask`.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The weights, under the names that they have without pruning.

    Example:
        >>> original = TensorInfo("fc.weight_orig", (4, 3), "float32")
        >>> mask = TensorInfo("fc.weight_mask", (4, 3), "float32")
        >>> list(find_pruned(Facts({info.name: info for info in (original, mask)})).weights)
        ['fc.weight']
    """
    weights: dict[str, ComposedWeight] = {}
    for mask, info in facts.infos.items():
        name = mask.removesuffix("_mask")
        original = facts.infos.get(f"{name}_orig")
        if name == mask or original is None or name in facts.infos:
            continue
        if original.shape == info.shape and is_float(original):
            weights[name] = PrunedWeight(TensorInfo(name, original.shape, original.dtype))
    return Found(weights)
