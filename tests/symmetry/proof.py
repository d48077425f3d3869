"""Runs networks with changed weights."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sne.symmetry import Fixed, Symmetry, Transformation, apply


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """All tensors of a module, tied ones once."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def outputs(module: nn.Module, inputs: Any, state: Mapping[str, Tensor]) -> list[Tensor]:
    """Every tensor that the module returns, with these weights."""
    named = inputs if isinstance(inputs, Mapping) else {}
    positional = () if isinstance(inputs, Mapping) else tuple(inputs)
    with torch.no_grad():
        return tensors_in(torch.func.functional_call(module, dict(state), positional, dict(named)))


def tensors_in(found: Any) -> list[Tensor]:
    """All tensors of a nested result."""
    if isinstance(found, Tensor):
        return [found]
    if isinstance(found, Mapping):
        found = list(found.values())
    return [one for several in found for one in tensors_in(several)] if isinstance(found, list | tuple) else []


def change(module: nn.Module, inputs: Any, transformation: Transformation) -> float:
    """How far the outputs go from those of the module's own weights, in parts of the largest of them."""
    state = state_of(module)
    before, after = (outputs(module, inputs, weights) for weights in (state, apply(transformation, state)))
    assert before and len(before) == len(after)
    largest = max(float(one.abs().max()) for one in before)
    assert 1e-6 < largest < 1e6
    return max(float((one - two).abs().max()) for one, two in zip(before, after, strict=True)) / largest


def without_one_tensor(symmetry: Symmetry, number: int) -> Symmetry:
    """A symmetry of one group, from which the first of its matrices is left out: nothing it draws is legal."""
    group = symmetry.groups[number]
    matrices = [span.tensor for span in group.spans if len(symmetry.shapes[span.tensor]) > 1]
    spans = tuple(span for span in group.spans if span.tensor != matrices[0])
    return replace(symmetry, groups=(replace(group, spans=spans),), mixings=())


def not_understood(symmetry: Symmetry) -> list[Fixed]:
    """Axes that are fixed because an operation is not supported, or because axes could not be matched."""
    return [one for one in symmetry.fixed if one.reason.startswith("not understood")]
