"""Plain stacks of linear layers or convolutions, as methods with built-in permutation symmetry expect them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sne.errors import CannotTakeError
from sne.lab.neural.fixed_layout import FixedLayout, PartShape
from sne.networks import LayerType, Network, Role
from sne.symmetry import KnowsSymmetry

LINEAR = frozenset({LayerType.LINEAR})
LINEAR_AND_CONV = frozenset({LayerType.LINEAR, LayerType.CONV1D, LayerType.CONV2D, LayerType.CONV3D})


@dataclass(frozen=True)
class PlainStack:
    """A sequence of layers, each with one weight and optionally a bias, each reading all outputs of the previous one.

    Args:
        shapes: (out, in, kernel positions) of each weight. A linear layer after a convolution reads each channel at
            several positions, which count as its kernel positions.
        has_bias: Whether each layer has a bias.
    """

    shapes: tuple[tuple[int, int, int], ...]
    has_bias: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.shapes)

    def split(
        self, values: Float[Tensor, "networks entries"]
    ) -> tuple[list[Float[Tensor, "networks out in kernel"]], list[Float[Tensor, "networks out"]]]:
        """Splits flat weights into weights and biases by layer; a missing bias is zero."""
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


def plain_layout(networks: Sequence[Network], *, types: frozenset[LayerType], method: str) -> FixedLayout:
    """Returns the layout that networks share, after checking that it is a plain stack.

    Args:
        networks: Networks; at least one.
        types: Layer types that the method supports.
        method: Name of the method, for messages.

    Raises:
        CannotTakeError: If the networks have more than one layout, or are not plain stacks of at least two layers.
    """
    layout = FixedLayout.shared_by(networks, method)
    plain_stack(layout, types=types, method=method, name=networks[0].name)
    for network in networks:
        check_not_joined(network, method=method)
    return layout


def plain_stack(layout: FixedLayout, *, types: frozenset[LayerType], method: str, name: str = "layout") -> PlainStack:
    """Reads a layout as a plain stack.

    Args:
        layout: Layout of the networks.
        types: Layer types that the method supports.
        method: Name of the method, for messages.
        name: Name of the network, for messages.

    Raises:
        CannotTakeError: If there is another layer type, if two layers share a level or do not fit together, or if
            there are fewer than two layers.
    """
    shapes: list[tuple[int, int, int]] = []
    biases: list[bool] = []
    expected = f"{method} takes plain stacks of {' and '.join(sorted(types))} layers; {name}"
    before: PartShape | None = None
    for part in layout.parts:
        if part.type not in types:
            raise CannotTakeError(f"{expected}: layer {part.layer} is {part.type}")
        if part.role is Role.WEIGHT and part.layer == len(shapes) == part.level and not part.label:
            shape = part.shape if before is None else _shape_after(part, before)
            if shape is None:
                raise CannotTakeError(f"{expected}: {part} does not read the outputs of {before}")
            shapes.append(shape)
            biases.append(False)
            before = part
        elif part.role is Role.BIAS and part.layer == len(shapes) - 1 and not biases[-1] and not part.label:
            biases[-1] = True
        else:
            raise CannotTakeError(f"{expected}: {part}, expected one weight and at most one bias at each level")
    if len(shapes) < 2:
        raise CannotTakeError(f"{expected}: number of layers is {len(shapes)}, expected at least 2")
    return PlainStack(tuple(shapes), tuple(biases))


def _shape_after(part: PartShape, before: PartShape) -> tuple[int, int, int] | None:
    """Returns the shape of a weight that reads the outputs of the previous one; None if it does not."""
    num_out, num_in, kernel = part.shape
    num_before = before.shape[0]
    if num_in == num_before:
        return part.shape
    is_flattened = part.type is LayerType.LINEAR and before.type is not LayerType.LINEAR
    if is_flattened and num_in % num_before == 0:
        return num_out, num_before, kernel * (num_in // num_before)
    return None


def check_not_joined(network: Network, *, method: str) -> None:
    """Raises CannotTakeError if the traced symmetry of a network shows that it is not a plain stack.

    In a plain stack, every group of neurons is written by one layer and read by one layer. A network whose symmetry
    was not traced passes.
    """
    source = network.source
    symmetry = source.symmetry if isinstance(source, KnowsSymmetry) else None
    weights = {part.tensor for _, part in network.parts() if part.role is Role.WEIGHT}
    for group in symmetry.groups if symmetry else ():
        axes = [(span.tensor, span.dim) for span in group.spans if span.tensor in weights]
        if len(axes) > 2:
            raise CannotTakeError(
                f"{method} takes plain stacks; {network.name}: neurons of {group.name} occur in {len(axes)} weights, "
                "expected 2; a skip connection joins layers"
            )


class InputMixing(nn.Module):
    """Replaces the inputs of a network, in its first weight, by fewer learned mixtures of them.

    Every symmetry of a network leaves its inputs in place, so any linear map of them is allowed. Mixing makes wide
    networks affordable for methods whose cost grows with the square of the number of inputs.

    Args:
        inputs: Number of inputs of the network.
        mixed: Number of mixtures.

    Source: none; our own.
    Differs: nothing.
    """

    def __init__(self, inputs: int, mixed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, mixed) * inputs**-0.5)

    def forward(self, first: Float[Tensor, "networks out in kernel"]) -> Float[Tensor, "networks out mixed kernel"]:
        """Mixes the second axis of a first weight, in the same way at each kernel position."""
        return torch.einsum("noik,im->nomk", first, self.weight)
