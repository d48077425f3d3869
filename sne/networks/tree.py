"""The tree of dotted names, with the facts about each module that the ordering needs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sne.networks.grammar import Form, attention_word, place
from sne.networks.network import LayerType
from sne.networks.parts import StemLayers
from sne.networks.spelling import snake_case, split_number

OWN = "."
"""Key of a module's own layers among its children; no component of a dotted path is a dot."""

_CONVS = frozenset(kind for kind in LayerType if kind.value.startswith("conv"))


@dataclass(eq=False)
class Node:
    """A module as the names of its tensors show it.

    Args:
        name: Component of the path; empty for the root and for a module's own parameters.
        parent: Parent of the module; None for the root.
        children: Modules below, by component.
        stem: Layers whose stem is this path, if any.
        is_attention: Whether the module holds queries and keys.
        is_norm: Whether the module is one normalisation and nothing else: a norm, or a wrapper around one.
        holds_conv: Whether the module or one below it is a convolution.
        reads: Number of neurons that the module reads; None if unknown. The ordering of its children sets it.
        feeds: Number of neurons that the module feeds; None if unknown.
        order: Position of its first layer in the graph of the file; None if it is not known.
    """

    name: str
    parent: "Node | None" = None
    children: dict[str, "Node"] = field(default_factory=dict)
    stem: StemLayers | None = None
    is_attention: bool = False
    is_norm: bool = False
    holds_conv: bool = False
    reads: int | None = None
    feeds: int | None = None
    order: int | None = None

    @property
    def path(self) -> str:
        """Dotted path of the module."""
        names = []
        node: Node | None = self
        while node is not None:
            names.append(node.name)
            node = node.parent
        return ".".join(name for name in reversed(names) if name)

    @property
    def base(self) -> str:
        """The name in snake case without its number."""
        return split_number(self.name)[0]

    @property
    def number(self) -> tuple[int, str] | None:
        """The number in the name, with the letter that may follow it."""
        return split_number(self.name)[1]

    @property
    def snake(self) -> str:
        """The name in snake case."""
        return snake_case(self.name)

    @property
    def word(self) -> str:
        """Role of the name in an attention; empty if it has none."""
        return attention_word(self.name)

    @property
    def module_place(self) -> str:
        """Place among the siblings in a module of no special form, see `sne.networks.grammar.PLACES`."""
        return "loose" if self.is_loose else place(Form.MODULE, self.base or self.snake)

    @property
    def is_conv(self) -> bool:
        """Whether the module's own layer is a convolution."""
        return self.stem is not None and any(layer.type in _CONVS for layer in self.stem.layers)

    @property
    def is_linear(self) -> bool:
        """Whether the module's own layer is one linear layer."""
        return self.stem is not None and [layer.type for layer in self.stem.layers] == [LayerType.LINEAR]

    @property
    def is_leaf(self) -> bool:
        """Whether there are no modules below."""
        return not self.children

    @property
    def is_depthwise(self) -> bool:
        """Whether the module's own layer is a convolution that reads one channel per neuron."""
        if not self.is_conv or self.stem is None:
            return False
        num_out, num_in, kernel = self.stem.layers[0].parts[0].arranged_shape
        return num_in == 1 and num_out > 1 and kernel > 1

    @property
    def is_loose(self) -> bool:
        """Whether the module holds parameters of no known layer alone, whose place among siblings is open."""
        return (
            not self.children
            and self.stem is not None
            and all(layer.type is LayerType.OTHER for layer in self.stem.layers)
        )

    @property
    def is_list(self) -> bool:
        """Whether all children are numbers, as in `nn.Sequential` and `nn.ModuleList`."""
        return bool(self.children) and all(child.isdigit() for child in self.children)


def grow(stems: Iterable[StemLayers], attentions: Iterable[str], orders: Mapping[str, int]) -> list[Node]:
    """Makes the tree of all stems.

    A module that has layers of its own and modules below (`attn.in_proj_weight` next to `attn.out_proj`) holds its own
    layers in a child without a name.

    Args:
        stems: Layers by stem.
        attentions: Paths of the modules that hold queries and keys.
        orders: Positions in the graph of the file, by path of a stem; empty for formats without a graph.

    Returns:
        Every module, parents before their children; the root is the first.
    """
    root = Node("")
    nodes = [root]
    for stem in stems:
        node = root
        for component in stem.path.split(".") if stem.path else ():
            child = node.children.get(component)
            if child is None:
                child = node.children[component] = Node(component, node)
                nodes.append(child)
            node = child
        node.stem = stem
    for path in attentions:
        node = root
        for component in path.split(".") if path else ():
            node = node.children[component]
        node.is_attention = True
    for node in list(nodes):
        if node.stem is not None and node.children:
            node.children[OWN] = Node("", node, stem=node.stem)
            nodes.append(node.children[OWN])
            node.stem = None
    for node in reversed(nodes):
        below = list(node.children.values())
        node.is_norm = node.stem.is_norm if node.stem is not None else len(below) == 1 and below[0].is_norm
        node.holds_conv = node.is_conv or any(child.holds_conv for child in below)
        if node.stem is not None:
            node.order = orders.get(node.stem.path)
        else:
            node.order = min((child.order for child in below if child.order is not None), default=None)
    return nodes
