"""The canonical point of an orbit: one representative of all networks that scalings and sign flips make of one."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sne.errors import SymmetryError
from sne.symmetry.symmetry import Group, Span, Symmetry
from sne.symmetry.transformation import Transformation, transformation_of

CANONICAL_KINDS = ("scaling", "sign")
"""Kinds of changes that have a canonical point. Permutations have no stable one: neurons that are nearly equal would
trade places when a weight changes slightly. Encoders that read neurons as sets do not need one."""

_CONVERGED = 1e-9
_MAX_SWEEPS = 300
_LARGEST_LOG = 100.0  # of a scale; without a bound, scales of a group without a minimum would overflow
_PIECE = 1 << 16  # entries that are squared at a time, few enough for the cache
_MEMORY = 12  # previous sweeps that Anderson mixing combines


def canonical_transformation(
    symmetry: Symmetry,
    state: Mapping[str, Tensor],
    kinds: Sequence[str] = CANONICAL_KINDS,
    tolerance: float = _CONVERGED,
) -> Transformation:
    """Finds the transformation that brings a network to the canonical point of its orbit.

    The scales minimise the sum of all squared weights. The signs make the sum of all weights that flip with a neuron
    non-negative, group after group. Signs are undetermined where two groups flip the same entries, as channels and
    heads of grouped-query attention do; some of these signs stay as they are. So may scales of neurons that are
    disconnected from both inputs and outputs.

    Args:
        symmetry: Symmetry of the network.
        state: Tensors by name.
        kinds: "scaling", "sign" or both.
        tolerance: Largest change of the logarithm of a scale in the last sweep.

    Returns:
        A transformation g such that `apply(g, state)` is the same, up to rounding, for every copy of the network that
        these kinds of changes make.

    Raises:
        SymmetryError: A kind has no canonical point, or a tensor is missing or has another shape.

    Example:
        >>> import torch, sne
        >>> spans = (sne.symmetry.Span("a", 0, power=1), sne.symmetry.Span("b", 0, power=-1))
        >>> group = sne.symmetry.Group("hidden", 1, spans, ("scaling",))
        >>> symmetry = sne.symmetry.Symmetry((group,), shapes={"a": (1,), "b": (1,)})
        >>> state = {"a": torch.tensor([1.0]), "b": torch.tensor([16.0])}
        >>> sne.symmetry.apply(canonical_transformation(symmetry, state), state)
        {'a': tensor([4.]), 'b': tensor([4.])}

    Source: the scales that minimise the weights are those of Stock et al., "Equi-normalization of neural networks",
        arXiv 1902.10416.
    Differs: arbitrary groups of neurons, with all spans of a neuron scaled at once.
    """
    unknown = [kind for kind in kinds if kind not in CANONICAL_KINDS]
    if unknown:
        raise SymmetryError(f"kind {unknown[0]!r} has no canonical point, expected {' or '.join(CANONICAL_KINDS)}")
    wanted = [group for group in symmetry.groups if any(kind in group.kinds for kind in kinds)]
    tensors = _scaled_tensors(symmetry, wanted, state)
    factors = {group.name: torch.ones(group.size, dtype=torch.float64) for group in wanted}
    scales: list[tuple[Group, Float[Tensor, " _"]]] = []
    if "scaling" in kinds:
        scales = _Balance([group for group in wanted if "scaling" in group.kinds], tensors, tolerance).scales()
    for group, scale in scales:
        factors[group.name] *= scale
    if "sign" in kinds:
        sums = _summed_values(wanted, tensors)
        for group, scale in scales:
            _multiply(sums, group, scale)
        for group, sign in _settle_signs([group for group in wanted if "sign" in group.kinds], sums):
            factors[group.name] *= sign
            _multiply(sums, group, sign)
    return transformation_of(symmetry, [(group, None, factors[group.name]) for group in wanted])


def _scaled_tensors(symmetry: Symmetry, groups: list[Group], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors that the groups scale, on the CPU."""
    names = {span.tensor: [span.tensor] for group in groups for span in group.spans if span.power}
    for alias, tensor in symmetry.aliases.items():
        names.get(tensor, []).append(alias)
    tensors = {}
    for tensor, known_as in names.items():
        present = next((name for name in known_as if name in state), None)
        if present is None:
            raise SymmetryError(f"the state dict has no {tensor}, which this symmetry changes")
        values = state[present]
        if tuple(values.shape) != symmetry.shapes[tensor]:
            raise SymmetryError(f"{present} is {list(values.shape)}, expected {list(symmetry.shapes[tensor])}")
        tensors[tensor] = values.detach().cpu()
    return tensors


def _dims_of(groups: Sequence[Group]) -> dict[str, list[int]]:
    """Returns the axes on which groups are scaled or flipped, by tensor, sorted."""
    dims: dict[str, set[int]] = {}
    for group in groups:
        for span in group.spans:
            if span.power:
                dims.setdefault(span.tensor, set()).add(span.dim)
    return {tensor: sorted(some) for tensor, some in dims.items()}


