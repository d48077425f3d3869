"""The optimisers of `sne.making.families.optimising`, for a stack of networks with a learning rate and a decay each."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

Stack = Float[Tensor, "networks parameters"]
Column = Float[Tensor, "networks 1"]


class StackedOptimiser:
    """Updates all networks of a stack in one go, as torch.optim updates each.

    Args:
        name: of `OPTIMISERS`.
        parameters: of all networks, changed in place.
        learning_rates: of each network.
        weight_decays: of each network; added to the gradient, but for "adamw".
    """

    def __init__(self, name: str, parameters: Stack, learning_rates: Column, weight_decays: Column) -> None:
        self._rule = _RULES[name]
        self._parameters = parameters
        self._rates = learning_rates
        self._decays = weight_decays
        self._state = {key: torch.zeros_like(parameters) for key in _STATE[name]}
        self._steps = 0

    @torch.no_grad()
    def step(self, gradients: Stack, moving: Column) -> None:
        """One step.

        Args:
            gradients: of all networks; those of networks that stand still may be anything.
            moving: 1 for networks that take the step, 0 for those that stand still.
        """
        self._steps += 1
        gradients = torch.where(moving > 0, gradients, 0.0)
        self._rule(self._parameters, gradients, self._rates * moving, self._decays, self._state, self._steps)


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
