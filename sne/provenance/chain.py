"""The chain: a vector of a network that permutations, scales and signs of hidden units do not change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
from jaxtyping import Float, Int

from sne.networks import Layer, LayerType, Network, Part, Role
from sne.provenance.assumed import scaled_by_batch_norms, sequential_symmetry
from sne.provenance.layouts import kept_by_layout

CHAIN = 256
"""Length of the chain."""

PROBES = 24
"""Number of random inputs, and of random combinations of outputs, that are passed through the matrices."""

DEPTHS = 40
"""Largest number of matrices from either end of which the chain has something."""

OUTPUTS = 16
"""Number of outputs of the last matrix that are kept, in their order."""

BATCH_NORM_EPSILON = 1e-5
"""What batch norms add to the variance."""

_UPPER = np.triu_indices(PROBES)

_MAIN_GATES = ("new gate", "cell gate")
"""Gates that change their sign with the unit."""


@dataclass(frozen=True)
class _Units:
    """The hidden units on an axis of a matrix.

    Args:
        group: Number of their group.
        unit: Unit of each entry.
        copy: Number of the entry among those of its unit, such as a position of an image.
    """

    group: int
    unit: Int[np.ndarray, " entries"]
    copy: Int[np.ndarray, " entries"]


@dataclass
class _Matrix:
    """A matrix, with the hidden units that it feeds and reads.

    Args:
        part: The part whose values it has.
        values: Values with the scales of norms.
        feeds: Units on the rows; None if they belong to no group.
        reads: Units on the columns; None if they belong to no group.
    """

    part: Part
    values: Float[np.ndarray, "out in kernel"]
    feeds: _Units | None
    reads: _Units | None

    @property
    def is_side_gate(self) -> bool:
        """Whether it feeds a gate of a recurrent layer that keeps its sign when the unit changes its own."""
        return self.part.label.endswith(" gate") and self.part.label not in _MAIN_GATES

    def turned(self) -> "_Matrix":
        """Returns the transposed matrix, which reads what this one feeds."""
        return _Matrix(self.part, self.values.transpose(1, 0, 2), self.reads, self.feeds)


class Chain:
    """Collects the matrices and norms of a network, and computes its chain.

    Random inputs are passed through the matrices without activations, from the inputs on, and random combinations of
    outputs from the outputs back. A unit has the numbers of all probes at its place, at norm 1. The products of these
    numbers, summed over the units of a matrix (a Gram matrix of the probes), do not depend on the order, the signs and
    the scales of hidden units: a unit's scale multiplies what feeds it and divides what reads it. Gram matrices of all
    depths, each at norm 1, are projected to one vector, those near the inputs and the outputs with the largest weights,
    because further training changes them least. Batch norms scale the matrix before them, and other norms what is read
    after them.

    Which axes have the same hidden units follows from names and shapes (`sequential_symmetry`).

    Args:
        network: The network.
    """

    def __init__(self, network: Network) -> None:
        self._places = _places(network)
        self._matrices: list[_Matrix] = []
        self._scales: dict[tuple[int | None, int], Float[np.ndarray, " units"]] = {}
        self._normed = _normed(network)

    def add_matrix(self, part: Part, values: Float[np.ndarray, "out in kernel"]) -> None:
        """Adds a matrix; parts are added in the order of the network."""
        ends = [_units(self._places, part, axis) for axis in (part.out_axis, part.in_axis)]
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        values = values / max(float(np.abs(values).max()), 1e-30)  # squares of huge values overflow
        scale = self._scales.get(_key(ends[1], values.shape[1]))
        matrix = _Matrix(part, values if scale is None else values * scale[:, None], *ends)
        self._matrices.append(matrix)

    def add_vector(self, layer: Layer, part: Part, values: Float[np.ndarray, " units"]) -> None:
        """Adds a vector of a norm: batch norms scale the matrix before them, others what is read after them."""
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        if layer.type is LayerType.BATCH_NORM:
            if part.role is Role.RUNNING_VAR:
                values = (np.abs(values) + BATCH_NORM_EPSILON) ** -0.5
            elif part.role is not Role.SCALE:
                return
            for matrix in self._matrices:
                if matrix.part == self._normed.get(layer.name):
                    matrix.values = matrix.values * values[:, None, None]
        elif part.role is Role.SCALE:
            self._scales[_key(_units(self._places, part, part.out_axis), len(values))] = values

    def features(self) -> Float[np.ndarray, " chain"]:
        """Returns the chain."""
        backward = [
            one.turned()
            for one in reversed(self._matrices)
            if not one.is_side_gate and one.part.role is not Role.RECURRENT_WEIGHT
        ]
        found = np.zeros(CHAIN)
        for side, matrices in enumerate((self._matrices, backward)):
            for depth, gram in enumerate(islice(_grams(matrices, side), DEPTHS)):
                length = float(np.linalg.norm(gram))
                if length > 0:
                    projected = gram.astype(np.float32) @ _random(len(gram), CHAIN, side, depth)
                    found += projected / (length * (1 + depth) ** 0.5)
        return found / CHAIN**0.5


def _key(units: _Units | None, width: int) -> tuple[int | None, int]:
    return (None if units is None else units.group), width


@kept_by_layout
def _places(network: Network) -> dict[tuple[str, int], Int[np.ndarray, "3 axis"]]:
    """Returns group, unit and number of the copy of each entry of an axis, -1 without a group, by tensor and axis."""
    symmetry = sequential_symmetry(network)
    found: dict[tuple[str, int], Int[np.ndarray, "3 axis"]] = {}
    for number, group in enumerate(symmetry.groups):
        for span, positions in group.places:
            length = symmetry.shapes[span.tensor][span.dim]
            places = found.setdefault((span.tensor, span.dim), np.full((3, length), -1))
            units, copies = np.indices(positions.shape)
            places[:, positions.numpy()] = np.stack([np.full_like(units, number), units, copies])
    return found


@kept_by_layout
def _normed(network: Network) -> dict[str, Part]:
    """Returns the matrix whose rows each batch norm scales, by the name of the norm."""
    places = _places(network)

    def group_fed_by(part: Part) -> int | None:
        units = _units(places, part, part.out_axis or 0)
        return None if units is None else units.group

    return scaled_by_batch_norms(network, group_fed_by)


def _units(places: dict[tuple[str, int], Int[np.ndarray, "3 axis"]], part: Part, axis: int | None) -> _Units | None:
    """Returns the units on an axis of a part; None unless all its entries are units of one group."""
    found = places.get((part.tensor, axis)) if axis is not None else None
    if found is None:
        return None
    group, unit, copy = found[:, list(part.indices)] if part.axis == axis else found
    return _Units(int(group[0]), unit, copy) if group[0] >= 0 and bool((group == group[0]).all()) else None


def _grams(matrices: Sequence[_Matrix], side: int) -> Iterator[Float[np.ndarray, " products"]]:
    """Passes probes through matrices in order; yields products of the probes, summed over the units of each."""
    passed: dict[int, Float[np.ndarray, "_ probes"]] = {}
    for number, matrix in enumerate(matrices):
        if matrix.reads is not None and matrix.reads.group not in passed:
            continue
        found = _pass_through(matrix, passed, side)
        if matrix.feeds is None and number == len(matrices) - 1 and side == 0:
            yield found[:OUTPUTS].reshape(-1)  # outputs keep their order
            continue
        alike = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-30)
        yield (alike.T @ alike - np.eye(PROBES) * len(alike) / PROBES)[_UPPER]
        if matrix.feeds is not None and matrix.feeds.group not in passed and not matrix.is_side_gate:
            passed[matrix.feeds.group] = found / max(float(np.abs(found).max()), 1e-30)


def _pass_through(
    matrix: _Matrix, passed: dict[int, Float[np.ndarray, "_ probes"]], side: int
) -> Float[np.ndarray, "units probes"]:
    """Returns what a matrix makes of the probes, by unit where it feeds units, and by row otherwise.

    Probes at several positions of a unit, or of a kernel, are multiplied by random numbers of the position.
    """
    rows, columns, kernel = matrix.values.shape
    if matrix.reads is None:
        given = _random(columns, PROBES, 2, side)
    else:
        given = passed[matrix.reads.group][matrix.reads.unit]
        if matrix.reads.copy.any():
            given = given * _random(int(matrix.reads.copy.max()) + 1, PROBES, 3)[matrix.reads.copy]
    if kernel > 1:
        given = (given[:, None] * _random(kernel, PROBES, 4)).reshape(-1, PROBES)
    found = matrix.values.reshape(rows, -1) @ given
    if matrix.feeds is None:
        return found
    if matrix.feeds.copy.any():
        found = found * _random(int(matrix.feeds.copy.max()) + 1, PROBES, 3)[matrix.feeds.copy]
    by_unit = np.zeros((int(matrix.feeds.unit.max()) + 1, PROBES))
    np.add.at(by_unit, matrix.feeds.unit, found)
    return by_unit


@lru_cache(maxsize=128)
def _random(rows: int, columns: int, *key: int) -> Float[np.ndarray, "rows columns"]:
    """Returns random numbers that depend on the arguments alone."""
    return np.random.default_rng((rows, columns, *key)).standard_normal((rows, columns)).astype(np.float32)
