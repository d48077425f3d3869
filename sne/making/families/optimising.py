"""The optimisers that a network of a zoo may be trained with."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sne.errors import ZooError

OPTIMISERS = ("adam", "adamw", "sgd", "momentum", "rmsprop")


def make_optimiser(module: nn.Module, hyperparameters: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimiser that the hyper-parameters name; weight decay is added to the gradient (L2), but for "adamw".

    Args:
        module: whose parameters it changes.
        hyperparameters: with `optimizer`, `learning_rate` and `weight_decay`.

    Raises:
        ZooError: no such optimiser.
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
