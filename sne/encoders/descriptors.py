"""Descriptors: numbers that describe one weight tensor, independently of its size.

A descriptor holds the scale of a tensor, its distribution and spectrum, the spread of norms and angles of the neurons
that it feeds and reads, and the patterns of its kernels. No entry changes when neurons are permuted. Only the entries
that state scale or size change when the tensor is multiplied by a number: weights of one zoo range from 1e-4 to 10, so
scale enters as a logarithm and everything else is relative to it.
"""

import math
from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.encoders.features import FLOOR, TINY, FeatureBlock, compute_features, names_of, quantile_names, signed_log
from sne.encoders.quantiles import MAX_SORTED, SLICE_ENTRIES, counted_quantiles, slices, sorted_quantiles

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
SPECTRUM_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
NORM_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
ANGLE_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)

MAX_NEURONS = 512
"""Number of neurons from which spectrum and angles are computed; wider tensors are sampled evenly by rank of norm."""
MAX_INPUTS = 2048
"""Number of inputs per neuron from which spectrum and angles are computed."""

NUM_SINGULAR_VALUES = 6
"""Number of largest singular values that are features of their own."""
WAVES = 3
"""Number of wave orders along each axis of a kernel."""


def evenly(size: int, most: int) -> Int[Tensor, " indices"]:
    """Returns at most `most` evenly spaced indices below `size`, the first included."""
    return torch.arange(size) if size <= most else torch.arange(most) * size // most


def distribution(values: Float[Tensor, "batch n"]) -> Float[Tensor, "batch features"]:
    """Computes the log scale, and moments and quantiles relative to the scale.

    Args:
        values: Entries of one tensor, one row per network.

    Returns:
        The log root mean square (rms); mean, standard deviation, signed log skewness, log kurtosis and mean magnitude
        of the entries divided by their rms; quantiles at `QUANTILES`, likewise divided.
    """
    if values.shape[1] > MAX_SORTED:
        return torch.stack([_distribution_in_slices(row) for row in values])
    rms = values.square().mean(-1).sqrt() + TINY
    relative = values / rms[:, None]
    mean = relative.mean(-1)
    centred = relative - mean[:, None]
    third, fourth = centred.pow(3).mean(-1), centred.pow(4).mean(-1)
    moments = [rms.log(), mean, centred.square().mean(-1).sqrt(), third, fourth, relative.abs().mean(-1)]
    return _compressed(torch.stack(moments, -1), sorted_quantiles(relative.sort(-1).values, QUANTILES))


def _distribution_in_slices(values: Float[Tensor, " n"]) -> Float[Tensor, " features"]:
    """Returns the same features of one large tensor, in memory that does not depend on its size."""
    sums = torch.zeros(5, dtype=torch.float64)
    for piece in slices(values):
        x = piece.double()
        square = x.square()
        sums += torch.stack([x.sum(), square.sum(), square @ x, square @ square, x.abs().sum()])
    rms = (sums[1] / len(values)).sqrt() + TINY
    powers = torch.stack([rms, rms**2, rms**3, rms**4, rms])
    first, second, third, fourth, magnitude = sums / len(values) / powers
    centred_third = third - 3 * first * second + 2 * first**3
    centred_fourth = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    deviation = (second - first**2).clamp_min(0.0).sqrt()
    moments = [rms.log(), first, deviation, centred_third, centred_fourth.clamp_min(0.0), magnitude]
    quantiles = counted_quantiles(values, QUANTILES).double() / rms
    return _compressed(torch.stack(moments).float()[None], quantiles.float()[None])[0]


def _compressed(
    moments: Float[Tensor, "batch moments"], quantiles: Float[Tensor, "batch quantiles"]
) -> Float[Tensor, "batch features"]:
    """Returns the moments and quantiles, with those that grow with the number of entries on a logarithmic scale."""
    scale, mean, deviation, third, fourth, magnitude = moments.unbind(-1)
    third = third.sign() * third.abs().log1p()
    moments = torch.stack([scale, mean, deviation, third, fourth.log1p(), magnitude], -1)
    return torch.cat([moments, quantiles.sign() * quantiles.abs().log1p()], -1)


