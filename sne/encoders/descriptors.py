"""Descriptors: numbers that describe one weight tensor, independently of its size.

A descriptor holds the scale of a tensor, its distribution and spectrum, the spread of norms and angles of the neurons
that it feeds and reads, and the patterns of its kernels. No entry changes when neurons are permuted. Only the entries
that state scale or size change when the tensor is multiplied by a number: weights of one zoo range from 1e-4 to 10, so
scale enters as a logarithm and everything else is relative to it.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.encoders.features import (
    FLOOR,
    TINY,
    FeatureBlock,
    compute_features,
    deviation,
    names_of,
    quantile_names,
    signed_log,
)
from sne.encoders.kernel_waves import WAVES, WaveSums
from sne.encoders.measures import QUANTILES, MeasuredTensor
from sne.encoders.quantiles import ascending, sorted_quantiles

SPECTRUM_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
NORM_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
ANGLE_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)

NUM_SINGULAR_VALUES = 6
"""Number of largest singular values that are features of their own."""


def distribution(
    moments: Float[Tensor, "batch moments"], quantiles: Float[Tensor, "batch quantiles"]
) -> Float[Tensor, "batch features"]:
    """Arranges moments and quantiles as features.

    Args:
        moments: See `MeasuredTensor.moments`.
        quantiles: See `MeasuredTensor.quantiles`.

    Returns:
        The log rms; mean, deviation, signed log skewness, log kurtosis and mean magnitude; quantiles on a signed
        logarithmic scale, since they grow with the number of entries.
    """
    rms, mean, deviation, third, fourth, magnitude = moments.unbind(-1)
    third = third.sign() * third.abs().log1p()
    moments = torch.stack([rms.log(), mean, deviation, third, fourth.log1p(), magnitude], -1)
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
    unit = matrix / (torch.linalg.vector_norm(matrix, dim=-1, keepdim=True) + TINY)
    cosines = torch.bmm(unit, unit.transpose(1, 2)).flatten(1)[:, _pairs(matrix.shape[1])]
    quantiles = sorted_quantiles(ascending(cosines), ANGLE_QUANTILES)
    return torch.cat([quantiles, cosines.abs().mean(-1, keepdim=True), deviation(cosines)[:, None]], -1)


@cache
def _pairs(count: int) -> Int[Tensor, " pairs"]:
    """Returns the places of the pairs of different rows in a flat matrix of all pairs."""
    first, second = torch.triu_indices(count, count, 1)
    return first * count + second


def norms(squares: Float[Tensor, "batch n"]) -> Float[Tensor, "batch features"]:
    """Computes log quantiles and log spread of the norms of neurons relative to their rms, from squared norms."""
    relative = (squares / (squares.mean(-1, keepdim=True) + TINY**2)).sqrt()
    logs = (relative + FLOOR).log()
    return torch.cat([sorted_quantiles(ascending(logs), NORM_QUANTILES), deviation(logs)[:, None]], -1)


def kernel_waves(sums: WaveSums, num_kernels: int) -> Float[Tensor, "batch features"]:
    """Describes the patterns of a convolution's kernels: flat patches, edges, corners.

    Args:
        sums: Sums over the kernels.
        num_kernels: Number of kernels.

    Returns:
        The log of each low wave's share of the kernels' energy; how far the coefficient of each wave has one sign
        throughout the layer; the log shares of the centre and of the weakest position.
    """
    kernel = sums.positions.shape[1]
    mean_square = sums.positions.sum(1, keepdim=True) / (num_kernels * kernel) + TINY**2
    shares = (sums.energy / num_kernels / mean_square + FLOOR).log()
    signs = signed_log(sums.signed / num_kernels / mean_square.sqrt(), 0.05)
    waves = torch.stack([shares, signs], 1)
    waves = torch.nn.functional.pad(waves, (0, WAVES * WAVES - waves.shape[2])).flatten(1)
    positions = (sums.positions / num_kernels / mean_square + FLOOR).log()
    return torch.cat([waves, torch.stack([positions[:, kernel // 2], positions.amin(1)], 1)], 1)


def _shape(tensor: MeasuredTensor) -> Float[Tensor, "batch features"]:
    num_out, num_in, kernel = tensor.num_out, tensor.num_in, tensor.kernel
    sizes = [math.log(num_out), math.log(num_in), math.log(kernel), math.log(num_out * num_in * kernel)]
    return torch.tensor(sizes, dtype=torch.float32).expand(tensor.batch, -1)


def _gain(tensor: MeasuredTensor) -> Float[Tensor, "batch features"]:
    fan_in, fan_out = 0.5 * math.log(tensor.num_in * tensor.kernel), 0.5 * math.log(tensor.num_out * tensor.kernel)
    log_rms = tensor.moments[:, 0].log()
    return torch.stack([log_rms + fan_in, log_rms + fan_out], -1)


def _matrix_block(
    name: str, entries: tuple[str, ...], compute: Callable[[MeasuredTensor], Tensor]
) -> FeatureBlock[MeasuredTensor]:
    """Returns a block that is zero for vectors and scalars."""

    def compute_or_zeros(tensor: MeasuredTensor) -> Tensor:
        return compute(tensor) if tensor.is_matrix else torch.zeros(tensor.batch, len(entries), dtype=torch.float32)

    return FeatureBlock(name, entries, compute_or_zeros)


def _kernel_sum_spectrum(tensor: MeasuredTensor) -> Float[Tensor, "batch features"]:
    if tensor.kernel == 1:
        return torch.zeros(tensor.batch, len(SPECTRUM_ENTRIES), dtype=torch.float32)
    return spectrum(tensor.sample.sum(-1))


def _kernel_waves(tensor: MeasuredTensor) -> Float[Tensor, "batch features"]:
    if tensor.kernel == 1:
        return torch.zeros(tensor.batch, len(KERNEL_ENTRIES), dtype=torch.float32)
    return kernel_waves(tensor.waves, tensor.num_out * tensor.num_in)


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
    FeatureBlock("distribution", DISTRIBUTION_ENTRIES, lambda tensor: distribution(tensor.moments, tensor.quantiles)),
    FeatureBlock("shape", ("log_outputs", "log_inputs", "log_kernel", "log_entries"), _shape),
    FeatureBlock("gain", ("log_fan_in", "log_fan_out"), _gain),
    _matrix_block("row_spectrum", SPECTRUM_ENTRIES, lambda tensor: spectrum(tensor.rows)),
    _matrix_block("kernel_sum_spectrum", SPECTRUM_ENTRIES, _kernel_sum_spectrum),
    _matrix_block("row_norms", NORM_ENTRIES, lambda tensor: norms(tensor.squared_norms[0])),
    _matrix_block("column_norms", NORM_ENTRIES, lambda tensor: norms(tensor.squared_norms[1])),
    _matrix_block("row_angles", ANGLE_ENTRIES, lambda tensor: angles(tensor.rows)),
    _matrix_block("column_angles", ANGLE_ENTRIES, lambda tensor: angles(tensor.columns)),
    FeatureBlock("kernel_waves", KERNEL_ENTRIES, _kernel_waves),
)
"""The features of a tensor. Rows belong to the neurons that it feeds, columns to those that it reads.

`gain` is the rms times the root of the number of inputs or outputs. `kernel_sum_spectrum` is the spectrum after
summing over kernel positions. Waves are numbered by rows of increasing vertical, then horizontal order.
"""

DESCRIPTOR_NAMES = names_of(DESCRIPTOR_BLOCKS)


def describe(tensor: MeasuredTensor) -> Float[Tensor, "batch descriptor"]:
    """Describes one tensor of several networks.

    Args:
        tensor: Measurements of the tensor.

    Returns:
        The features of `DESCRIPTOR_BLOCKS`, one row per network. Features that a shape cannot have (the spectrum of a
        vector) are zero.

    Example:
        >>> from sne.encoders.measures import WholeTensor
        >>> features = describe(WholeTensor(torch.tensor([[[[3.0]], [[-3.0]]]])))[0]
        >>> round(float(features[DESCRIPTOR_NAMES.index("distribution/log_rms")]), 4)  # log 3
        1.0986

    Source: quantiles, mean and variance of each tensor are the features of Unterthiner et al., arXiv 2002.11448,
        section 4.
    Differs: scale is separated from form; spectrum, norms, angles and kernel waves are added.
    """
    return compute_features(DESCRIPTOR_BLOCKS, tensor)
