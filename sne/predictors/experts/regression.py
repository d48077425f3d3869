"""Regression on descriptions: what is learned of each property, and how outputs are read as values."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sne.predictors.properties import Property, output_slices

LEAST_CHANCE = 1e-3
"""Bound on the output of each class, before outputs are divided by their sum."""


def regression_goals(prop: Property, labels: Float[Tensor, " known"]) -> Float[Tensor, "known outputs"]:
    """Returns what is learned: ranks of numbers among the training labels, one number per class."""
    if prop.kind == "class":
        return torch.nn.functional.one_hot(labels.long(), prop.num_outputs).double()
    return prop.ranks(labels)[:, None].double()


def goal_without_labels(prop: Property) -> float:
    """Returns the output of a property of which no label is known: the middle rank, or equal chances."""
    return 1 / prop.num_outputs if prop.kind == "class" else 0.5


def regression_values(
    properties: Sequence[Property], raw: Float[Tensor, "rows outputs"]
) -> Float[Tensor, "rows outputs"]:
    """Returns the values of properties, in their own units, from outputs that were learned from `regression_goals`."""
    values = []
    for prop, where in zip(properties, output_slices(properties), strict=True):
        if prop.kind == "class":
            chances = raw[:, where].clamp_min(LEAST_CHANCE)
            values.append((chances / chances.sum(1, keepdim=True)).double())
        else:
            values.append(prop.at_ranks(raw[:, where].double().clamp(0, 1)))
    return torch.cat(values, dim=1)
