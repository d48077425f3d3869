"""One network for all that scalings and sign flips make of it: the canonical point of its orbit."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sne.symmetry.errors import SymmetryError
from sne.symmetry.groups import Group, Span
from sne.symmetry.sampling import transformation_of
from sne.symmetry.symmetry import Symmetry
from sne.symmetry.transformation import Transformation

CANONICAL_KINDS = ("scaling", "sign")
"""Kinds with a canonical point. Permutations have none that is stable: neurons that are nearly equal would trade places
when a weight moves a little. Encoders that read neurons as sets need none."""

_CONVERGED = 1e-9
_MOST_SWEEPS = 1000
_MEMORY = 12  # sweeps whose results are mixed


def canonical_transformation(
    symmetry: Symmetry, state: Mapping[str, Tensor], kinds: Sequence[str] = CANONICAL_KINDS
) -> Transformation:
    """Finds what brings a network to the canonical point of its orbit; see `Symmetry.canonical`."""
    unknown = [kind for kind in kinds if kind not in CANONICAL_KINDS]
    if unknown:
        raise SymmetryError(f"kind {unknown[0]!r} has no canonical point, expected {' or '.join(CANONICAL_KINDS)}")
    wanted = [group for group in symmetry.groups if any(kind in group.kinds for kind in kinds)]
    tensors = _tensors(symmetry, wanted, state)
    factors = {group.name: torch.ones(group.size, dtype=torch.float64) for group in wanted}
    if "scaling" in kinds:
        for group, scale in _balance([group for group in wanted if "scaling" in group.kinds], tensors):
            factors[group.name] *= scale
            _multiply(tensors, group, scale)
    if "sign" in kinds:
        for group, sign in _settle_signs([group for group in wanted if "sign" in group.kinds], tensors):
            factors[group.name] *= sign
            _multiply(tensors, group, sign)
    return transformation_of(symmetry, [(group, None, factors[group.name]) for group in wanted])


def _tensors(symmetry: Symmetry, groups: list[Group], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that the groups scale, float64."""
    names = {span.tensor: [span.tensor] for group in groups for span in group.spans if span.power}
    for alias, tensor in symmetry.aliases.items():
        names.get(tensor, []).append(alias)
    tensors = {}
    for tensor, known_as in names.items():
        present = next((name for name in known_as if name in state), None)
        if present is None:
            raise SymmetryError(f"the state dict has no {tensor}, which this symmetry changes")
        if tuple(state[present].shape) != symmetry.shapes[tensor]:
            raise SymmetryError(f"{present} is {list(state[present].shape)}, expected {list(symmetry.shapes[tensor])}")
        tensors[tensor] = state[present].detach().cpu().double()
    return tensors


def _multiply(tensors: dict[str, Tensor], group: Group, factor: Float[Tensor, " size"]) -> None:
    """Scales or flips the neurons of a group."""
    for span, positions in group.places:
        if span.power:
            tensor = tensors[span.tensor]
            along = torch.ones(tensor.shape[span.dim], dtype=torch.float64)
            along[positions] = (factor**span.power)[:, None]
            tensors[span.tensor] = tensor * along.view([-1 if dim == span.dim else 1 for dim in range(tensor.ndim)])


class _Squares:
    """Sums of squares of one tensor while its axes are scaled."""

    def __init__(self, tensor: Tensor, dims: list[int]) -> None:
        rest = [dim for dim in range(tensor.ndim) if dim not in dims]
        squares = tensor.square()
        self._sums = squares.sum(rest) if rest else squares
        self._places = {dim: place for place, dim in enumerate(dims)}
        self.logs = {dim: tensor.new_zeros(tensor.shape[dim]) for dim in dims}

    def reset(self) -> None:
        """Forgets all scales."""
        for logs in self.logs.values():
            logs.zero_()

    def along(self, dim: int) -> Float[Tensor, " axis"]:
        """The sum of squares at each entry of an axis."""
        sums = self._sums
        for other, place in sorted(self._places.items(), reverse=True):
            if other != dim:
                sums = sums.movedim(place, -1) @ (2 * self.logs[other]).exp()
        return sums * (2 * self.logs[dim]).exp()


