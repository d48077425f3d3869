"""Where norms stand among their siblings: after the layer that they are named after or whose width they have."""

from collections.abc import Hashable, Iterable, Sequence
from typing import final

from sne.networks.grammar import PLACES, Form, has_role
from sne.networks.tree import Node

_AFTER_FINAL_NORM = PLACES[Form.MODULE].index("head convolution")


def insert_norms(norms: Iterable[Node], stages: list[list[Node]], others: Sequence[Node]) -> list[list[Node]]:
    """Puts norms between the stages of their siblings.

    Args:
        norms: The norms of a module.
        stages: Stages of all siblings but the norms, in order.
        others: The same siblings in natural order of their names; the first of several that fit equally well counts.

    Returns:
        The stages in order, each norm a stage of its own.
    """
    places = _NormPlaces(stages, others)
    gaps: list[list[Node]] = [[] for _ in range(len(stages) + 1)]
    for norm in norms:
        gaps[places.gap(norm)].append(norm)
    result = []
    for gap, stage in zip(gaps, [*stages, []], strict=True):
        result += [[norm] for norm in gap]
        result += [stage] if stage else []
    return result


@final
class _NormPlaces:
    """Finds the gap between stages in which a norm stands; gap i is before stage i.

    Args:
        stages: Stages of all siblings but the norms.
        others: The same siblings in natural order of their names; the first of several that fit equally well counts.
    """

    def __init__(self, stages: list[list[Node]], others: Sequence[Node]) -> None:
        self.others = others
        self.at = {child: number for number, stage in enumerate(stages) for child in stage}
        self.by_name = _index((_plain_name(child), child) for child in others)
        self.by_number = _index((child.number, child) for child in others)
        self.by_fed = _index((child.feeds, child) for child in others)
        self.by_read = _index((child.reads, child) for child in others)
        self.embeddings = [child for child in others if child.module_place == "embedding"]
        self.has_blocks = any(has_role(child.base, "blocks") or child.is_list for child in others)
        self.depthwise = [child for child in others if child.is_depthwise]
        self.head = min((self.at[child] for child in others if self._is_head(child)), default=len(stages))

    def gap(self, norm: Node) -> int:
        """Returns the gap of a norm."""
        width = norm.reads
        if twin := self._twin(norm):
            return self._beside(twin, width)
        if norm.number is not None and (same := self.by_number.get(norm.number)):
            fits = [child for child in same if width in (child.reads, child.feeds)] or same
            return self._beside(min(fits, key=lambda child: (not child.is_leaf, not child.is_conv)), width)
        if self.embeddings and (has_role(norm.name, "norm at the input") or len(self.embeddings) == len(self.others)):
            return max(self.at[child] for child in self.embeddings) + 1
        fed_by = self.by_fed.get(width, [])
        if not self.has_blocks:
            feeding = [child for child in fed_by if child.is_leaf and child.reads != width]
            fed = [child for child in self.by_read.get(width, []) if child.is_leaf and child.feeds != width]
            if len(self.depthwise) == 1:
                return self.at[self.depthwise[0]] + 1
            if len(feeding) == len(fed) == 1 and self.at[feeding[0]] + 1 == self.at[fed[0]]:
                return self.at[fed[0]]
            if len(feeding) == 1 and not fed:
                return self.at[feeding[0]] + 1
            if len(fed) == 1 and not feeding:
                return self.at[fed[0]]
        elif norm.number is not None and len(fed_by) == 1:
            return self.at[fed_by[0]] + 1
        return self.head

    def _twin(self, norm: Node) -> Node | None:
        """Returns the one sibling after which the norm is named: `conv_dw` for `bn_dw`."""
        rest = "_".join(word for word in norm.snake.split("_") if not has_role(word, "norm word"))
        if not rest:
            return None
        names = (rest, f"{rest}_conv", f"conv_{rest}")
        twins = [child for name in names for child in self.by_name.get(name, [])]
        return twins[0] if len(twins) == 1 else None

    def _beside(self, child: Node, width: int | None) -> int:
        """Returns the gap after a module, or the one before it if only what it reads has the width of the norm."""
        is_before = width == child.reads and width != child.feeds
        return self.at[child] if is_before else self.at[child] + 1

    def _is_head(self, child: Node) -> bool:
        """Whether a norm of no other place stands before this module."""
        is_late = PLACES[Form.MODULE].index(child.module_place) >= _AFTER_FINAL_NORM
        is_plain = not self.has_blocks and child.is_leaf and has_role(child.base, "dense")
        return is_late and not is_plain  # a norm comes before a head, but after a layer that is merely called dense


def _index(pairs: Iterable[tuple[Hashable, Node]]) -> dict[Hashable, list[Node]]:
    found: dict[Hashable, list[Node]] = {}
    for key, child in pairs:
        found.setdefault(key, []).append(child)
    return found


def _plain_name(child: Node) -> str:
    """Returns a name without a last word that means "layer": `dw` for `dw_conv`."""
    head, _, last = child.snake.rpartition("_")
    return head if head and has_role(last, "kind of layer") else child.snake