def spectrum(matrix: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch features"]:
    """Computes singular values relative to the Frobenius norm: quantiles, participation ratio, the largest ones."""
    if matrix.shape[1] > matrix.shape[2]:
        matrix = matrix.transpose(1, 2)
    matrix = matrix.double()  # in single precision, the noise of a null space would exceed FLOOR
    gram = matrix @ matrix.transpose(1, 2)
    energy = torch.linalg.eigvalsh(gram).clamp_min(0.0)
    share = energy / (energy.sum(-1, keepdim=True) + TINY**2)
    count = matrix.shape[1]
    values = (share * count).sqrt().float()
    quantiles = sorted_quantiles(values, SPECTRUM_QUANTILES)
    participation = 1.0 / (share.square().sum(-1) * count + TINY)
    top = share.flip(-1)[:, :NUM_SINGULAR_VALUES].sqrt().float()
    missing = NUM_SINGULAR_VALUES - top.shape[1]
    top = torch.nn.functional.pad((top + FLOOR).log(), (0, missing), value=math.log(FLOOR))
    return torch.cat([(quantiles + FLOOR).log(), participation.float().log()[:, None], top], -1)


def angles(matrix: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch features"]:
    """Computes quantiles, mean magnitude and spread of the cosines between rows; zeros if there is only one row."""
    if matrix.shape[1] < 2:
        return matrix.new_zeros(len(matrix), len(ANGLE_ENTRIES))
    unit = matrix / (matrix.norm(dim=-1, keepdim=True) + TINY)
    cosines = unit @ unit.transpose(1, 2)
    first, second = torch.triu_indices(matrix.shape[1], matrix.shape[1], 1)
    cosines = cosines[:, first, second]
    quantiles = sorted_quantiles(cosines.sort(-1).values, ANGLE_QUANTILES)
    spread = cosines.std(-1, keepdim=True, unbiased=False)
    return torch.cat([quantiles, cosines.abs().mean(-1, keepdim=True), spread], -1)


def norms(squares: Float[Tensor, "batch n"]) -> Float[Tensor, "batch features"]:
    """Computes log quantiles and log spread of the norms of neurons relative to their rms, from squared norms."""
    relative = (squares / (squares.mean(-1, keepdim=True) + TINY**2)).sqrt()
    logs = (relative + FLOOR).log()
    quantiles = sorted_quantiles(logs.sort(-1).values, NORM_QUANTILES)
    return torch.cat([quantiles, logs.std(-1, keepdim=True, unbiased=False)], -1)


def cosines_up_to_second(positions: int) -> Float[Tensor, "waves positions"]:
    """Returns the waves of orders 0, 1 and 2 along each axis of a kernel (discrete cosine transform).

    Args:
        positions: Number of kernel positions. A square number is read as a square kernel, any other as a line.

    Returns:
        At most nine orthonormal rows; a kernel with two positions per axis has fewer orders.
    """
    side = math.isqrt(positions)
    side = side if side * side == positions else positions
    orders = torch.arange(min(side, WAVES), dtype=torch.float32)
    waves = torch.cos(math.pi * (torch.arange(side) + 0.5) * orders[:, None] / side)
    waves = waves / waves.norm(dim=1, keepdim=True)
    if side == positions:
        return waves
    return torch.einsum("pi,qj->pqij", waves, waves).reshape(-1, positions)


def kernel_waves(weights: Float[Tensor, "batch out in kernel"]) -> Float[Tensor, "batch features"]:
    """Describes the patterns of a convolution's kernels: flat patches, edges, corners.

    Returns:
        The log of each low wave's share of the kernels' energy; how far the coefficient of each wave has one sign
        throughout the layer; the log shares of the centre and of the weakest position.
    """
    batch, num_out, num_in, kernel = weights.shape
    if kernel == 1:
        return weights.new_zeros(batch, len(KERNEL_ENTRIES))
    basis = cosines_up_to_second(kernel).to(weights).T
    energy, signed, by_position = (weights.new_zeros(batch, size) for size in (basis.shape[1],) * 2 + (kernel,))
    total = weights.new_zeros(batch)
    for _, _, tile in tiles(weights):
        coefficients = tile @ basis
        squares = tile.square()
        energy += coefficients.square().sum((1, 2))
        signed += coefficients.sum((1, 2))
        by_position += squares.sum((1, 2))
        total += squares.sum((1, 2, 3))
    num_kernels = num_out * num_in
    mean_square = (total / (num_kernels * kernel))[:, None] + TINY**2
    shares = (energy / num_kernels / mean_square + FLOOR).log()
    signs = signed_log(signed / num_kernels / mean_square.sqrt(), 0.05)
    waves = torch.stack([shares, signs], 1)
    waves = torch.nn.functional.pad(waves, (0, WAVES * WAVES - waves.shape[2])).flatten(1)
    positions = (by_position / num_kernels / mean_square + FLOOR).log()
    return torch.cat([waves, torch.stack([positions[:, kernel // 2], positions.amin(1)], 1)], 1)


def tiles(
    weights: Float[Tensor, "batch out in kernel"],
) -> Iterator[tuple[slice, slice, Float[Tensor, "batch _ _ kernel"]]]:
    """Yields a tensor in blocks of rows and columns: small tensors in one block, large ones in small blocks.

    Yields:
        The rows, the columns and the entries of each block.
    """
    batch, num_out, num_in, kernel = weights.shape
    rows, columns = num_out, num_in
    if num_out * num_in * kernel > MAX_SORTED:
        columns = max(1, min(num_in, SLICE_ENTRIES // (batch * kernel)))
        rows = max(1, SLICE_ENTRIES // (batch * kernel * columns))
    for first_row in range(0, num_out, rows):
        for first_column in range(0, num_in, columns):
            some_rows, some_columns = slice(first_row, first_row + rows), slice(first_column, first_column + columns)
            yield some_rows, some_columns, weights[:, some_rows, some_columns]


class MeasuredTensor:
    """One tensor of several networks, with the quantities that several blocks of features share.

    Args:
        weights: The tensor with the axes out, in, kernel positions, stacked over networks of one layout.
    """

    def __init__(self, weights: Float[Tensor, "batch out in kernel"]) -> None:
        self.weights = weights
        self.batch, self.num_out, self.num_in, self.kernel = weights.shape
        self.is_matrix = is_described_as_matrix((self.num_out, self.num_in, self.kernel))

    @cached_property
    def distribution(self) -> Float[Tensor, "batch features"]:
        """Features of the block "distribution"; the first one is the log rms."""
        return distribution(self.weights.reshape(self.batch, -1))

    @cached_property
    def squared_norms(self) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "batch in"]]:
        """Squared norms of the neurons that the tensor feeds, and of those that it reads."""
        rows = self.weights.new_zeros(self.batch, self.num_out)
        columns = self.weights.new_zeros(self.batch, self.num_in)
        for some_rows, some_columns, tile in tiles(self.weights):
            squares = tile.square()
            rows[:, some_rows] += squares.sum((2, 3))
            columns[:, some_columns] += squares.sum((1, 3))
        return rows, columns

    @cached_property
    def sample(self) -> Float[Tensor, "batch _ _ kernel"]:
        """The tensor itself, or a sample of its neurons: evenly spaced in the order of their norms."""
        return _sample_neurons(_sample_neurons(self.weights, 1), 2)

    @cached_property
    def rows(self) -> Float[Tensor, "batch rows inputs"]:
        """One row per neuron that the tensor feeds, as far as it is in the sample."""
        rows = self.sample.reshape(self.batch, self.sample.shape[1], -1)
        return rows[:, :, evenly(rows.shape[2], MAX_INPUTS)]

    @cached_property
    def columns(self) -> Float[Tensor, "batch columns outputs"]:
        """One row per neuron that the tensor reads, as far as it is in the sample."""
        columns = self.sample.transpose(1, 2).reshape(self.batch, self.sample.shape[2], -1)
        return columns[:, :, evenly(columns.shape[2], MAX_INPUTS)]


def _sample_neurons(weights: Float[Tensor, "batch out in kernel"], axis: int) -> Float[Tensor, "batch _ _ kernel"]:
    """All neurons of an axis in their order, or at most `MAX_NEURONS` evenly spaced ones in the order of their norms.

    The sample does not depend on the order in which neurons are stored: norms and the sums that break ties are computed
    in double precision, so that rounding does not decide.
    """
    size = weights.shape[axis]
    if size <= MAX_NEURONS and size * weights.shape[3] <= MAX_INPUTS:
        return weights
    norms, cubes = weights.new_zeros(2, len(weights), size, dtype=torch.float64)
    for *places, tile in tiles(weights):
        x = tile.double()
        square = x.square()
        norms[:, places[axis - 1]] += square.sum((3 - axis, 3))
        cubes[:, places[axis - 1]] += (square * x).sum((3 - axis, 3))
    order = cubes.argsort(dim=-1, stable=True)
    order = order.gather(1, norms.gather(1, order).argsort(dim=-1, stable=True))
    chosen = order[:, evenly(size, MAX_NEURONS)]
    return torch.stack([tensor.index_select(axis - 1, some) for tensor, some in zip(weights, chosen, strict=True)])


def is_described_as_matrix(shape: tuple[int, int, int]) -> bool:
    """Returns whether a tensor of shape (out, in, kernel positions) has a spectrum, norms and angles."""
    num_out, num_in, kernel = shape
    return num_out > 1 and num_in * kernel > 1


def _shape(tensor: MeasuredTensor) -> Float[Tensor, "batch features"]:
    num_out, num_in, kernel = tensor.weights.shape[1:]
    sizes = [math.log(num_out), math.log(num_in), math.log(kernel), math.log(num_out * num_in * kernel)]
    return tensor.weights.new_tensor(sizes).expand(tensor.batch, -1)


def _gain(tensor: MeasuredTensor) -> Float[Tensor, "batch features"]:
    fan_in, fan_out = 0.5 * math.log(tensor.num_in * tensor.kernel), 0.5 * math.log(tensor.num_out * tensor.kernel)
    log_rms = tensor.distribution[:, 0]
    return torch.stack([log_rms + fan_in, log_rms + fan_out], -1)


def _matrix_block(
    name: str, entries: tuple[str, ...], compute: Callable[[MeasuredTensor], Tensor]
) -> FeatureBlock[MeasuredTensor]:
    """Returns a block that is zero for vectors and scalars."""

    def compute_or_zeros(tensor: MeasuredTensor) -> Tensor:
        return compute(tensor) if tensor.is_matrix else tensor.weights.new_zeros(tensor.batch, len(entries))

    return FeatureBlock(name, entries, compute_or_zeros)


def _kernel_sum_spectrum(tensor: MeasuredTensor) -> Float[Tensor, "batch features"]:
    if tensor.kernel == 1:
        return tensor.weights.new_zeros(tensor.batch, len(SPECTRUM_ENTRIES))
    return spectrum(tensor.sample.sum(-1))


DISTRIBUTION_ENTRIES = (
    "log_rms", "mean", "deviation", "skewness", "kurtosis", "mean_magnitude", *quantile_names(QUANTILES)
)  # fmt: skip
SPECTRUM_ENTRIES = (
    *quantile_names(SPECTRUM_QUANTILES), "participation",
    *(f"singular_value_{i + 1}" for i in range(NUM_SINGULAR_VALUES)),
)  # fmt: skip
NORM_ENTRIES = (*quantile_names(NORM_QUANTILES), "deviation")
ANGLE_ENTRIES = (*quantile_names(ANGLE_QUANTILES), "mean_magnitude", "deviation")
KERNEL_ENTRIES = (
    *(f"share_of_wave_{i}" for i in range(WAVES * WAVES)),
    *(f"sign_of_wave_{i}" for i in range(WAVES * WAVES)),
    "share_of_centre", "share_of_weakest_position",
)  # fmt: skip

DESCRIPTOR_BLOCKS: tuple[FeatureBlock[MeasuredTensor], ...] = (
    FeatureBlock("distribution", DISTRIBUTION_ENTRIES, lambda tensor: tensor.distribution),
    FeatureBlock("shape", ("log_outputs", "log_inputs", "log_kernel", "log_entries"), _shape),
    FeatureBlock("gain", ("log_fan_in", "log_fan_out"), _gain),
    _matrix_block("row_spectrum", SPECTRUM_ENTRIES, lambda tensor: spectrum(tensor.rows)),
    _matrix_block("kernel_sum_spectrum", SPECTRUM_ENTRIES, _kernel_sum_spectrum),
    _matrix_block("row_norms", NORM_ENTRIES, lambda tensor: norms(tensor.squared_norms[0])),
    _matrix_block("column_norms", NORM_ENTRIES, lambda tensor: norms(tensor.squared_norms[1])),
    _matrix_block("row_angles", ANGLE_ENTRIES, lambda tensor: angles(tensor.rows)),
    _matrix_block("column_angles", ANGLE_ENTRIES, lambda tensor: angles(tensor.columns)),
    FeatureBlock("kernel_waves", KERNEL_ENTRIES, lambda tensor: kernel_waves(tensor.weights)),
)
"""The features of a tensor. Rows belong to the neurons that it feeds, columns to those that it reads.

`gain` is the rms times the root of the number of inputs or outputs. `kernel_sum_spectrum` is the spectrum after
summing over kernel positions. Waves are numbered by rows of increasing vertical, then horizontal order.
"""

DESCRIPTOR_NAMES = names_of(DESCRIPTOR_BLOCKS)


def describe(weights: Float[Tensor, "batch out in kernel"]) -> Float[Tensor, "batch descriptor"]:
    """Describes one tensor of several networks.

    Tensors above `MAX_SORTED` entries are read in slices, so that the temporary copies stay small.

    Args:
        weights: The tensor with the axes out, in, kernel positions, stacked over networks of one layout.

    Returns:
        The features of `DESCRIPTOR_BLOCKS`, one row per network. Features that a shape cannot have (the spectrum of a
        vector) are zero.

    Example:
        >>> features = describe(torch.tensor([[[[3.0]], [[-3.0]]]]))[0]
        >>> round(float(features[DESCRIPTOR_NAMES.index("distribution/log_rms")]), 4)  # log 3
        1.0986

    Source: quantiles, mean and variance of each tensor are the features of Unterthiner et al., arXiv 2002.11448,
        section 4.
    Differs: scale is separated from form; spectrum, norms, angles and kernel waves are added.
    """
    return compute_features(DESCRIPTOR_BLOCKS, MeasuredTensor(weights))