def _balance(groups: list[Group], tensors: Mapping[str, Tensor]) -> Iterator[tuple[Group, Float[Tensor, " _"]]]:
    """Scales at which all weights together have the least sum of squares.

    That sum is convex in the logarithms of the scales, so that the point does not depend on where the network was. At
    it, what is multiplied by a neuron's scale and what is divided by it have equal sums of squares. A neuron of which
    one side is zero has no such point: its other side is brought to norm 1.

    Sweeps balance one group after the other. Of deep stacks they would need hundreds; mixing their results as Anderson
    does needs tens.
    """
    dims: dict[str, list[int]] = {}
    for group in groups:
        for span in group.spans:
            if span.power and span.dim not in dims.setdefault(span.tensor, []):
                dims[span.tensor].append(span.dim)
    squares = {name: _Squares(tensors[name], sorted(some)) for name, some in dims.items()}
    sizes = [group.size for group in groups]
    logs = torch.zeros(sum(sizes), dtype=torch.float64)
    points, steps = [], []
    for _ in range(_MOST_SWEEPS if groups else 0):
        for tensor in squares.values():
            tensor.reset()
        for group, own in zip(groups, logs.split(sizes), strict=True):
            _scale(group, squares, own)
        step = torch.cat([_balance_one(group, squares) for group in groups])
        if float(step.abs().max()) < _CONVERGED:
            logs = logs + step
            break
        points, steps = [*points[-_MEMORY:], logs], [*steps[-_MEMORY:], step]
        logs = logs + step
        if len(steps) > 1:
            changes, moves = (torch.stack(several, 1).diff(dim=1) for several in (steps, points))
            weights = torch.linalg.lstsq(changes, step[:, None], driver="gelsd").solution
            logs = logs - ((moves + changes) @ weights)[:, 0]
    for group, own in zip(groups, logs.split(sizes), strict=True):
        yield group, own.exp()


def _scale(group: Group, squares: Mapping[str, _Squares], logs: Float[Tensor, " size"]) -> None:
    for span, positions in group.places:
        if span.power:
            squares[span.tensor].logs[span.dim][positions] += span.power * logs[:, None]


def _balance_one(group: Group, squares: Mapping[str, _Squares]) -> Float[Tensor, " size"]:
    """Scales a group so that its two sides are equal, the others staying; returns the logarithms of its scales."""
    sides = torch.zeros(2, group.size, dtype=torch.float64)
    powers = [1, 1]
    for span, positions in group.places:
        if span.power:
            side = int(span.power < 0)
            sides[side] += abs(span.power) * squares[span.tensor].along(span.dim)[positions].sum(1)
            powers[side] = max(powers[side], abs(span.power))
    logs = sides.clamp_min(torch.finfo(torch.float64).tiny).log()
    has_up, has_down = sides > 0
    step = (logs[1] - logs[0]) / (2 * sum(powers))
    step = torch.where(has_down, step, -logs[0] / (2 * powers[0]))
    step = torch.where(has_up, step, logs[1] / (2 * powers[1]))
    step = torch.where((has_up | has_down) & step.isfinite(), step, 0.0)
    _scale(group, squares, step)
    return step


def _settle_signs(groups: list[Group], tensors: Mapping[str, Tensor]) -> Iterator[tuple[Group, Float[Tensor, " _"]]]:
    """Signs at which what flips with a neuron has a sum that is not negative.

    A span tells the signs of a group once all others that flip it are settled. Groups are settled one after the other,
    the one first of which the fewest spans are still open, and flipped before the next is asked for. Where none tells
    anything, two groups may do the same; the first of them then stays as it is.
    """
    open_groups = list(groups)
    while open_groups:
        told = [(group, *_telling_spans(group, open_groups)) for group in open_groups]
        group, spans, _ = min((one for one in told if one[1]), key=lambda one: one[2], default=told[0])
        open_groups.remove(group)
        if not spans:
            continue
        total = torch.zeros(group.size, dtype=torch.float64)
        for span in spans:
            tensor = tensors[span.tensor].movedim(span.dim, 0)
            total += tensor.reshape(len(tensor), -1).sum(1)[span.positions(group.size)].sum(1)
        sign = torch.where(total < 0, -1.0, 1.0).double()
        yield group, sign


def _telling_spans(group: Group, open_groups: list[Group]) -> tuple[list[Span], int]:
    """Spans in which nothing but the group's own sign is open, and how many of its spans are not so."""
    flipped = [span for span in group.spans if span.power % 2]
    telling = [
        span
        for span in flipped
        if not any(
            other is not span and other.power % 2 and other.tensor == span.tensor and _meet(span, group, other, owner)
            for owner in open_groups
            for other in owner.spans
        )
    ]
    return telling, len(flipped) - len(telling)


def _meet(span: Span, group: Group, other: Span, owner: Group) -> bool:
    """Whether two spans of one tensor have entries in common."""
    return span.dim != other.dim or (span.start < other.end(owner.size) and other.start < span.end(group.size))
