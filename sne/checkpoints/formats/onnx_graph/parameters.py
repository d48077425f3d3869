"""From the uses of weights to the named tensors, hints and notes of a network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

from sne.checkpoints.formats.onnx_graph.constants import Constant, stored
from sne.checkpoints.formats.onnx_graph.matrices import MATRICES
from sne.checkpoints.formats.onnx_graph.naming import (
    cell_name,
    is_parameter,
    is_related,
    is_same_call,
    leaf_of,
    operator_name,
    own_name,
    scope_of,
    spoken_stem,
)
from sne.checkpoints.formats.onnx_graph.nodes import Node
from sne.checkpoints.formats.onnx_graph.norms import NORMS
from sne.checkpoints.formats.onnx_graph.projections import join_projections
from sne.checkpoints.formats.onnx_graph.quantised import QUANTISED
from sne.checkpoints.formats.onnx_graph.recurrent import CELLS
from sne.checkpoints.formats.onnx_graph.uses import Use, Weight
from sne.checkpoints.formats.onnx_graph.values import Leaf
from sne.networks import Hint, LayerType, TensorInfo

READERS: Mapping[str, Callable[[Node], list[Use]]] = {**MATRICES, **NORMS, **QUANTISED, **CELLS}
"""Functions from a node to the layers whose weights it holds, by operator."""

_COMPANION = "scale or zero point of a quantised weight, applied when that is loaded"
_SHARED = "stored once for several layers: they are tied, or were equal when the file was written"
_MOST_COMPARED = 100_000_000

Key = tuple[frozenset[Leaf], tuple[int, ...]]


@final
@dataclass
class Parameters:
    """The weights of a model.

    Args:
        constants: Every weight, by name.
        hints: Hints by the name of a tensor or module.
        notes: Reasons why tensors are not read, or read with doubt, by name.
        claimed: Stored tensors that the weights are made of, or that are known to be none.
    """

    constants: dict[str, Constant] = field(default_factory=dict)
    hints: dict[str, Hint] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    claimed: set[Leaf] = field(default_factory=set)

    def info(self, name: str) -> TensorInfo:
        """Returns name, shape and stored type of a weight."""
        return TensorInfo(name, self.constants[name].shape, stored_type(self.constants[name]))


def stored_type(constant: Constant) -> str:
    """Returns the name of the type in which the main tensor of a constant is stored."""
    leaves = constant.main_leaves()
    return leaves[0].dtype if leaves else str(constant.dtype).removeprefix("torch.")


def find_parameters(nodes: Sequence[Node]) -> Parameters:
    """Finds the weights of all nodes and names them.

    Args:
        nodes: Every node in the order in which they run.

    Returns:
        The weights. Two layers that read one stored tensor have a weight each, unless they are calls of one module.
    """
    uses = [use for node in nodes if node.op in READERS for use in READERS[node.op](node)]
    return _Namer(join_projections(uses)).name()


@final
class _Namer:
    def __init__(self, uses: Sequence[Use]):
        self._uses = uses
        self._found = Parameters()
        self._keys: dict[str, Key] = {}
        self._seen: dict[tuple[object, ...], list[str | None]] = {}
        self._cells: dict[str, list[Key]] = {}
        self._tables: set[str] = set()
        self._biased: set[str] = set()
        self._scopes: dict[str, set[str | None]] = {}  # scopes in which a tensor with a parameter's name is used
        for use in uses:
            for leaf, weight in use.weights.items():
                use.weights[leaf] = _uncut(weight)
            for weight in use.weights.values():
                if own := own_name(weight.names):
                    self._scopes.setdefault(own, set()).add(scope_of(use.node))

    def name(self) -> Parameters:
        """Names every weight."""
        for use in self._uses:
            for leaf, reason in use.aside.items():
                self._found.claimed.add(leaf)
                self._found.notes.setdefault(leaf.name, reason)
            if use.weights and not self._is_repeated(use):
                self._add(use)
        for constant in self._found.constants.values():
            self._found.claimed.update(constant.leaves())
            for leaf in constant.companions:
                self._found.notes.setdefault(leaf.name, _COMPANION)
        self._mark_shared()
        return self._found

    def _is_repeated(self, use: Use) -> bool:
        """Whether the module has been called before."""
        keys = tuple(_key(weight.constant) for weight in use.weights.values())
        scope = scope_of(use.node)
        before = self._seen.setdefault((use.node.op, *use.weights, *keys), [])
        if scope is not None and any(is_same_call(scope, other) for other in before):
            return True
        before.append(scope)
        return False

    def _add(self, use: Use) -> None:
        names = self._cell_names(use) if use.is_cell else self._names(use)
        if all(self._keys.get(name) == _key(use.weights[leaf].constant) for leaf, name in names.items()):
            return
        for leaf, name in names.items():
            constant = use.weights[leaf].constant
            self._found.constants[name] = constant
            self._keys[name] = _key(constant)
            if stored_type(constant).startswith(("int", "uint")):
                self._found.hints[name] = Hint(is_scaled=True)
        main = next(iter(names.values()))
        if use.type is LayerType.EMBEDDING:
            self._tables.add(main)
        if len(names) > 1:
            self._biased.add(main)
        if use.doubt:
            self._found.notes.setdefault(main, use.doubt)
        stem = main.rpartition(".")[0]
        is_whole = main.endswith(".weight") and not use.is_cell
        kind = use.type if is_whole else None
        in_first = False if kind is LayerType.LINEAR else None
        self._found.hints.setdefault(stem, Hint(kind, in_first, order=use.node.index))

    def _names(self, use: Use) -> dict[str, str]:
        """Returns the name of each weight of a layer."""
        main, *others = use.weights
        scope = scope_of(use.node)
        owns = {leaf: own_name(weight.names) for leaf, weight in use.weights.items()}
        trusted = next((owns[leaf] for leaf in (main, *others) if self._is_trusted(owns[leaf], scope, use)), "")
        if trusted:
            stem = trusted.rpartition(".")[0]
        elif scope:
            stem = scope
        else:
            stem = spoken_stem(use.weights[main].names) or operator_name(use.node)
        leaves = {leaf: leaf_of(leaf, owns.values()) for leaf in use.weights}
        for candidate in (stem, _join(scope or "", operator_name(use.node)), f"nodes.{use.node.index}"):
            names = {leaf: _join(candidate, last) for leaf, last in leaves.items()}
            if all(self._is_free(name, use.weights[leaf]) for leaf, name in names.items()):
                break
        return names

    def _is_trusted(self, own: str, scope: str | None, use: Use) -> bool:
        """Whether the name of a parameter says which module a node is."""
        if not own or (scope and "." not in own):
            return False
        if scope is None or is_related(own, scope):
            return True
        return len(self._scopes[own]) == 1 and not (use.type is LayerType.EMBEDDING and scope)

    def _is_free(self, name: str, weight: Weight) -> bool:
        return name not in self._keys or self._keys[name] == _key(weight.constant)

    def _cell_names(self, use: Use) -> dict[str, str]:
        """Returns the names of the weights of a recurrent layer, numbered by layer as torch does."""
        weights = list(use.weights.values())
        told = cell_name(leaf.name for leaf in weights[0].constant.leaves())
        if told is not None:
            path, number = told
        else:
            path = scope_of(use.node) or spoken_stem(weights[0].names) or operator_name(use.node)
            before = self._cells.setdefault(path, [])
            key = (frozenset(weights[0].constant.leaves()), ())
            if key not in before:
                before.append(key)
            number = before.index(key)
        names = {}
        for leaf in use.weights:
            base, ending, _ = leaf.partition("_reverse")
            names[leaf] = _join(path, f"{base}_l{number}{ending}")
        return names

    def _mark_shared(self) -> None:
        """Marks the names of one tensor as tied if an embedding is among them, otherwise notes that it is shared."""
        groups: dict[Key, list[str]] = {}
        for name, constant in self._found.constants.items():
            if len(constant.shape) > 1:
                groups.setdefault(self._keys[name], []).append(name)
        for table in self._tables:
            for name in self._equal_matrices(table):
                if name not in groups[self._keys[table]]:
                    groups[self._keys[table]].append(name)
        for names in groups.values():
            if len(names) > 1 and not self._tables.isdisjoint(names):
                for name in names:
                    self._found.hints[name] = replace(self._found.hints.get(name, Hint()), tied=min(names))
            elif len(names) > 1 and not any("weight_ih" in name or "weight_hh" in name for name in names):
                for name in names:
                    self._found.notes.setdefault(name, _SHARED)

    def _equal_matrices(self, table: str) -> list[str]:
        """Returns matrices that are copies of an embedding, as exporters write for tied output layers."""
        constant = self._found.constants[table]
        equal = []
        for name, other in self._found.constants.items():
            if name == table or other.shape != constant.shape or name in self._tables or name in self._biased:
                continue
            if not (constant.num_entries <= _MOST_COMPARED and _is_inline(constant) and _is_inline(other)):
                continue
            if bool((constant.evaluate() == other.evaluate()).all()):
                equal.append(name)
        return equal


def _uncut(weight: Weight) -> Weight:
    """Returns the whole of a named parameter of which a node reads a part, as attentions do of `in_proj_weight`."""
    leaves = weight.constant.main_leaves()
    if len(leaves) != 1 or weight.constant.companions or not is_parameter(leaves[0].name):
        return weight
    if weight.constant.num_entries >= leaves[0].num_entries:
        return weight
    return Weight(stored(leaves[0]), (leaves[0].name,))


def _is_inline(constant: Constant) -> bool:
    return all(leaf.is_inline for leaf in constant.leaves())


def _key(constant: Constant) -> Key:
    return frozenset(constant.main_leaves()), constant.shape


def _join(stem: str, leaf: str) -> str:
    return f"{stem}.{leaf}" if stem else leaf
