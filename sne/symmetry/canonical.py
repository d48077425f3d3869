"""One network for all that scalings and sign flips make of it: the canonical point of its orbit."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sne.errors import SymmetryError
from sne.symmetry.groups import Group, Span
from sne.symmetry.sampling import transformation_of
from sne.symmetry.symmetry import Symmetry
from sne.symmetry.transformation import Transformation

CANONICAL_KINDS = ("scaling", "sign")
"""Kinds with a canonical point. Permutations have none that is stable: neurons that are nearly equal would trade places
when a weight moves a little. Encoders that read neurons as sets need none."""

_CONVERGED = 1e-9
_MOST_SWEEPS = 300
_LARGEST_LOG = 100.0  # of a scale: what lies beyond has no point
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
        for group, scale in _Balance([group for group in wanted if "scaling" in group.kinds], tensors).scales():
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
    """Sums of squares of one tensor while neurons on its axes are scaled, or do not count."""

    def __init__(self, tensor: Tensor, dims: list[int]) -> None:
        rest = [dim for dim in range(tensor.ndim) if dim not in dims]
        squares = tensor.square().nan_to_num(nan=0.0, posinf=0.0)  # what is not finite weighs nothing
        self._sums = squares.sum(rest) if rest else squares
        self._places = {dim: place for place, dim in enumerate(dims)}
        self.logs = {dim: tensor.new_zeros(tensor.shape[dim]) for dim in dims}
        self.counts = {dim: tensor.new_ones(tensor.shape[dim]) for dim in dims}

    def along(self, dim: int) -> Float[Tensor, " axis"]:
        """The sum of squares at each entry of an axis, of what counts on the others."""
        sums = self._sums
        for other, place in sorted(self._places.items(), reverse=True):
            if other != dim:
                sums = sums.movedim(place, -1) @ (self.counts[other] * (2 * self.logs[other]).exp())
        return sums * (2 * self.logs[dim]).exp()


class _Balance:
    """Scales at which all weights together have the least sum of squares.

    That sum is convex in the logarithms of the scales, so that the point does not depend on where the network was. At
    it, what is multiplied by a neuron's scale and what is divided by it have equal sums of squares.

    A neuron of which one side is zero, as in a pruned network, has no such point. It is left out, then those that have
    nothing on one side without it, and so on. Once the others are balanced they come back, the last one first, and the
    side that is not zero is brought to norm 1.

    Args:
        groups: that may be scaled.
        tensors: the weights.
    """

    def __init__(self, groups: list[Group], tensors: Mapping[str, Tensor]) -> None:
        dims: dict[str, list[int]] = {}
        for group in groups:
            for span in group.spans:
                if span.power and span.dim not in dims.setdefault(span.tensor, []):
                    dims[span.tensor].append(span.dim)
        self._groups = groups
        self._squares = {name: _Squares(tensors[name], sorted(some)) for name, some in dims.items()}
        self._logs = torch.zeros(sum(group.size for group in groups), dtype=torch.float64)

    def scales(self) -> list[tuple[Group, Float[Tensor, " _"]]]:
        """Every group with the scales of its neurons."""
        left_out = self._leave_out()
        counted = self._per_group(torch.ones_like(self._logs))
        for number, neurons in left_out:
            counted[number][neurons] = 0
        self._balance(counted)
        for number, neurons in reversed(left_out):
            self._count(number, neurons, 1.0)
            up, down = self._sides(number)
            step = torch.where(up > 0, -_half_log(up), torch.where(down > 0, _half_log(down), 0.0))
            self._move(number, torch.where(neurons, step / self._largest_power(number), 0.0))
        self._logs.clamp_(-_LARGEST_LOG, _LARGEST_LOG)
        return list(zip(self._groups, (own.exp() for own in self._per_group(self._logs)), strict=True))

    def _leave_out(self) -> list[tuple[int, Bool[Tensor, " _"]]]:
        """Leaves out neurons that have nothing on one side; groups by number, and which of their neurons, in order."""
        counted = [torch.ones(group.size, dtype=torch.bool) for group in self._groups]
        found: list[tuple[int, Bool[Tensor, " _"]]] = []
        seen = -1
        while len(found) > seen:
            seen = len(found)
            for number in range(len(self._groups)):
                up, down = self._sides(number)
                one_sided = counted[number] & ((up == 0) | (down == 0))
                if one_sided.any():
                    counted[number] &= ~one_sided
                    self._count(number, one_sided, 0.0)
                    found.append((number, one_sided))
        return found

    def _balance(self, counted: Sequence[Float[Tensor, " _"]]) -> None:
        """Balances the neurons that count. Sweeps take one group after the other.

        Of deep stacks they would need hundreds; mixing the results of some, as Anderson does, needs tens.
        """
        points, steps = [], []
        for _ in range(_MOST_SWEEPS if counted else 0):
            point = self._logs.clone()
            for number, counts in enumerate(counted):
                up, down = self._sides(number)
                step = (_half_log(down) - _half_log(up)) / sum(self._powers(number))
                self._move(number, torch.where(counts > 0, step, 0.0))
            step = self._logs - point
            if float(step.abs().max()) < _CONVERGED:
                return
            points, steps = [*points[-_MEMORY:], point], [*steps[-_MEMORY:], step]
            if len(steps) == 1:
                continue
            moves, changes = (torch.stack(several, 1).diff(dim=1) for several in (points, steps))
            weights = torch.linalg.lstsq(changes, step[:, None], driver="gelsd").solution
            mixed = self._logs - ((moves + changes) @ weights)[:, 0]
            if float(mixed.abs().max()) < _LARGEST_LOG:
                for number, (new, old) in enumerate(zip(*map(self._per_group, (mixed, self._logs)), strict=True)):
                    self._move(number, new - old)

    def _sides(self, number: int) -> tuple[Float[Tensor, " _"], Float[Tensor, " _"]]:
        """Of each neuron, the sum of squares of what is multiplied by its scale, and of what is divided by it."""
        group = self._groups[number]
        up, down = (torch.zeros(group.size, dtype=torch.float64) for _ in range(2))
        for span, positions in group.places:
            if span.power:
                side = up if span.power > 0 else down
                side += abs(span.power) * self._squares[span.tensor].along(span.dim)[positions].sum(1)
        return up, down

    def _powers(self, number: int) -> tuple[int, int]:
        """The largest exponents of a group's scale, on both sides."""
        powers = [span.power for span in self._groups[number].spans]
        return max([1, *powers]), max([1, *(-power for power in powers)])

    def _largest_power(self, number: int) -> int:
        return max(self._powers(number))

    def _move(self, number: int, step: Float[Tensor, " _"]) -> None:
        """Scales the neurons of a group by exp(step)."""
        self._per_group(self._logs)[number].add_(step)
        group = self._groups[number]
        for span, positions in group.places:
            if span.power:
                self._squares[span.tensor].logs[span.dim][positions] += span.power * step[:, None]

    def _count(self, number: int, neurons: Bool[Tensor, " _"], count: float) -> None:
        """Lets neurons of a group count, or not."""
        for span, positions in self._groups[number].places:
            if span.power:
                self._squares[span.tensor].counts[span.dim][positions[neurons]] = count

    def _per_group(self, neurons: Float[Tensor, " _"]) -> Sequence[Float[Tensor, " _"]]:
        """Views of a vector over all neurons, one a group."""
        return neurons.split([group.size for group in self._groups])


def _half_log(squares: Float[Tensor, " _"]) -> Float[Tensor, " _"]:
    """The logarithm of a norm."""
    return squares.clamp_min(torch.finfo(torch.float64).tiny).log() / 2


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
