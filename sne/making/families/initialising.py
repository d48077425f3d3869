"""Initial weights of a network, by the name of the initialiser."""

import math

import torch
from torch import Tensor, nn

from sne.errors import ZooError

INITIALISERS = (
    "glorot_normal", "he_normal", "orthogonal", "normal", "truncated_normal",
    "uniform", "he_uniform",
)  # fmt: skip


def initialise(module: nn.Module, kind: str, std: float, generator: torch.Generator) -> None:
    """Draws all weights in place: matrices and kernels by the initialiser; biases become zero, norms one.

    Args:
        module: The network; its parameters are visited in their own order.
        kind: Name of the initialiser, one of INITIALISERS.
        std: Standard deviation for "normal", "truncated_normal" and "uniform"; others have their own.
        generator: Generator of the weights.
    """
    for name, parameter in module.named_parameters():
        if parameter.ndim >= 2:
            _draw(parameter, kind, std, generator)
        elif "bias" in name:
            nn.init.zeros_(parameter)
        else:
            nn.init.ones_(parameter)


def _draw(weight: Tensor, kind: str, std: float, generator: torch.Generator) -> None:
    match kind:
        case "glorot_normal":
            nn.init.xavier_normal_(weight, generator=generator)
        case "he_normal":
            nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
        case "he_uniform":
            nn.init.kaiming_uniform_(weight, nonlinearity="relu", generator=generator)
        case "orthogonal":
            nn.init.orthogonal_(weight, generator=generator)
        case "normal":
            nn.init.normal_(weight, std=std, generator=generator)
        case "truncated_normal":
            nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
        case "uniform":
            bound = math.sqrt(3) * std
            nn.init.uniform_(weight, -bound, bound, generator=generator)
        case _:
            raise ZooError(f"init {kind!r} is not known, expected one of {', '.join(INITIALISERS)}")
