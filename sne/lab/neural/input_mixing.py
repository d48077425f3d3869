"""Fewer inputs: what spares methods whose cost grows with the square of a network's inputs."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class InputMixing(nn.Module):
    """Learned mixtures of a network's inputs take the inputs' place in its first weight.

    The inputs of a network keep their places under every symmetry, so any linear map of them is allowed.

    Args:
        inputs: of the network.
        mixed: number of mixtures.

    Source: none; a choice of ours.
    Differs: nothing.
    """

    def __init__(self, inputs: int, mixed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, mixed) * inputs**-0.5)

    def forward(self, first: Float[Tensor, "networks out in kernel"]) -> Float[Tensor, "networks out mixed kernel"]:
        """Mixes the second axis of a first weight, at each kernel position alike."""
        return torch.einsum("noik,im->nomk", first, self.weight)
