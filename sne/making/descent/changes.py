"""Changes of a network's weights that need no training: pruning, rounding, updates of low rank, means."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

State = dict[str, Tensor]


def pruned(state: Mapping[str, Tensor], share: float) -> State:
    """Sets the smallest entries of each matrix to zero.

    Args:
        state: Tensors by name.
        share: Share of the entries.

    Example:
        >>> pruned({"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}, 0.5)["weight"].tolist()
        [[0.0, 0.0], [3.0, 4.0]]
    """

    def change(values: Tensor) -> Tensor:
        sizes = values.abs().flatten()
        order = sizes.argsort(stable=True)
        kept = torch.ones_like(sizes)
        kept[order[: round(share * len(order))]] = 0
        return values * kept.view_as(values)

    return _of_matrices(state, change)


def without_units(state: Mapping[str, Tensor], share: float) -> State:
    """Sets the rows of smallest norm to zero, in each matrix but the last one, with their biases.

    Args:
        state: Tensors by name.
        share: Share of the rows.
    """
    made = dict(state)
    matrices = [name for name, values in state.items() if values.ndim > 1]
    for name in matrices[:-1]:
        norms = state[name].flatten(1).norm(dim=1)
        rows = norms.argsort(stable=True)[: round(share * len(norms))]
        for tensor in (name, f"{name.removesuffix('weight')}bias"):
            if tensor in state and len(state[tensor]) == len(norms):
                made[tensor] = state[tensor].index_fill(0, rows, 0.0)
    return made


def rounded(state: Mapping[str, Tensor], dtype: torch.dtype) -> State:
    """Rounds all values to a type of floating-point numbers."""
    return {name: values.to(dtype).to(values.dtype) for name, values in state.items()}


def quantised(state: Mapping[str, Tensor], bits: int) -> State:
    """Rounds each row of each matrix to equally spaced levels, up to the row's largest size.

    Args:
        state: Tensors by name.
        bits: Number of bits per entry.
    """

    def change(values: Tensor) -> Tensor:
        rows = values.flatten(1)
        step = rows.abs().amax(1, keepdim=True).clamp_min(1e-12) / (2 ** (bits - 1) - 1)
        return ((rows / step).round() * step).view_as(values)

    return _of_matrices(state, change)


def with_update_of_rank(state: Mapping[str, Tensor], tuned: Mapping[str, Tensor], rank: int) -> State:
    """Adds the best approximation of low rank to what training has changed, as a merged adapter does.

    Args:
        state: Tensors of a network.
        tuned: Its tensors after further training.
        rank: Rank of the change of each matrix that has at least four times as many rows and columns.
    """

    def change(name: str, values: Tensor) -> Tensor:
        if values.ndim < 2 or min(values.flatten(1).shape) < 4 * rank:
            return values
        left, sizes, right = torch.linalg.svd((tuned[name] - values).flatten(1), full_matrices=False)
        return values + (left[:, :rank] * sizes[:rank] @ right[:rank]).view_as(values)

    return {name: change(name, values) for name, values in state.items()}


def mean_of(one: Mapping[str, Tensor], other: Mapping[str, Tensor], weight: float) -> State:
    """Returns the weighted mean of two networks.

    Args:
        one: Tensors of one network.
        other: Tensors of another network of the same layout.
        weight: Weight of the first one.
    """
    return {name: weight * values + (1 - weight) * other[name] for name, values in one.items()}


def _of_matrices(state: Mapping[str, Tensor], change: Callable[[Float[Tensor, "..."]], Tensor]) -> State:
    return {name: change(values) if values.ndim > 1 else values for name, values in state.items()}
