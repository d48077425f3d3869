"""The inputs that are learned."""

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate


@final
class FreeProbes(nn.Module):
    """Inputs whose every entry is learned by itself.

    Args:
        shape: of one input.
        num_probes: how many.

    Source: Herrmann et al., "Learning Useful Representations of Recurrent Neural Network Weight Matrices",
        arXiv 2403.11998, functionalist probing.
    Differs: probes are the same for all networks and do not depend on answers.
    """

    def __init__(self, shape: Sequence[int], num_probes: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.randn(num_probes, *shape))

    def forward(self) -> Float[Tensor, "probes ..."]:
        """All probes."""
        return self.values


@final
class DeepLinearProbes(nn.Module):
    """Images that a deep linear generator makes of learned codes: neighbouring pixels are learned together.

    The generator begins at a quarter of the side and doubles it twice, a convolution after each time; nothing in it is
    nonlinear. At the start the pixels of all probes have variance 1.

    Args:
        shape: channels, height, width.
        num_probes: how many.
        code_size: entries of a code.
        channels: inside the generator.

    Source: Kahana et al., arXiv 2410.10811, section 4 (a deep linear generator, shared by all probes).
    Differs: the layers and their sizes are ours.
    """

    def __init__(self, shape: Sequence[int], num_probes: int, *, code_size: int = 32, channels: int = 16) -> None:
        super().__init__()
        self.size = (shape[1], shape[2])
        self.start = (channels, math.ceil(shape[1] / 4), math.ceil(shape[2] / 4))
        self.codes = nn.Parameter(torch.randn(num_probes, code_size))
        self.first = nn.Linear(code_size, math.prod(self.start))
        self.middle = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, shape[0], 3, padding=1)
        with torch.no_grad():
            spread = self().std()
            for parameter in (self.last.weight, self.last.bias):
                assert parameter is not None
                parameter /= spread

    def forward(self) -> Float[Tensor, "probes channels height width"]:
        """All probes."""
        images = self.first(self.codes).unflatten(1, self.start)
        images = self.middle(interpolate(images, scale_factor=2))
        return self.last(interpolate(images, size=self.size))
