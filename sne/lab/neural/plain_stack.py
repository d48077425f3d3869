"""Plain stacks of linear layers or convolutions, as methods that know permutation symmetry by heart expect them."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from sne.errors import CannotTakeError
from sne.lab.neural.layout import FixedLayout, PartShape
from sne.networks import LayerType, Network, Role
from sne.symmetry import KnowsSymmetry

LINEAR = frozenset({LayerType.LINEAR})
LINEAR_AND_CONV = frozenset({LayerType.LINEAR, LayerType.CONV1D, LayerType.CONV2D, LayerType.CONV3D})


@dataclass(frozen=True)
class PlainStack:
    """Layers one after the other, each of one weight and perhaps a bias, each reading all that the one before feeds.

    Args:
        shapes: (out, in, kernel positions) of each weight. A linear layer after a convolution reads each channel at
            several positions; these stand as its kernel positions.
        has_bias: for each layer.
    """

    shapes: tuple[tuple[int, int, int], ...]
    has_bias: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.shapes)

    def split(
        self, values: Float[Tensor, "networks entries"]
    ) -> tuple[list[Float[Tensor, "networks out in kernel"]], list[Float[Tensor, "networks out"]]]:
        """Cuts flat weights into weights and biases of the layers; a bias that is not there is zero."""
        weights, biases, start = [], [], 0
        for shape, has_bias in zip(self.shapes, self.has_bias, strict=True):
            num_out, num_in, kernel = shape
            end = start + num_out * num_in * kernel
            weights.append(values[:, start:end].unflatten(1, shape))
            start = end
            if has_bias:
                biases.append(values[:, start : start + num_out])
                start += num_out
            else:
                biases.append(values.new_zeros(len(values), num_out))
        return weights, biases


def plain_stack(layout: FixedLayout, *, types: frozenset[LayerType], method: str, name: str = "layout") -> PlainStack:
    """Reads a layout as a plain stack.

    Args:
        layout: of the networks.
        types: the layer types that the method takes.
        method: what messages call it.
        name: what messages call the network.

    Raises:
        CannotTakeError: another layer type, layers beside one another or that do not meet, or fewer than two.
    """
    shapes: list[tuple[int, int, int]] = []
    biases: list[bool] = []
    expected = f"{method} takes plain stacks of {' and '.join(sorted(types))} layers; {name}"
    before: PartShape | None = None
    for part in layout.parts:
        if part.type not in types:
            raise CannotTakeError(f"{expected}: layer {part.layer} is {part.type}")
        if part.role is Role.WEIGHT and part.layer == len(shapes) == part.level and not part.label:
            shape = part.shape if before is None else _reading(part, before)
            if shape is None:
                raise CannotTakeError(f"{expected}: {part} does not read the neurons of {before}")
            shapes.append(shape)
            biases.append(False)
            before = part
        elif part.role is Role.BIAS and part.layer == len(shapes) - 1 and not biases[-1] and not part.label:
            biases[-1] = True
        else:
            raise CannotTakeError(f"{expected}: {part}, expected one weight and perhaps a bias at each level")
    if len(shapes) < 2:
        raise CannotTakeError(f"{expected}: {len(shapes)} layers, expected at least 2")
    return PlainStack(tuple(shapes), tuple(biases))


def _reading(part: PartShape, before: PartShape) -> tuple[int, int, int] | None:
    """Shape of a weight that reads the neurons of the one before; None if it cannot."""
    num_out, num_in, kernel = part.shape
    num_before = before.shape[0]
    if num_in == num_before:
        return part.shape
    is_flattened = part.type is LayerType.LINEAR and before.type is not LayerType.LINEAR
    if is_flattened and num_in % num_before == 0:
        return num_out, num_before, kernel * (num_in // num_before)
    return None


def check_not_joined(network: Network, *, method: str) -> None:
    """Raises CannotTakeError if the traced symmetry of a network shows that it is no plain stack.

    Neurons of a plain stack are fed by one layer and read by one. What is not traced is believed.
    """
    source = network.source
    symmetry = source.symmetry if isinstance(source, KnowsSymmetry) else None
    weights = {part.tensor for _, part in network.parts() if part.role is Role.WEIGHT}
    for group in symmetry.groups if symmetry else ():
        places = [(span.tensor, span.dim) for span in group.spans if span.tensor in weights]
        if len(places) > 2:
            raise CannotTakeError(
                f"{method} takes plain stacks; {network.name}: neurons of {group.name} stand in {len(places)} weights, "
                "expected 2, so layers are joined by a skip"
            )
