"""The optimisers of zoos: for one network by torch, and for a stack of networks at once."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sne.errors import ZooError

OPTIMISERS = ("adam", "adamw", "sgd", "momentum", "rmsprop")
SCHEDULES = ("constant", "cosine")


def rate_factor(schedule: str, step: int, last_step: int) -> float:
    """Returns the factor of the learning rate in a step: 1 in the first one, and positive in all.

    Source of "cosine": Loshchilov and Hutter, "SGDR", arXiv 1608.03983, equation 5. Differs: no restarts.

    Args:
        schedule: Name of the schedule, one of `SCHEDULES`.
        step: Number of the step, from 1.
        last_step: Number of the last step.

    Raises:
        ZooError: The schedule is not known.
    """
    match schedule:
        case "constant":
            return 1.0
        case "cosine":
            return (1 + math.cos(math.pi * (step - 1) / last_step)) / 2
        case other:
            raise ZooError(f"schedule {other!r} is not known, expected one of {', '.join(SCHEDULES)}")


def make_optimiser(module: nn.Module, hyperparameters: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Returns the optimiser that the hyper-parameters name.

    Weight decay is added to the gradient (L2), except for "adamw".

    Args:
        module: Module whose parameters are changed.
        hyperparameters: Hyper-parameters with `optimizer`, `learning_rate` and `weight_decay`.

    Raises:
        ZooError: The optimiser is not known.
    """
    parameters = list(module.parameters())
    rate, decay = hyperparameters["learning_rate"], hyperparameters["weight_decay"]
    match hyperparameters["optimizer"]:
        case "adam":
            return torch.optim.Adam(parameters, rate, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=True)
        case "sgd":
            return torch.optim.SGD(parameters, rate, weight_decay=decay, fused=True)
        case "momentum":
            return torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=decay, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, rate, alpha=0.9, weight_decay=decay, foreach=True)
        case other:
            raise ZooError(f"optimizer {other!r} is not known, expected one of {', '.join(OPTIMISERS)}")


Stack = Float[Tensor, "networks parameters"]
Column = Float[Tensor, "networks 1"]


class StackedOptimiser:
    """Updates all networks of a stack together, as `make_optimiser` updates each.

    Args:
        name: Name of the optimiser, one of `OPTIMISERS`.
        parameters: Parameters of all networks; they are changed in place.
        learning_rates: Learning rate per network.
        weight_decays: Weight decay per network; added to the gradient, except for "adamw".
    """

    def __init__(self, name: str, parameters: Stack, learning_rates: Column, weight_decays: Column) -> None:
        self._rule = _RULES[name]
        self._parameters = parameters
        self._rates = learning_rates
        self._decays = weight_decays
        self._state = {key: torch.zeros_like(parameters) for key in _STATE[name]}
        self._steps = 0

    @torch.no_grad()
    def step(self, gradients: Stack, factors: Column) -> None:
        """Takes one step.

        Args:
            gradients: Gradients of all networks; those of networks that have ended may hold any values.
            factors: Factors of the learning rates in this step, see `rate_factor`; 0 for networks that have ended.
        """
        self._steps += 1
        gradients = torch.where(factors > 0, gradients, 0.0)
        self._rule(self._parameters, gradients, self._rates * factors, self._decays, self._state, self._steps)


def _sgd(w: Stack, g: Stack, rate: Column, decay: Column, state: Mapping[str, Tensor], step: int) -> None:
    w.sub_(rate * torch.addcmul(g, decay, w))


def _momentum(w: Stack, g: Stack, rate: Column, decay: Column, state: Mapping[str, Tensor], step: int) -> None:
    state["velocity"].mul_(0.9).add_(torch.addcmul(g, decay, w))
    w.sub_(rate * state["velocity"])


def _rmsprop(w: Stack, g: Stack, rate: Column, decay: Column, state: Mapping[str, Tensor], step: int) -> None:
    g = torch.addcmul(g, decay, w)
    state["square"].mul_(0.9).addcmul_(g, g, value=0.1)
    w.sub_(rate * g / (state["square"].sqrt() + 1e-8))


def _adam(w: Stack, g: Stack, rate: Column, decay: Column, state: Mapping[str, Tensor], step: int) -> None:
    _adam_step(w, torch.addcmul(g, decay, w), rate, state, step)


def _adamw(w: Stack, g: Stack, rate: Column, decay: Column, state: Mapping[str, Tensor], step: int) -> None:
    w.mul_(1 - rate * decay)
    _adam_step(w, g, rate, state, step)


def _adam_step(w: Stack, g: Stack, rate: Column, state: Mapping[str, Tensor], step: int) -> None:
    state["mean"].lerp_(g, 0.1)
    state["square"].mul_(0.999).addcmul_(g, g, value=0.001)
    spread = state["square"].sqrt().div_((1 - 0.999**step) ** 0.5).add_(1e-8)
    w.sub_(rate / (1 - 0.9**step) * (state["mean"] / spread))


_RULES: Mapping[str, Callable[..., None]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adamw,
}
_STATE: Mapping[str, tuple[str, ...]] = {
    "sgd": (),
    "momentum": ("velocity",),
    "rmsprop": ("square",),
    "adam": ("mean", "square"),
    "adamw": ("mean", "square"),
}
