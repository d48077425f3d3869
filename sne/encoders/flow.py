"""How far uniform inputs have come through a network, and how a matrix takes them one layer on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sne.networks import Layer, Part, Role

NUM_PROBES = 9
ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (torch.relu, torch.tanh)
LARGEST = 1e6

Read = Callable[[Part], Float[Tensor, "batch out in kernel"]]


@dataclass
class Flow:
    """Where the uniform inputs have come to, for each activation: [activation, batch, probe, neuron]."""

    values: Tensor | None = None
    gain: Tensor | None = None
    """Expected square of each neuron for independent inputs of unit variance, as a share: [batch, neuron]."""
    incoming: Tensor | None = None
    """The matrix that feeds these neurons: [batch, neuron, inputs]."""
    bias: Tensor | None = None
    is_linear: bool = True
    """Whether the values have passed their activation, or a norm that is followed by none."""
    stream: Tensor | None = None
    """What the last norm of a transformer read, to which its block may give its result back."""
    is_opened: bool = False
    """Whether a matrix has read that norm, so that the next one may close the block."""
    level: int = -1
    before: "Flow | None" = None
    """What the layers at this level read."""
    norm_level: int = -1
    """Where the last norm stood: another one at its level belongs to a branch."""


def part_of(layer: Layer, role: Role) -> Part | None:
    """The part of a layer that has a role; None where there is none."""
    return next((part for part in layer.parts if part.role is role), None)


def activate(values: Float[Tensor, "act batch probe n"]) -> Float[Tensor, "act batch probe n"]:
    """Each slot through its own activation."""
    return torch.stack([act(v) for act, v in zip(ACTIVATIONS, values, strict=True)])


def _start(batch: int, width: int, like: Tensor) -> Tensor:
    levels = torch.linspace(-1.0, 1.0, NUM_PROBES, dtype=like.dtype)
    return levels[None, None, :, None].expand(len(ACTIVATIONS), batch, NUM_PROBES, width)


def fit(flow: Flow, matrix: Tensor, num_in: int) -> tuple[Tensor, Tensor]:
    """The values and gains that a matrix reads: as they are, repeated after a flatten, or started anew."""
    batch = len(matrix)
    values, gain = flow.values, flow.gain
    if values is not None and gain is not None and not flow.is_linear:
        values = activate(values)
    if values is None or gain is None or num_in % values.shape[-1] or (values.shape[-1] == 1 and num_in > 1):
        return _start(batch, num_in, matrix), matrix.new_full((batch, num_in), 1.0 / num_in)
    times = num_in // values.shape[-1]
    return values.repeat_interleave(times, -1), gain.repeat_interleave(times, -1) / times


def multiply(
    values: Float[Tensor, "act batch probe in"], matrix: Float[Tensor, "batch out in"], bias: Tensor | None
) -> Float[Tensor, "act batch probe out"]:
    """The values through a matrix and a bias, bounded."""
    out = torch.einsum("abpi,boi->abpo", values, matrix)
    if bias is not None:
        out = out + bias[None, :, None]
    return out.clamp(-LARGEST, LARGEST)
