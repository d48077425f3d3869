"""Exports a module as a graph of operations, by torch.export."""

import operator
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.export.graph_signature import InputKind
from torch.fx import Graph

from sne.errors import SymmetryError


@dataclass(frozen=True)
class Exported:
    """The graph of a module, and the names of its tensors.

    Args:
        graph: Operations on tensors, none of them in place.
        tensors: Maps placeholders of the graph to names in the state dict.
        shapes: Shapes of these tensors, by name in the state dict.
        aliases: Maps each further name of a tied tensor to its first name.
    """

    graph: Graph
    tensors: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    aliases: Mapping[str, str]


class _SelectedOutputs(nn.Module):
    """A module that returns only some of its outputs."""

    def __init__(self, network: nn.Module, outputs: Sequence[str | int]) -> None:
        super().__init__()
        self.network = network
        self.outputs = outputs

    def forward(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Returns the selected outputs."""
        found = self.network(*args, **kwargs)
        return [found[name] for name in self.outputs]


def export(
    module: nn.Module,
    example_inputs: Sequence[Any] | Mapping[str, Any],
    outputs: Sequence[str | int] | None = None,
) -> Exported:
    """Runs a module once in eval mode and returns the graph of its operations.

    Args:
        module: Module to export; it is not changed.
        example_inputs: Tuple of positional arguments, or dict of named ones.
        outputs: Names or positions of the outputs to keep; None for all.

    Raises:
        SymmetryError: The module cannot be run or exported.
    """
    named = dict(example_inputs) if isinstance(example_inputs, Mapping) else None
    positional = () if isinstance(example_inputs, Mapping) else tuple(example_inputs)
    wrapped, prefix = (module, "") if outputs is None else (_SelectedOutputs(module, outputs), "network.")
    modes = {one: one.training for one in module.modules()}
    try:
        module.eval()
        wrapped.training = False
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(wrapped, positional, named, strict=False)
            if not _is_functional(program.graph):
                program = program.run_decompositions({})
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise SymmetryError(f"{type(module).__name__} cannot be exported: {type(error).__name__}: {reason}") from None
    finally:
        for one, mode in modes.items():
            one.training = mode
    state = {name: tensor for name, tensor in module.state_dict(keep_vars=True).items() if isinstance(tensor, Tensor)}
    aliases = _aliases(state)
    tensors = {}
    for spec in program.graph_signature.input_specs:
        name = (spec.target or "").removeprefix(prefix)
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and name in state and _is_movable(state[name]):
            tensors[spec.arg.name] = aliases.get(name, name)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if _is_movable(tensor)}
    return Exported(program.graph, tensors, shapes, aliases)


def _is_functional(graph: Graph) -> bool:
    """Whether no operation works in place. Such graphs need no decomposition, which takes longer than the export."""
    targets = [node.target for node in graph.nodes if node.op == "call_function"]
    return all(
        target is operator.getitem or (isinstance(target, OpOverload) and not target._schema.is_mutable)
        for target in targets
    )


def _aliases(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Maps names of tied tensors to the first name of the same tensor."""
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
