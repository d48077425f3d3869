"""From the tree of names to each layer's level, its position in depth."""

from collections.abc import Iterable, Mapping

from sne.networks.network import Layer, Note
from sne.networks.ordering import Siblings, order
from sne.networks.parts import StemLayers
from sne.networks.spelling import natural_key
from sne.networks.tree import Node, grow

_NO_ORDERS: Mapping[str, int] = {}


def assign_levels(
    stems: Iterable[StemLayers], attentions: frozenset[str], orders: Mapping[str, int] = _NO_ORDERS
) -> tuple[list[Layer], list[Note]]:
    """Gives every layer its level.

    Args:
        stems: Layers by stem, with levels that count within the stem.
        attentions: Paths of the modules that hold queries and keys.
        orders: Positions in the graph of the file, by path of a stem; empty for formats without a graph.

    Returns:
        Layers in order of level and then of name, and one note for each module whose order is a guess.
    """
    nodes = grow(stems, attentions, orders)
    ordered: dict[Node, Siblings] = {}
    spans: dict[Node, _Span] = {}
    for node in reversed(nodes):  # children before their parents, whose order depends on the widths of the children
        if node.stem is None:
            ordered[node] = order(node)
            node.reads, node.feeds = _widths(ordered[node])
            spans[node] = _stack(ordered[node], spans)
        else:
            node.reads, node.feeds = node.stem.widths
            spans[node] = _Span(node.stem.depth, _first_matrix(node.stem))
    starts = {nodes[0]: 0}
    layers: list[Layer] = []
    for node in nodes:
        start = starts[node]
        if node.stem is None:
            starts |= {child: start + offset for child, offset in spans[node].offsets.items()}
        else:
            for layer in node.stem.layers:
                layers.append(Layer(layer.name, layer.type, layer.level + start, layer.parts))
    notes = [_guess(node, siblings) for node, siblings in ordered.items() if not siblings.is_sure]
    return sorted(layers, key=lambda layer: (layer.level, natural_key(layer.name))), notes


class _Span:
    """The levels that a module takes.

    Args:
        depth: Number of levels.
        first_matrix: First level that holds a matrix, None if there is none.
    """

    def __init__(self, depth: int = 0, first_matrix: int | None = None) -> None:
        self.depth = depth
        self.first_matrix = first_matrix
        self.offsets: dict[Node, int] = {}

    def add(self, node: Node, span: "_Span", offset: int) -> None:
        """Adds a module below that starts at a level."""
        self.offsets[node] = offset
        self.depth = max(self.depth, offset + span.depth)
        if span.first_matrix is not None:
            found = offset + span.first_matrix
            self.first_matrix = found if self.first_matrix is None else min(self.first_matrix, found)


def _stack(siblings: Siblings, spans: dict[Node, _Span]) -> _Span:
    """Puts stages one after the other, and shortcuts parallel to the first matrix of the module that they bypass."""
    whole = _Span()
    for stage in siblings.stages:
        start = whole.depth
        for child in stage:
            whole.add(child, spans[child], start)
    for shortcut, bypassed in siblings.beside:
        whole.add(shortcut, spans[shortcut], whole.offsets[bypassed] + (spans[bypassed].first_matrix or 0))
    return whole


def _first_matrix(stem: StemLayers) -> int | None:
    return min(
        (layer.level for layer in stem.layers if layer.parts and layer.parts[0].in_axis is not None), default=None
    )


def _widths(siblings: Siblings) -> tuple[int | None, int | None]:
    """Returns the width that the first module of known width reads and the width that the last one feeds."""
    main = [child for stage in siblings.stages for child in stage]
    reads = next((child.reads for child in main if child.reads is not None), None)
    feeds = next((child.feeds for child in reversed(main) if child.feeds is not None), None)
    return reads, feeds


def _guess(node: Node, siblings: Siblings) -> Note:
    names = [child.name for stage in siblings.stages for child in stage]
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    tensor = _first_tensor(node) or node.path
    return Note(tensor, f"the order of the modules in {node.path or 'the root'} is a guess: {shown}")


def _first_tensor(node: Node) -> str:
    """Returns the name of the first tensor in a module, empty if it has no layers."""
    todo = [node]
    while todo:
        node = todo.pop()
        if node.stem is not None and node.stem.layers:
            return node.stem.layers[0].parts[0].tensor
        todo += reversed(node.children.values())
    return ""
