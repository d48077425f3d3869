"""A module as a graph of operations, by torch.export."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.fx import Graph

from sne.errors import SymmetryError


@dataclass(frozen=True)
class Exported:
    """A module's graph, and what its tensors are called.

    Args:
        graph: of operations on tensors, none of them in place.
        tensors: from placeholders to names in the state dict, for those whose values the state dict decides.
        shapes: of these tensors.
        aliases: from names of tied tensors to the first name of each.
    """

    graph: Graph
    tensors: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    aliases: Mapping[str, str]


class _Chosen(nn.Module):
    """A module that returns some of its outputs."""

    def __init__(self, network: nn.Module, outputs: Sequence[str | int]) -> None:
        super().__init__()
        self.network = network
        self.outputs = outputs

    def forward(self, *args: Any, **kwargs: Any) -> list[Any]:
        """The chosen outputs."""
        found = self.network(*args, **kwargs)
        return [found[name] for name in self.outputs]


def export(
    module: nn.Module,
    example_inputs: Sequence[Any] | Mapping[str, Any],
    outputs: Sequence[str | int] | None = None,
) -> Exported:
    """Runs a module once in eval mode, and keeps the graph of what it did.

    Args:
        module: left as it was.
        example_inputs: a tuple of positional arguments, or a dict of named ones.
        outputs: names or places of the outputs that count; None for all.

    Raises:
        SymmetryError: the module cannot be run or exported.
    """
    named = dict(example_inputs) if isinstance(example_inputs, Mapping) else None
    positional = () if isinstance(example_inputs, Mapping) else tuple(example_inputs)
    chosen, prefix = (module, "") if outputs is None else (_Chosen(module, outputs), "network.")
    modes = {one: one.training for one in module.modules()}
    try:
        module.eval()
        chosen.training = False
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(chosen, positional, named, strict=False).run_decompositions({})
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise SymmetryError(f"{type(module).__name__} cannot be exported: {type(error).__name__}: {reason}") from None
    finally:
        for one, mode in modes.items():
            one.training = mode
    state = {name: tensor for name, tensor in module.state_dict(keep_vars=True).items() if isinstance(tensor, Tensor)}
    aliases = tied(state)
    tensors = {}
    for spec in program.graph_signature.input_specs:
        name = (spec.target or "").removeprefix(prefix)
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and name in state and _is_movable(state[name]):
            tensors[spec.arg.name] = aliases.get(name, name)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if _is_movable(tensor)}
    return Exported(program.graph, tensors, shapes, aliases)


def tied(state: Mapping[str, Tensor]) -> dict[str, str]:
    """From names of tensors to the first name of the same tensor, for those that have one before."""
    first: dict[tuple[Any, ...], str] = {}
    aliases = {}
    for name, tensor in state.items():
        if not _is_movable(tensor) or not tensor.numel():
            continue
        key = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()), str(tensor.device))
        if first.setdefault(key, name) != name:
            aliases[name] = first[key]
    return aliases


def _is_movable(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()