def _summed_values(groups: Sequence[Group], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the sums of the tensors over the axes on which no neuron is scaled or flipped; their sizes become 1."""
    sums = {}
    for name, dims in _dims_of(groups).items():
        rest = [dim for dim in range(tensors[name].ndim) if dim not in dims]
        whole = tensors[name]
        sums[name] = whole.sum(rest, keepdim=True, dtype=torch.float64) if rest else whole.to(torch.float64, copy=True)
    return sums


def _multiply(sums: Mapping[str, Tensor], group: Group, factor: Float[Tensor, " size"]) -> None:
    """Scales or flips the neurons of a group in the sums of all tensors."""
    for span, positions in group.places:
        if span.power:
            values = sums[span.tensor]
            along = torch.ones(values.shape[span.dim], dtype=torch.float64)
            along[positions] = (factor**span.power)[:, None]
            values *= along.view([-1 if dim == span.dim else 1 for dim in range(values.ndim)])


def _summed_squares(tensor: Tensor, rest: list[int]) -> Tensor:
    """Returns the squares of a tensor, summed over some axes, in float64."""
    squares = tensor.double().square().nan_to_num_(nan=0.0, posinf=0.0)  # what is not finite carries no weight
    return squares.sum(rest) if rest else squares


class _Squares:
    """Sums of squares of one tensor while neurons on its axes are scaled or left out.

    Args:
        tensor: Values of the tensor.
        dims: Axes on which neurons are scaled.
    """

    def __init__(self, tensor: Tensor, dims: list[int]) -> None:
        rest = [dim for dim in range(tensor.ndim) if dim not in dims]
        pieces = tensor.split(max(1, _PIECE // max(1, tensor[:1].numel()))) if 0 in dims else [tensor]
        squares = torch.cat([_summed_squares(piece, rest) for piece in pieces])
        self._sums = squares
        self._places = {dim: place for place, dim in enumerate(dims)}
        self.logs = {dim: squares.new_zeros(tensor.shape[dim]) for dim in dims}
        self.counts = {dim: squares.new_ones(tensor.shape[dim]) for dim in dims}

    def along(self, dim: int) -> Float[Tensor, " axis"]:
        """Returns the sum of squares at each entry of an axis, over the entries of the other axes that count."""
        sums = self._sums
        for other, place in sorted(self._places.items(), reverse=True):
            if other != dim:
                sums = sums.movedim(place, -1) @ (self.counts[other] * (2 * self.logs[other]).exp())
        return sums * (2 * self.logs[dim]).exp()


class _Balance:
    """Finds the scales that minimise the sum of squares of all weights.

    The sum is convex in the logarithms of the scales, so the minimum does not depend on the network's current scales.
    At the minimum, the weights that are multiplied by a neuron's scale and those that are divided by it have equal
    sums of squares.

    A neuron with zeros on one side, as in a pruned network, has no minimum. Such neurons are left out, then those that
    have only zeros on one side without them, and so on. After the others are balanced, they return in reverse order,
    each scaled so that the side that is not zero has norm 1.

    Args:
        groups: Groups to scale.
        tensors: Weights by name.
        tolerance: Largest change of the logarithm of a scale in the last sweep.
    """

    def __init__(self, groups: list[Group], tensors: Mapping[str, Tensor], tolerance: float) -> None:
        self._tolerance = tolerance
        self._groups = groups
        self._squares = {name: _Squares(tensors[name], dims) for name, dims in _dims_of(groups).items()}
        self._logs = torch.zeros(sum(group.size for group in groups), dtype=torch.float64)

    def scales(self) -> list[tuple[Group, Float[Tensor, " _"]]]:
        """Returns every group with the scales of its neurons."""
        left_out = self._leave_out()
        counted = self._per_group(torch.ones_like(self._logs))
        for number, neurons in left_out:
            counted[number][neurons] = 0
        self._balance(counted)
        for number, neurons in reversed(left_out):
            self._count(number, neurons, 1.0)
            up, down = self._sides(number)
            step = torch.where(up > 0, -_log_norm(up), torch.where(down > 0, _log_norm(down), 0.0))
            self._move(number, torch.where(neurons, step / max(self._powers(number)), 0.0))
        self._logs.clamp_(-_LARGEST_LOG, _LARGEST_LOG)
        return list(zip(self._groups, (own.exp() for own in self._per_group(self._logs)), strict=True))

    def _leave_out(self) -> list[tuple[int, Bool[Tensor, " _"]]]:
        """Leaves out neurons with zeros on one side; returns group numbers and masks of neurons, in order."""
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
        """Balances the neurons that count, in sweeps over all groups.

        Deep stacks would need hundreds of sweeps. Anderson mixing, which extrapolates from the last sweeps, needs tens.
        """
        points, steps = [], []
        for _ in range(_MAX_SWEEPS if counted else 0):
            point = self._logs.clone()
            for number, counts in enumerate(counted):
                up, down = self._sides(number)
                step = (_log_norm(down) - _log_norm(up)) / sum(self._powers(number))
                self._move(number, torch.where(counts > 0, step, 0.0))
            step = self._logs - point
            if float(step.abs().max()) < self._tolerance:
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
        """Returns, per neuron, the sums of squares of the weights that its scale multiplies and divides."""
        group = self._groups[number]
        up, down = (torch.zeros(group.size, dtype=torch.float64) for _ in range(2))
        for span, positions in group.places:
            if span.power:
                side = up if span.power > 0 else down
                side += abs(span.power) * self._squares[span.tensor].along(span.dim)[positions].sum(1)
        return up, down

    def _powers(self, number: int) -> tuple[int, int]:
        """Returns the largest exponents of a group's scale among the weights that it multiplies and divides."""
        powers = [span.power for span in self._groups[number].spans]
        return max([1, *powers]), max([1, *(-power for power in powers)])

    def _move(self, number: int, step: Float[Tensor, " _"]) -> None:
        """Scales the neurons of a group by exp(step)."""
        self._per_group(self._logs)[number].add_(step)
        group = self._groups[number]
        for span, positions in group.places:
            if span.power:
                self._squares[span.tensor].logs[span.dim][positions] += span.power * step[:, None]

    def _count(self, number: int, neurons: Bool[Tensor, " _"], count: float) -> None:
        """Includes (1) or leaves out (0) neurons of a group."""
        for span, positions in self._groups[number].places:
            if span.power:
                self._squares[span.tensor].counts[span.dim][positions[neurons]] = count

    def _per_group(self, neurons: Float[Tensor, " _"]) -> Sequence[Float[Tensor, " _"]]:
        """Returns the views of a vector over all neurons, one per group."""
        return neurons.split([group.size for group in self._groups])


def _log_norm(squares: Float[Tensor, " _"]) -> Float[Tensor, " _"]:
    """Returns the logarithm of a norm, from the sum of squares."""
    return squares.clamp_min(torch.finfo(torch.float64).tiny).log() / 2


def _settle_signs(groups: list[Group], sums: Mapping[str, Tensor]) -> Iterator[tuple[Group, Float[Tensor, " _"]]]:
    """Yields signs that make the sum of all weights that flip with a neuron non-negative.

    A span determines the signs of a group once all other groups that flip it are settled. The group with the fewest
    unsettled spans is settled next, and flipped before the next one is requested. If no span determines any group, two
    groups may flip the same entries; the first of them then keeps its signs. Counts change only for groups that share a
    tensor with the settled one.
    """
    flipping: dict[str, list[tuple[Span, Group]]] = {}
    for group in groups:
        for span in _flipped(group):
            flipping.setdefault(span.tensor, []).append((span, group))
    unsettled = {number: (group, *_determining_spans(group, flipping)) for number, group in enumerate(groups)}
    while unsettled:
        ready = [number for number, (_, spans, _) in unsettled.items() if spans]
        number = min(ready, key=lambda number: unsettled[number][2], default=next(iter(unsettled)))
        group, spans, _ = unsettled.pop(number)
        touched = set()
        for span in _flipped(group):
            flipping[span.tensor] = [one for one in flipping[span.tensor] if one[1] is not group]
            touched.update(id(owner) for _, owner in flipping[span.tensor])
        for number, (other, _, _) in unsettled.items():
            if id(other) in touched:
                unsettled[number] = (other, *_determining_spans(other, flipping))
        if not spans:
            continue
        total = torch.zeros(group.size, dtype=torch.float64)
        for span in spans:
            tensor = sums[span.tensor].movedim(span.dim, 0)
            total += tensor.reshape(len(tensor), -1).sum(1)[span.positions(group.size)].sum(1)
        sign = torch.where(total < 0, -1.0, 1.0).double()
        yield group, sign


def _flipped(group: Group) -> list[Span]:
    """Returns the spans in which the signs of a group count."""
    return [span for span in group.spans if span.power % 2]


def _determining_spans(group: Group, flipping: Mapping[str, list[tuple[Span, Group]]]) -> tuple[list[Span], int]:
    """Returns the spans that no other unsettled group flips, and the number of the group's remaining flipped spans.

    Args:
        group: The group.
        flipping: Flipped spans of all unsettled groups with their owners, by tensor.
    """
    flipped = _flipped(group)
    determining = [
        span
        for span in flipped
        if not any(other is not span and _meet(span, group, other, owner) for other, owner in flipping[span.tensor])
    ]
    return determining, len(flipped) - len(determining)


def _meet(span: Span, group: Group, other: Span, owner: Group) -> bool:
    """Whether two spans of one tensor have entries in common."""
    return span.dim != other.dim or (span.start < other.end(owner.size) and other.start < span.end(group.size))
