"""The weights of a stack of networks of one shape."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sne.zoo.store.layout import Layout, flatten


class StackedWeights:
    """Parameters and buffers of networks of one shape, stacked on a device.

    Args:
        modules: The networks, on the CPU.
        device: Device of the stack.

    Attributes:
        flat: All parameters, one row per network; an optimiser changes it in place.
        parameters: Views of `flat` by name, which gradients are taken of.
        buffers: Stacked buffers by name.
        layout: Layout of the vector of one network.
    """

    flat: Float[Tensor, "networks parameters"]
    parameters: dict[str, Float[Tensor, "networks ..."]]
    buffers: dict[str, Float[Tensor, "networks ..."]]
    layout: Layout

    def __init__(self, modules: Sequence[nn.Module], device: torch.device | str) -> None:
        shapes = {name: p.shape for name, p in modules[0].named_parameters()}
        rows = [torch.cat([p.detach().reshape(-1) for p in module.parameters()]) for module in modules]
        self.flat = torch.stack(rows).to(device)
        ends = list(_running_sums(shape.numel() for shape in shapes.values()))
        self.parameters = {
            name: self.flat[:, end - shape.numel() : end].unflatten(1, shape or (1,)).requires_grad_()
            for (name, shape), end in zip(shapes.items(), ends, strict=True)
        }
        self.buffers = {
            name: torch.stack([dict(module.named_buffers())[name] for module in modules]).to(device)
            for name in dict(modules[0].named_buffers())
        }
        self.layout = flatten(modules[0].state_dict())[0]
        self._untrained = self.flat.clone(), {name: buffer.clone() for name, buffer in self.buffers.items()}

    def gradients(self, losses: Float[Tensor, " networks"]) -> Float[Tensor, "networks parameters"]:
        """Returns the gradient of the loss of each network, in the order of `flat`."""
        parts = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    @torch.no_grad()
    def start_over(self, rows: Int64[Tensor, " some"]) -> None:
        """Resets some networks to their initial weights."""
        first, buffers = self._untrained
        rows = rows.to(first.device)
        self.flat[rows] = first[rows]
        for name, buffer in self.buffers.items():
            buffer[rows] = buffers[name][rows]

    def vectors(self) -> Float[Tensor, "networks entries"]:
        """Returns the flat vector of each network on the CPU, in the order of `flatten`."""
        stacked = dict(chain(self.parameters.items(), self.buffers.items()))
        parts = [stacked[slot.name].detach().flatten(1).to(torch.float32) for slot in self.layout.slots]
        return torch.cat(parts, dim=1).cpu()


def _running_sums(numbers: Iterable[int]) -> Iterator[int]:
    total = 0
    for number in numbers:
        total += number
        yield total
