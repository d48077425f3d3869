"""Hidden units of two networks of one layout: what describes them, and which of them are most alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.networks import Network
from sne.provenance.places import spaced
from sne.provenance.states import ReadsInPart
from sne.symmetry.symmetry import Group, Span, Symmetry

MOST_COLUMNS = 512
"""Largest number of features of a unit that are taken from one tensor, at equal distances."""

MOST_SPANS = 8
"""Largest number of tensors that describe the units of one group, at equal distances."""

MOST_ASSIGNED = 1500
"""Largest number of units for which the best assignment is computed; of more, mutual nearest neighbours count."""

CHANNEL_FEATURES = 64
"""Number of features of a unit with channels that are taken from one tensor."""

LEAST_MASKED = 0.05
"""Least share of zeros of a mask."""

RANK_TOLERANCE = 1e-10
"""Least share of the sum of squares that a principal direction adds to the rank."""

SHARED_DIRECTIONS = 0.1
"""Share of the principal directions of all units that `own_features` removes, the largest ones first."""


@dataclass(frozen=True)
class UnitGroup:
    """Hidden units that may be permuted, with the tensors that feed them and that read them.

    Args:
        group: The group of the symmetry.
        feeding: Spans in which the units are fed: rows of weights, biases, norms.
        reading: Spans in which the units are read.
        flipped_by: Name of the group whose signs flip the units in a span, by span; other spans keep their signs.
        has_channels: Whether other units lie within these, as channels lie within the heads of an attention.
    """

    group: Group
    feeding: tuple[Span, ...]
    reading: tuple[Span, ...]
    flipped_by: Mapping[Span, str]
    has_channels: bool

    @property
    def size(self) -> int:
        """Number of units."""
        return self.group.size


class Units:
    """All hidden units of a layout, and the order in which they can be described.

    The features of a unit are entries of tensors. They are comparable between two networks if the other axes of these
    tensors are inputs, outputs or kernel positions, or hold units that are already in a common order.

    Args:
        symmetry: Symmetry of the layout.
        network: The network that has it; tells which axis of a tensor feeds units.
        tensors: Names of the tensors that both networks have.
    """

    def __init__(self, symmetry: Symmetry, network: Network, tensors: Mapping[str, Tensor]) -> None:
        axes = {part.tensor: (part.out_axis, part.in_axis) for _, part in network.parts()}
        self.symmetry = symmetry
        self.groups: list[UnitGroup] = []
        self._dims = {name: len(shape) for name, shape in symmetry.shapes.items()}
        self._groups_on: dict[tuple[str, int], set[str]] = {}
        self._channels = _channels(symmetry)
        signs: dict[tuple[str, int], list[tuple[Group, Span]]] = {}  # by tensor and axis
        for owner in symmetry.groups:
            for span in owner.spans if "sign" in owner.kinds else ():
                if span.power % 2:
                    signs.setdefault((span.tensor, span.dim), []).append((owner, span))
        for group in symmetry.groups:
            spans = [span for span in group.spans if span.tensor in tensors]
            if "permutation" not in group.kinds or group.size < 2 or not spans:
                continue
            reading = [span for span in spans if self._dims[span.tensor] > 1 and span.dim == axes[span.tensor][1]]
            feeding = [span for span in spans if span not in reading]
            flipped_by = {
                span: owner.name
                for span in spans
                for owner, other in signs.get((span.tensor, span.dim), ())
                if _covers(other, owner.size, span, group.size)
            }
            has_channels = bool(self._channels[group.name])
            self.groups.append(UnitGroup(group, tuple(feeding), tuple(reading), flipped_by, has_channels))
            for span in spans:
                self._groups_on.setdefault((span.tensor, span.dim), set()).add(group.name)

    def in_order(self, side: str) -> Iterator[tuple[UnitGroup, tuple[Span, ...]]]:
        """Yields each group with the spans that describe it, once the groups on their other axes have been yielded.

        Args:
            side: "feeding" or "reading": the spans to use; "both" for all. Units that nothing known reads, such as the
                residual stream of a transformer whose table of tokens is its last layer, too, are described by what
                feeds them from the inputs where "reading" gets no further, so that the units behind them can be.

        Returns:
            Groups with at least one such matrix. Vectors, such as biases, count only next to a matrix.
        """
        done: set[str] = set()
        todo = list(self.groups)
        while todo:
            found = [(group, spans) for group in todo if (spans := self._usable(group, side, done))]
            if not found and side == "reading":
                found = [(group, spans) for group in todo if (spans := self._usable(group, "feeding", set()))]
            if not found:
                return
            group, spans = max(found, key=lambda one: len([span for span in one[1] if self._dims[span.tensor] > 1]))
            done.add(group.group.name)
            todo.remove(group)
            yield group, spans

    def _usable(self, group: UnitGroup, side: str, done: set[str]) -> tuple[Span, ...]:
        spans = {"feeding": group.feeding, "reading": group.reading, "both": (*group.feeding, *group.reading)}[side]
        usable = [span for span in spans if self._others(span, group.group.name) <= done]
        has_matrix = any(self._dims[span.tensor] > 1 for span in usable)
        return tuple(usable) if has_matrix else ()

    def _others(self, span: Span, own: str) -> set[str]:
        """Returns the groups on the axes of a tensor, apart from the span itself and the channels within its units."""
        others = set()
        for dim in range(self._dims[span.tensor]):
            names = self._groups_on.get((span.tensor, dim), set())
            others |= names - {own} - self._channels[own] if dim == span.dim else names
        return others


def _covers(other: Span, other_size: int, span: Span, size: int) -> bool:
    """Whether one span has all entries of another one of the same axis."""
    return other.start <= span.start and other.end(other_size) >= span.end(size)


def _channels(symmetry: Symmetry) -> dict[str, set[str]]:
    """Returns, by group, the groups of several units that lie within one of its units each."""
    found: dict[str, set[str]] = {group.name: set() for group in symmetry.groups}
    for group in symmetry.groups:
        for span, positions in group.places:
            if span.inner == 1:
                continue
            owner = torch.full((symmetry.shapes[span.tensor][span.dim],), -1)
            owner[positions] = torch.arange(group.size)[:, None]
            for other in symmetry.groups:
                for inner, places in other.places if other is not group and "permutation" in other.kinds else ():
                    if (inner.tensor, inner.dim) == (span.tensor, span.dim):
                        owners = owner[places].unique()
                        if len(owners) == 1 and owners[0] >= 0:
                            found[group.name].add(other.name)
    return found


def unit_rows(state: Mapping[str, Tensor], group: Group, span: Span) -> Float[Tensor, "units features"]:
    """Returns the entries of each unit in one tensor, at most `MOST_COLUMNS`."""
    places = partial(spaced, most=MOST_COLUMNS)
    values = state.lines(span.tensor, span.dim, places) if isinstance(state, ReadsInPart) else None
    if values is None:
        values = state[span.tensor].movedim(span.dim, 0)
        if values.ndim > 1 and values.shape[1] > MOST_COLUMNS:
            values = values[:, spaced(values.shape[1], MOST_COLUMNS)]
    values = values[span.positions(group.size)].reshape(group.size, -1)
    if values.shape[1] > MOST_COLUMNS:
        values = values[:, spaced(values.shape[1], MOST_COLUMNS)]
    return values.float()


@dataclass(frozen=True)
class Block:
    """Features of the units of two networks that flip together.

    Args:
        first: Features of the first network's units.
        second: Features of the second network's units.
        can_flip: Whether a unit may have the opposite signs.
    """

    first: Float[Tensor, "units features"]
    second: Float[Tensor, "units features"]
    can_flip: bool


def features(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    group: UnitGroup,
    spans: Sequence[Span],
    without: Sequence[tuple[Tensor, Tensor]] = (),
) -> tuple[Block, ...]:
    """Describes the units of two networks by their entries in some tensors, each tensor at one scale.

    Units that have channels are described by sums of squares over channels, whose order may differ.

    Args:
        first: Tensors of one network.
        second: Tensors of the other network.
        group: The units.
        spans: Where the tensors hold them.
        without: Entries of the units of both networks in other matrices (`matrix_rows`). What is parallel to them is
            removed from the entries in matrices of as many columns.
    """
    found: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
    for span in _some(spans):
        pair = _entries(first, second, group, span)
        if pair is None:
            continue
        owner = "" if group.has_channels else group.flipped_by.get(span, "")
        removed = [both for both in without if both[0].shape == pair[0].shape]
        for number, (values, rows) in enumerate(zip(pair, found.setdefault(owner, ([], [])), strict=True)):
            rows.append(_without(values, [both[number] for both in removed]))
    if not found:
        zeros = torch.zeros(group.size, 1, dtype=torch.float32)
        return (Block(zeros, zeros, False),)
    return tuple(Block(torch.cat(one, 1), torch.cat(other, 1), owner != "") for owner, (one, other) in found.items())


def matrix_rows(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], group: UnitGroup, spans: Sequence[Span]
) -> list[tuple[Float[Tensor, "units features"], Float[Tensor, "units features"]]]:
    """Returns the entries of the units of two networks in each matrix, as `features` takes them."""
    found = [_entries(first, second, group, span) for span in _some(spans)]
    return [pair for pair in found if pair is not None and pair[0].shape[1] > 1]


def are_all_matrices_masked(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], group: UnitGroup, spans: Sequence[Span]
) -> bool:
    """Whether masks that both networks share leave no matrix to describe the units by.

    This is the case for networks that were pruned and then trained further with the same mask.

    Args:
        first: Tensors of one network.
        second: Tensors of the other network.
        group: The units.
        spans: Where the tensors hold them.
    """
    pairs = [_entries(first, second, group, span) for span in _some(spans)]
    return any(pair is None for pair in pairs) and not any(pair is not None and pair[0].shape[1] > 1 for pair in pairs)


def _some(spans: Sequence[Span]) -> Sequence[Span]:
    """Returns at most `MOST_SPANS`, at equal distances."""
    return [spans[i * len(spans) // MOST_SPANS] for i in range(MOST_SPANS)] if len(spans) > MOST_SPANS else spans


def _entries(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], group: UnitGroup, span: Span
) -> tuple[Float[Tensor, "units features"], Float[Tensor, "units features"]] | None:
    """Returns the entries of the units of two networks in one tensor, at one scale; None if both share a mask."""
    if group.has_channels:
        one, other = (_squares_of_channels(state, group.group, span) for state in (first, second))
    else:
        one, other = (unit_rows(state, group.group, span) for state in (first, second))
    return None if _has_shared_mask(one, other) else (_at_one_scale(one), _at_one_scale(other))


def _at_one_scale(values: Float[Tensor, "units features"]) -> Float[Tensor, "units features"]:
    values = values.nan_to_num(0.0, 0.0, 0.0)
    values = values / values.abs().max().clamp_min(torch.finfo(values.dtype).tiny)  # squares of huge values overflow
    return values / values.square().mean().sqrt().clamp_min(1e-20)


def _without(
    values: Float[Tensor, "units features"], others: Sequence[Float[Tensor, "units features"]]
) -> Float[Tensor, "units features"]:
    """Removes from each row what is parallel to the same row of other matrices, each without its mean row."""
    if not others:
        return values
    values = values - values.mean(0)
    directions, _ = torch.linalg.qr(torch.stack([other - other.mean(0) for other in others], -1))
    return values - (directions @ (directions.mT @ values[..., None]))[..., 0]


def _squares_of_channels(state: Mapping[str, Tensor], group: Group, span: Span) -> Float[Tensor, "units features"]:
    """Returns sums of squares, over the channels of each unit, of random combinations of the entries of a channel."""
    values = state[span.tensor].movedim(span.dim, 0)
    values = values[span.positions(group.size)].reshape(group.size * span.outer, span.inner, -1).float()
    values = values / values.abs().max().clamp_min(torch.finfo(values.dtype).tiny)  # squares of huge values overflow
    if values.shape[2] > 1:
        generator = torch.Generator().manual_seed(values.shape[2])
        values = values @ torch.randn(values.shape[2], CHANNEL_FEATURES, generator=generator, dtype=torch.float32)
    return values.square().sum(1).reshape(group.size, -1)


def _has_shared_mask(one: Float[Tensor, "units features"], other: Float[Tensor, "units features"]) -> bool:
    """Whether both have zeros at the same places only: a mask, by which units differ before any training."""
    zeros = one == 0
    return LEAST_MASKED < float(zeros.double().mean()) < 1 and torch.equal(zeros, other == 0)


def own_features(block: Block) -> Block:
    """Brings units to norm 1, and removes the directions in which the units of both networks vary most.

    Networks that learned the same task have units of the same types, although they are independent. Types differ in
    norm and along the largest principal directions; what a unit has beyond its type lies in the other directions.
    """
    both = torch.cat([block.first, block.second])
    both = both / both.norm(dim=1, keepdim=True).clamp_min(1e-20)
    both = both - both.mean(0)
    is_tall = len(both) > both.shape[1]
    wide = both.double()
    shared, rank = _largest_directions(wide.T @ wide if is_tall else wide @ wide.T)
    if rank == 0:
        return block
    if shared.shape[1]:
        both = both - (both @ shared @ shared.T if is_tall else shared @ (shared.T @ both))
    return Block(both[: len(block.first)], both[len(block.first) :], block.can_flip)


def _largest_directions(products: Float[Tensor, "n n"]) -> tuple[Float[Tensor, "n shared"], int]:
    """Returns the share `SHARED_DIRECTIONS` of the principal directions, and the rank.

    Args:
        products: Products of features, or of units; positive semidefinite.
    """
    size = len(products)
    most = int(SHARED_DIRECTIONS * size)
    if most == 0:
        return torch.zeros(size, 0), int(products.diagonal().max() > 0)
    from scipy.linalg import eigh, get_lapack_funcs  # slow to import, and not needed where the stored order tells

    (pivoted_cholesky,) = get_lapack_funcs(("pstrf",), (products.numpy(),))
    # the rank takes double precision, the directions do not
    rank = pivoted_cholesky(products.numpy(), tol=RANK_TOLERANCE * float(products.trace()))[2]
    vectors = eigh(products.float().numpy(), subset_by_index=(size - most, size - 1), check_finite=False)[1]
    return torch.from_numpy(vectors[:, ::-1][:, : int(SHARED_DIRECTIONS * rank)].copy()), rank


def similarity(blocks: Sequence[Block]) -> Float[Tensor, "units units"]:
    """Returns the cosine of each unit of one network with each of the other, with the better sign of each block."""
    total: Tensor | float = 0.0
    squares: list[Tensor | float] = [0.0, 0.0]
    for block in blocks:
        first, second = block.first, block.second
        if not block.can_flip:
            mean = torch.cat([first, second]).mean(0)
            first, second = first - mean, second - mean
        products = first @ second.T
        total = total + (products.abs() if block.can_flip else products)
        squares = [one + values.square().sum(1) for one, values in zip(squares, (first, second), strict=True)]
    norms = [torch.as_tensor(one).sqrt().clamp_min(1e-20) for one in squares]
    return torch.as_tensor(total) / norms[0][:, None] / norms[1]


def best_match(similar: Float[Tensor, "units units"], seed: int) -> Int[Tensor, " units"]:
    """Matches each unit of the first network with a unit of the second one.

    Args:
        similar: Similarity of each unit of the first network to each unit of the second one.
        seed: Seed of the order in which units are considered, so that equal units are not matched in stored order.

    Returns:
        The unit of the second network for each unit of the first one; -1 for units without a mutual nearest neighbour
        if there are more than `MOST_ASSIGNED`. No unit occurs twice.

    Example:
        >>> best_match(torch.tensor([[0.1, 0.9], [0.8, 0.7]]), seed=0).tolist()
        [1, 0]
    """
    size = len(similar)
    is_assigned = size <= MOST_ASSIGNED
    if is_assigned and (match := _all_nearest(similar)) is not None:
        return match
    if not is_assigned and not _has_ties(similar):
        return _mutual_nearest(similar)
    random = np.random.default_rng(seed)
    rows, columns = (torch.from_numpy(random.permutation(size)) for _ in range(2))
    shuffled = similar[rows][:, columns]
    if is_assigned:
        from scipy.optimize import linear_sum_assignment  # slow to import

        match = torch.from_numpy(linear_sum_assignment(shuffled.numpy(), maximize=True)[1])
    else:
        match = _mutual_nearest(shuffled)
    found = torch.full((size,), -1)
    found[rows] = torch.where(match >= 0, columns[match], -1)
    return found


def _all_nearest(similar: Float[Tensor, "units units"]) -> Int[Tensor, " units"] | None:
    """Returns the most similar unit of each, which is the best assignment if no two units share one; None otherwise."""
    most, nearest = similar.max(1)
    is_assignment = len(nearest.unique()) == len(nearest)
    return nearest if is_assignment and int((similar == most[:, None]).count_nonzero()) == len(nearest) else None


def _mutual_nearest(similar: Float[Tensor, "units units"]) -> Int[Tensor, " units"]:
    """Returns the most similar unit of each where that is mutual, -1 elsewhere."""
    nearest, back = similar.argmax(1), similar.argmax(0)
    return torch.where(back[nearest] == torch.arange(len(similar)), nearest, -1)


def _has_ties(similar: Float[Tensor, "units units"]) -> bool:
    """Whether several units are equally similar to one, more than all others."""
    most = (similar == similar.amax(1, keepdim=True)).count_nonzero(), (similar == similar.amax(0)).count_nonzero()
    return max(map(int, most)) > len(similar)
