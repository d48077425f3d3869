"""State of uniform inputs on their way through a network, and the steps that take them through matrices and norms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.measures import MeasuredTensor
from sne.networks import Layer, LayerType, Part, Role

NUM_PROBES = 9
"""Number of uniform inputs; their levels are evenly spaced from -1 to 1."""

ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (torch.relu, torch.tanh)
"""Activations under which the inputs are followed; weights do not show which one a network has."""

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
    """State of the uniform inputs in front of the next layer, for several networks of one layout.

    Args:
        values: Values of the neurons, for each activation: [activation, batch, probe, neuron]; None before the first
            layer and where a layer could not be followed.
        gain: Expected square of each neuron for independent inputs of unit variance, as a share: [batch, neuron].
        incoming: Tensor that feeds these neurons, one row each; None if there is none.
        bias: Bias of these neurons: [batch, neuron].
        needs_activation: Whether the next layer reads the values after an activation that they have not passed yet.
        stream: Values that the last norm of a transformer read; its block may add its result to them.
        is_block_open: Whether a matrix has read that norm, so that the next one may close the block.
        level: Level of the layer that gave the values.
        before: State in front of that layer, which other layers of its level read too.
        norm_level: Level of the last norm; another norm at this level belongs to a branch.
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


def part_of(layer: Layer, role: Role) -> Part | None:
    """Returns the part of a layer that has a role; None if there is none."""
    return next((part for part in layer.parts if part.role is role), None)


def activate(values: Float[Tensor, "act batch probe n"]) -> Float[Tensor, "act batch probe n"]:
    """Applies each activation to its own values."""
    return torch.stack([act(v) for act, v in zip(ACTIVATIONS, values, strict=True)])


def inputs_of(
    flow: Flow, batch: int, num_in: int
) -> tuple[Float[Tensor, "act batch probe in"], Float[Tensor, "batch in"]]:
    """Returns the values and gains that a matrix reads.

    They are those of the flow; repeated if the matrix reads several positions of each neuron (a flatten); or fresh
    uniform inputs if the widths do not match.

    Args:
        flow: State in front of the matrix.
        batch: Number of networks.
        num_in: Number of neurons that the matrix reads.

    Returns:
        The values, and the gains, which add up to one.
    """
    values, gain = flow.values, flow.gain
    if values is not None and gain is not None and flow.needs_activation:
        values = activate(values)
    if values is None or gain is None or num_in % values.shape[-1] or (values.shape[-1] == 1 and num_in > 1):
        levels = torch.linspace(-1.0, 1.0, NUM_PROBES)
        fresh = levels[None, None, :, None].expand(len(ACTIVATIONS), batch, NUM_PROBES, num_in)
        return fresh, torch.full((batch, num_in), 1.0 / num_in)
    times = num_in // values.shape[-1]
    if times == 1:
        return values, gain
    return values.repeat_interleave(times, -1), gain.repeat_interleave(times, -1) / times


def add_bias(
    values: Float[Tensor, "act batch probe out"], bias: Float[Tensor, "batch out"] | None
) -> Float[Tensor, "act batch probe out"]:
    """Adds a bias, and bounds the result."""
    if bias is not None:
        values = values + bias[None, :, None]
    return values.clamp(-LARGEST, LARGEST)


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
    values = _normalised(flow.values, layer.type, parts)
    if Role.SCALE in parts:
        values = values * parts[Role.SCALE][None, :, None]
    if Role.BIAS in parts:
        values = values + parts[Role.BIAS][None, :, None]
    flow.values = values.clamp(-LARGEST, LARGEST)


def _normalised(
    values: Float[Tensor, "act batch probe n"], layer_type: LayerType, parts: dict[Role, Tensor]
) -> Float[Tensor, "act batch probe n"]:
    """Returns the values after a norm, without its scale and bias."""
    if layer_type is LayerType.RMS_NORM:
        return values / (values.square().mean(-1, keepdim=True) + NORM_EPSILON).sqrt()
    if layer_type is LayerType.BATCH_NORM and Role.RUNNING_VAR in parts:
        variance = parts[Role.RUNNING_VAR]
        mean = parts.get(Role.RUNNING_MEAN, torch.zeros_like(variance))
        return (values - mean[None, :, None]) / (variance.clamp_min(0) + NORM_EPSILON).sqrt()[None, :, None]
    axis = -2 if layer_type is LayerType.BATCH_NORM else -1
    values = values - values.mean(axis, keepdim=True)
    return values / (values.square().mean(axis, keepdim=True) + NORM_EPSILON).sqrt()
