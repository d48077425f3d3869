"""What a reader knows of a tensor beyond its name and shape."""

from dataclasses import dataclass

from sne.networks.types import LayerType


@dataclass(frozen=True)
class Hint:
    """Knowledge that names and shapes alone do not give.

    A hint is filed under the path of a module ("encoder.conv1") or under the name of a tensor
    ("encoder.conv1.weight"). `type` and `in_first` speak of modules, the others of tensors.

    Args:
        type: the layer's type, from the class of its module.
        in_first: the weight is stored [in, out] rather than [out, in].
        tied: a mark shared by all tensors that are one tensor; only the first of them is read.
        unused: why this tensor is not a weight of its own ("scale of x.weight, applied as that is loaded").
        is_scaled: integers that become weights as they are loaded.
    """

    type: LayerType | None = None
    in_first: bool | None = None
    tied: str | None = None
    unused: str | None = None
    is_scaled: bool = False
