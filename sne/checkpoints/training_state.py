"""The state of a training that checkpoints keep beside the weights, recognised by what it holds."""

from collections.abc import Mapping
from typing import Any

from sne.checkpoints.nesting import Nodes, children
from sne.checkpoints.words import words

SLOTS = frozenset({
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_avg_sq_row", "exp_avg_sq_col", "exp_inf", "exp_avg_diff",
    "momentum_buffer", "square_avg", "grad_avg", "acc_delta", "prev_grad", "param_groups",
    "fp32_flat_groups", "single_partition_of_fp32_groups", "base_optimizer_state", "fp32_from_fp16_params",
    "fp32_groups",
})  # fmt: skip
"""Keys that only optimisers have: torch.optim, apex, DeepSpeed, Megatron."""

_SCHEDULER = frozenset({"last_epoch", "_step_count"})
_SCALER = frozenset({"growth_factor", "backoff_factor"})
_MOMENTS = frozenset({"mu", "nu"})
_NAMES = frozenset({"optimizer", "optimizers", "optimiser", "optimisers", "optim", "scheduler", "schedulers"})
_MAX_DEPTH = 6


def is_training_state(value: Any, nodes: Nodes, depth: int = 0) -> bool:
    """Whether a container holds the state of an optimiser, a scheduler or a gradient scaler, and nothing else.

    Args:
        value: Any node of the content.
        nodes: Facts about the nodes.
        depth: Number of containers around it that were looked at.

    Example:
        >>> import torch
        >>> is_training_state({"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}, Nodes("a.pt"))
        True
        >>> is_training_state({"target.weight": torch.ones(2, 2)}, Nodes("a.pt"))
        False
    """
    entries = children(value)
    if entries is None or depth > _MAX_DEPTH:
        return False
    entries = list(entries)
    if not isinstance(value, list | tuple):
        keys = {str(key) for key, _ in entries}
        if keys & SLOTS or keys >= _SCHEDULER or keys >= _SCALER or keys >= _MOMENTS:
            return True
    below = [inner for _, inner in entries if children(inner) is not None and nodes.facts(inner).tensors]
    has_own = any(not isinstance(inner, Mapping | list | tuple) and nodes.facts(inner).vectors for _, inner in entries)
    return bool(below) and not has_own and all(is_training_state(inner, nodes, depth + 1) for inner in below)


def is_named_training_state(key: Any) -> bool:
    """Whether one word of a key is that of an optimiser or a scheduler.

    This decides only beside a network, where the content of an entry is of no known kind.

    Example:
        >>> is_named_training_state("optimizer_state_dict"), is_named_training_state("target")
        (True, False)
    """
    return not _NAMES.isdisjoint(words(str(key)))
