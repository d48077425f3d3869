"""Signs of the canonical point, entry by entry: before each group, all spans of all unsettled groups are compared."""

from itertools import product

from sne.symmetry import Group, Span, Symmetry

Entry = tuple[str, tuple[int, ...]]


def entries_of(symmetry: Symmetry, group: Group, span: Span, neuron: int) -> set[Entry]:
    """Entries of one neuron in a span."""
    along = [
        span.start + (repeat * group.size + neuron) * span.inner + inner
        for repeat in range(span.outer)
        for inner in range(span.inner)
    ]
    places = product(*map(range, symmetry.shapes[span.tensor]))
    return {(span.tensor, place) for place in places if place[span.dim] in along}


def canonical_signs(symmetry: Symmetry, values: dict[Entry, float]) -> dict[str, list[int]]:
    """Signs of the neurons of each group, in the order in which groups are settled; `values` are flipped in place.

    The next group is the one with the fewest spans that have entries in common with another span of an unsettled group,
    among those with a span that has none; without such a group, it is the first one, which keeps its signs.
    """
    unsettled = [group for group in symmetry.groups if "sign" in group.kinds]
    signs: dict[str, list[int]] = {}
    while unsettled:
        spans = [(group, span) for group in unsettled for span in group.spans if span.power % 2]
        entries = [
            set.union(*(entries_of(symmetry, group, span, i) for i in range(group.size))) for group, span in spans
        ]
        is_free = [not any(one & other for j, other in enumerate(entries) if j != i) for i, one in enumerate(entries)]
        best, fewest = unsettled[0], None
        for group in unsettled:
            own = [free for (owner, _), free in zip(spans, is_free, strict=True) if owner is group]
            if any(own) and (fewest is None or own.count(False) < fewest):
                best, fewest = group, own.count(False)
        signs[best.name] = []
        for neuron in range(best.size):
            total = 0.0
            for (owner, span), free in zip(spans, is_free, strict=True):
                if owner is best and free:
                    total += sum(values[entry] for entry in entries_of(symmetry, best, span, neuron))
            signs[best.name].append(-1 if total < 0 else 1)
            for span in best.spans:
                if span.power % 2:
                    for entry in entries_of(symmetry, best, span, neuron):
                        values[entry] *= signs[best.name][-1]
        unsettled.remove(best)
    return signs
