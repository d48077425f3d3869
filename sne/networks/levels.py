"""Levels: from the tree of names to each layer's position in depth."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sne.networks.names import natural_key
from sne.networks.network import Layer, Note
from sne.networks.ordering import Siblings, order
from sne.networks.tree import Node, grow
from sne.networks.units import Unit, width_in, width_out


@dataclass
class _Branch:
    layers: list[Layer] = field(default_factory=list)
    depth: int = 0
    widths: tuple[int | None, int | None] = (None, None)


def assign_levels(units: Iterable[Unit], attentions: frozenset[str]) -> tuple[list[Layer], list[Note]]:
    """Gives every layer its level.

    Args:
        units: the layers by stem, levels relative to their stem.
        attentions: paths of the modules that hold queries and keys.

    Returns:
        Layers in order of level, then of name; and notes where siblings' order is a guess.
    """
    root = grow(units)
    notes: list[Note] = []
    branch = _place(root, attentions, notes)
    return sorted(branch.layers, key=lambda layer: (layer.level, natural_key(layer.name))), notes


def _place(node: Node, attentions: frozenset[str], notes: list[Note]) -> _Branch:
    if node.unit is not None:
        return _Branch(node.unit.layers, node.unit.depth, node.unit.widths)
    branches = {id(child): _place(child, attentions, notes) for child in node.children.values()}
    siblings = order(node, node.path in attentions, lambda child: branches[id(child)].widths)
    if not siblings.is_sure:
        notes.append(_guess(node, siblings))
    whole = _Branch()
    starts: dict[int, int] = {}
    for stage in siblings.stages:
        start = whole.depth
        for child in stage:
            starts[id(child)] = start
            _graft(whole, branches[id(child)], start)
    for shortcut, anchor in siblings.beside:
        _graft(whole, branches[id(shortcut)], _first_matrix(anchor, branches[id(anchor)], starts[id(anchor)]))
    whole.widths = _widths(siblings, branches)
    return whole


def _graft(whole: _Branch, branch: _Branch, start: int) -> None:
    whole.layers += [replace(layer, level=layer.level + start) if start else layer for layer in branch.layers]
    whole.depth = max(whole.depth, start + branch.depth)


def _first_matrix(anchor: Node, branch: _Branch, start: int) -> int:
    """The level of the first layer in a branch that is not a norm: where a shortcut beside it starts."""
    levels = [layer.level for layer in branch.layers if layer.parts and layer.parts[0].in_axis is not None]
    return start + min(levels, default=0)


def _widths(siblings: Siblings, branches: dict[int, _Branch]) -> tuple[int | None, int | None]:
    main = [branches[id(child)].widths for stage in siblings.stages for child in stage]
    reads = next((reads for reads, _ in main if reads is not None), None)
    feeds = next((feeds for _, feeds in reversed(main) if feeds is not None), None)
    return reads, feeds


def _guess(node: Node, siblings: Siblings) -> Note:
    names = [child.name for stage in siblings.stages for child in stage]
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    first = next((unit.layers[0] for n in node.descendants() if (unit := n.unit) and unit.layers), None)
    tensor = first.parts[0].tensor if first else node.path
    return Note(tensor, f"the order of the modules in {node.path or 'the root'} is a guess: {shown}")


def neighbour_widths(layers: list[Layer]) -> list[tuple[int | None, int | None]]:
    """What the level before each layer feeds and the level after it reads; None where branches differ."""
    feeds: dict[int, set[int | None]] = {}
    reads: dict[int, set[int | None]] = {}
    for layer in layers:
        feeds.setdefault(layer.level, set()).add(width_out(layer))
        reads.setdefault(layer.level, set()).add(width_in(layer))

    def only(widths: set[int | None]) -> int | None:
        return next(iter(widths)) if len(widths) == 1 else None

    return [(only(feeds.get(layer.level - 1, set())), only(reads.get(layer.level + 1, set()))) for layer in layers]
