"""State of the inputs on their way through a network, and the steps that take them through matrices and norms."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.image_maps import flattened
from sne.encoders.measures import MeasuredTensor
from sne.networks import Layer, LayerType, Part, Role

NUM_PROBES = 9
"""Number of uniform inputs; their levels are evenly spaced from -1 to 1."""

RELU, TANH, IMAGES = slice(0, NUM_PROBES), slice(NUM_PROBES, 2 * NUM_PROBES), slice(2 * NUM_PROBES, None)
"""Rows of the values: uniform inputs as if every activation were a rectifier, the same as if it were a tanh, since
weights do not show which one a network has; and images, with rectifiers, where the network reads images."""

LARGEST = 1e6
"""Bound on the magnitude of values."""

NORM_EPSILON = 1e-5
TOKEN_NORMS = frozenset({LayerType.LAYER_NORM, LayerType.RMS_NORM})


@runtime_checkable
class PartReader(Protocol):
    """Reads the parts of several networks of one layout, stacked."""

    def read(self, part: Part) -> Float[Tensor, "batch out in kernel"]:
        """Reads a part whole; not to be changed in place."""
        ...

    def reads_whole(self, part: Part) -> bool:
        """Returns whether a part may be read whole, rather than a sample of it."""
        ...

    def measure(self, part: Part) -> MeasuredTensor:
        """Measures a part."""
        ...


@dataclass
class Flow:
    """State of the uniform inputs and images in front of the next layer, for several networks of one layout.

    Args:
        values: Values of the neurons: [batch, row, neuron], with the rows `RELU`, `TANH` and `IMAGES`; None before the
            first layer and where a layer could not be followed.
        gain: Expected square of each neuron for independent inputs of unit variance, as a share: [batch, neuron].
        incoming: Tensor that feeds these neurons, one row each; None if there is none.
        bias: Bias of these neurons: [batch, neuron].
        needs_activation: Whether the next layer reads the values after an activation that they have not passed yet.
        stream: Values that the last norm of a transformer read; its block may add its result to them.
        is_block_open: Whether a matrix has read that norm, so that the next one may close the block.
        level: Level of the layer that gave the values.
        before: State in front of that layer, which other layers of its level read too.
        norm_level: Level of the last norm; another norm at this level belongs to a branch.
        maps: What the images became, position by position: [batch, image, height, width, neuron]. Their values are its
            means over positions. None where positions are not followed.
        has_begun: Whether a layer has read the inputs of the network, or they are tokens.
    """

    values: Tensor | None = None
    gain: Tensor | None = None
    incoming: MeasuredTensor | None = None
    bias: Tensor | None = None
    needs_activation: bool = False
    stream: Tensor | None = None
    is_block_open: bool = False
    level: int = -1
    before: "Flow | None" = None
    norm_level: int = -1
    maps: Tensor | None = None
    has_begun: bool = False

    @property
    def active_maps(self) -> Tensor | None:
        """The maps that the next layer reads."""
        return self.maps.relu() if self.maps is not None and self.needs_activation else self.maps

    def without_images(self) -> "Flow":
        """Returns the same state without the images."""
        return replace(self, values=None if self.values is None else self.values[:, : IMAGES.start], maps=None)


def part_of(layer: Layer, role: Role) -> Part | None:
    """Returns the part of a layer that has a role; None if there is none."""
    return next((part for part in layer.parts if part.role is role), None)


def activate(values: Float[Tensor, "batch row n"]) -> Float[Tensor, "batch row n"]:
    """Applies to each row its activation."""
    return torch.cat([values[:, RELU].relu(), values[:, TANH].tanh(), values[:, IMAGES].relu()], 1)


def with_images(
    values: Float[Tensor, "batch row n"], images: Float[Tensor, "batch image n"] | None
) -> Float[Tensor, "batch _ n"]:
    """Returns values with those of the images replaced or added; the same values if `images` is None."""
    return values if images is None else torch.cat([values[:, : IMAGES.start], images], 1)


def inputs_of(flow: Flow, batch: int, num_in: int) -> tuple[Float[Tensor, "batch row in"], Float[Tensor, "batch in"]]:
    """Returns the values and gains that a matrix reads.

    They are those of the flow; repeated if the matrix reads several positions of each neuron (a flatten); or fresh
    uniform inputs, without images, if the widths do not match.

    Args:
        flow: State in front of the matrix.
        batch: Number of networks.
        num_in: Number of neurons that the matrix reads.

    Returns:
        The values, and the gains, which add up to one.
    """
    values, gain = flow.values, flow.gain
    if values is None or gain is None or num_in % values.shape[-1] or (values.shape[-1] == 1 and num_in > 1):
        levels = torch.linspace(-1.0, 1.0, NUM_PROBES, dtype=torch.float32).repeat(2)
        shares = torch.full((batch, num_in), 1.0 / num_in, dtype=torch.float32)
        return levels[None, :, None].expand(batch, -1, num_in), shares
    if flow.needs_activation:
        values = activate(values)
    maps, times = flow.active_maps, num_in // values.shape[-1]
    if times == 1:
        return with_images(values, None if maps is None else maps.mean((2, 3))), gain
    images = None if maps is None else flattened(maps, times)
    return with_images(values.repeat_interleave(times, -1), images), gain.repeat_interleave(times, -1) / times


def add_bias(values: Float[Tensor, "batch *rows out"], bias: Float[Tensor, "batch out"] | None) -> Tensor:
    """Adds a bias to values or maps, and bounds the result."""
    if bias is None:
        return values.clamp(-LARGEST, LARGEST)
    return (values + bias.reshape(len(bias), *[1] * (values.ndim - 2), -1)).clamp_(-LARGEST, LARGEST)


def pass_norm(flow: Flow, layer: Layer, reader: PartReader) -> None:
    """Passes the values of a flow through a normalisation layer.

    A batch norm without running statistics normalises each neuron over the probes, as the module does with the probes
    as its batch. Weights do not show the groups of a group norm: it is read as one group.
    """
    parts = {part.role: reader.read(part).flatten(1) for part in layer.parts}
    width = next(iter(parts.values())).shape[1] if parts else 0
    if flow.values is None or flow.values.shape[-1] != width or layer.level == flow.norm_level:
        return
    flow.norm_level = layer.level
    if layer.type in TOKEN_NORMS:
        flow.stream, flow.is_block_open = flow.values, False
        flow.needs_activation = False
    if flow.maps is not None:
        has_statistics = layer.type is LayerType.BATCH_NORM and Role.RUNNING_VAR in parts
        flow.maps = _normalised(flow.maps, layer.type, parts) if has_statistics else None
    flow.values = _normalised(flow.values, layer.type, parts)


def _normalised(
    values: Float[Tensor, "batch *rows n"], layer_type: LayerType, parts: dict[Role, Tensor]
) -> Float[Tensor, "batch *rows n"]:
    """Returns values or maps after a norm with its scale and bias."""

    def spread(part: Float[Tensor, "batch n"]) -> Tensor:
        return part.reshape(len(part), *[1] * (values.ndim - 2), -1)

    if layer_type is LayerType.RMS_NORM:
        values = values / (values.square().mean(-1, keepdim=True) + NORM_EPSILON).sqrt()
    elif layer_type is LayerType.BATCH_NORM and Role.RUNNING_VAR in parts:
        variance = parts[Role.RUNNING_VAR]
        mean = parts.get(Role.RUNNING_MEAN, torch.zeros_like(variance))
        values = (values - spread(mean)) / spread((variance.clamp_min(0) + NORM_EPSILON).sqrt())
    elif layer_type is LayerType.BATCH_NORM:
        values = torch.cat([_standardised(values[:, rows], 1) for rows in (RELU, TANH, IMAGES)], 1)
    else:
        values = _standardised(values, -1)
    if Role.SCALE in parts:
        values = values * spread(parts[Role.SCALE])
    return add_bias(values, parts.get(Role.BIAS))


def _standardised(values: Tensor, axis: int) -> Tensor:
    if not values.shape[axis]:
        return values
    values = values - values.mean(axis, keepdim=True)
    return values / (values.square().mean(axis, keepdim=True) + NORM_EPSILON).sqrt()
