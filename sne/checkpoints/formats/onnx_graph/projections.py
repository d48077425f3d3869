"""Queries, keys and values of `nn.MultiheadAttention`, whose one matrix exporters cut where queries and keys differ."""

from collections.abc import Sequence

import torch

from sne.checkpoints.formats.onnx_graph.constants import derive
from sne.checkpoints.formats.onnx_graph.naming import own_name, scope_of
from sne.checkpoints.formats.onnx_graph.uses import Use, Weight
from sne.networks import LayerType

_OUTPUTS = (".out_proj.weight", ".out_proj.bias")


def join_projections(uses: Sequence[Use]) -> list[Use]:
    """Joins projections without names to the matrix that torch stores.

    They are the linear layers in the scope of an attention that has an `out_proj`, in the order of torch: queries,
    keys, values. Keys and values may be one matrix.

    Args:
        uses: The layers of a network.

    Returns:
        The layers, with one in place of the projections of each such attention.
    """
    outputs = {
        own[: -len(ending)]
        for use in uses
        for weight in use.weights.values()
        for ending in _OUTPUTS
        if (own := own_name(weight.names)).endswith(ending)
    }
    groups: dict[str, list[Use]] = {}
    for use in uses:
        scope = scope_of(use.node)
        if (
            scope in outputs
            and use.type is LayerType.LINEAR
            and not any(own_name(w.names) for w in use.weights.values())
        ):
            groups.setdefault(scope, []).append(use)
    joined: dict[Use, Use] = {}
    gone: set[Use] = set()
    for group in groups.values():
        if (whole := _join(group)) is not None:
            joined[group[0]] = whole
            gone.update(group[1:])
    return [joined.get(use, use) for use in uses if use not in gone]


def _join(group: Sequence[Use]) -> Use | None:
    """Returns the projections as one layer, None if they are not those of one attention."""
    weights = [use.weights["weight"] for use in group]
    width = weights[0].constant.shape[1]
    rows = [weight.constant.shape[0] for weight in weights]
    if len(group) not in (2, 3) or sum(rows) != 3 * width or any(count % width for count in rows):
        return None
    if any(weight.constant.shape[1] != width for weight in weights):
        return None
    leaves = group[0].weights
    if any(use.weights.keys() != leaves.keys() for use in group):
        return None
    found = {}
    for leaf in leaves:
        constants = [use.weights[leaf].constant for use in group]
        whole = derive(lambda v: torch.cat(v), constants, (3 * width, *constants[0].shape[1:]))
        if whole is None:
            return None
        found[f"in_proj_{leaf}"] = Weight(whole, ())
    return Use(group[0].node, found, None, group[0].doubt)
