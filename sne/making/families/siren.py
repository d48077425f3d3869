"""Networks of sine activations: implicit neural representations of one signal."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Siren(nn.Module):
    """Linear layers with sin(w0 x) between them.

    Source: Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
    arXiv 2006.09661, section 3.2.

    Args:
        inputs: Number of coordinates per point.
        hidden: Width of the hidden layers.
        depth: Number of hidden layers.
        outputs: Number of values per point.
        w0: Frequency of all activations.
    """

    def __init__(self, inputs: int, hidden: int, depth: int, outputs: int, w0: float) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * depth, outputs]
        self.layers = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(len(widths) - 1))
        self.w0 = w0

    def forward(self, x: Float[Tensor, "*points inputs"]) -> Float[Tensor, "*points outputs"]:
        """Returns the values at coordinates."""
        for layer in list(self.layers)[:-1]:
            x = torch.sin(self.w0 * layer(x))
        return self.layers[-1](x)


def initialise_siren(module: nn.Module, generator: torch.Generator) -> None:
    """Draws all weights in place: first layer U(-1/n, 1/n), others U(-sqrt(6/n)/w0, sqrt(6/n)/w0), biases zero.

    Source: Sitzmann et al., section 3.2. Differs: biases start at zero.

    Args:
        module: A `Siren`.
        generator: Generator of the weights.
    """
    assert isinstance(module, Siren)
    for number, layer in enumerate(module.layers):
        assert isinstance(layer, nn.Linear)
        bound = 1 / layer.in_features if number == 0 else math.sqrt(6 / layer.in_features) / module.w0
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        nn.init.zeros_(layer.bias)
