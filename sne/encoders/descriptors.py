"""Descriptors: what one weight tensor looks like, in numbers that do not depend on its size.

A descriptor holds the tensor's scale, its distribution, its spectrum, the spread of norms and angles of the neurons it
feeds and reads, and what its kernels look for. All of it is unchanged when neurons are permuted, and, but for
the entries that state scale and size, when the tensor is multiplied by a number. Weights of one zoo span 1e-4 to 10:
scale enters as a logarithm, everything else is relative to it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
MAX_SORTED = 1 << 20
"""Quantiles of a larger tensor are taken over evenly spaced entries."""
MAX_NEURONS = 512
"""Spectrum and angles of a wider tensor are taken over neurons evenly spaced in the order of their norms."""
MAX_INPUTS = 2048
"""... and over evenly spaced input positions."""
TINY = 1e-12
FLOOR = 1e-3
"""Ratios are floored here before a logarithm, so that rounding in a null space stays invisible."""

WAVES = 3
"""Orders of a kernel's waves along each axis."""

DISTRIBUTION_SIZE = 6 + len(QUANTILES)
SHAPE_SIZE = 6
TOP = 6
SPECTRUM_SIZE = 8 + TOP
NORM_SIZE = 12
ANGLE_SIZE = 14
KERNEL_SIZE = 2 * WAVES * WAVES + 2
DESCRIPTOR_SIZE = DISTRIBUTION_SIZE + SHAPE_SIZE + 2 * SPECTRUM_SIZE + NORM_SIZE + ANGLE_SIZE + KERNEL_SIZE


def sorted_quantiles(ordered: Float[Tensor, "batch n"], at: tuple[float, ...]) -> Float[Tensor, "batch q"]:
    """Quantiles of rows that are already sorted, by linear interpolation."""
    position = torch.tensor(at, dtype=ordered.dtype) * (ordered.shape[-1] - 1)
    low, high = position.floor().long(), position.ceil().long()
    return torch.lerp(ordered[:, low], ordered[:, high], (position - low).expand(len(ordered), -1))


def evenly(size: int, most: int) -> Tensor:
    """At most `most` evenly spaced indices below `size`, the first included."""
    return torch.arange(size) if size <= most else torch.arange(most) * size // most


def signed_log(values: Tensor, unit: float = FLOOR) -> Tensor:
    """Logarithm of the magnitude above `unit`, with the sign kept: linear near zero."""
    return values.sign() * (values.abs() / unit).log1p()


def distribution(values: Float[Tensor, "batch n"]) -> Float[Tensor, "batch features"]:
    """Log scale, then moments and quantiles relative to the scale.

    Args:
        values: the entries of one tensor, for each network of the batch.

    Returns:
        log rms; mean, standard deviation, signed log skewness, log kurtosis and mean magnitude of the entries
        divided by their rms; their quantiles at `QUANTILES`.
    """
    rms = values.square().mean(-1).sqrt() + TINY
    relative = values / rms[:, None]
    mean = relative.mean(-1)
    centred = relative - mean[:, None]
    third, fourth = centred.pow(3).mean(-1), centred.pow(4).mean(-1)
    moments = torch.stack(
        [
            rms.log(),
            mean,
            centred.square().mean(-1).sqrt(),
            third.sign() * third.abs().log1p(),
            fourth.log1p(),
            relative.abs().mean(-1),
        ],
        -1,
    )
    ordered = relative[:, evenly(relative.shape[-1], MAX_SORTED)].sort(-1).values
    # Extremes grow with the number of entries; a signed log keeps them near the others.
    quantiles = sorted_quantiles(ordered, QUANTILES)
    return torch.cat([moments, quantiles.sign() * quantiles.abs().log1p()], -1)


def spectrum(matrix: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch features"]:
    """Singular values relative to the Frobenius norm: quantiles, participation, the largest."""
    if matrix.shape[1] > matrix.shape[2]:
        matrix = matrix.transpose(1, 2)
    matrix = matrix.double()  # in single precision the noise of a null space would stand above FLOOR
    gram = matrix @ matrix.transpose(1, 2)
    energy = torch.linalg.eigvalsh(gram).clamp_min(0.0)
    share = energy / (energy.sum(-1, keepdim=True) + TINY**2)
    count = matrix.shape[1]
    values = (share * count).sqrt().float()
    quantiles = sorted_quantiles(values, (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0))
    participation = 1.0 / (share.square().sum(-1) * count + TINY)
    top = share.flip(-1)[:, :TOP].sqrt().float()
    top = torch.nn.functional.pad((top + FLOOR).log(), (0, TOP - top.shape[1]), value=math.log(FLOOR))
    return torch.cat([(quantiles + FLOOR).log(), participation.float().log()[:, None], top], -1)


def angles(matrix: Float[Tensor, "batch rows columns"]) -> Float[Tensor, "batch features"]:
    """Cosines between rows: quantiles, mean magnitude, spread; zeros where there is one row."""
    if matrix.shape[1] < 2:
        return matrix.new_zeros(len(matrix), 7)
    unit = matrix / (matrix.norm(dim=-1, keepdim=True) + TINY)
    cosines = unit @ unit.transpose(1, 2)
    first, second = torch.triu_indices(matrix.shape[1], matrix.shape[1], 1)
    cosines = cosines[:, first, second]
    ordered = cosines.sort(-1).values
    return torch.cat(
        [
            sorted_quantiles(ordered, (0.0, 0.1, 0.5, 0.9, 1.0)),
            cosines.abs().mean(-1, keepdim=True),
            cosines.std(-1, keepdim=True, unbiased=False),
        ],
        -1,
    )


def norms(squares: Float[Tensor, "batch n"]) -> Float[Tensor, "batch features"]:
    """Spread of neurons' norms around their rms: five log quantiles and the log spread."""
    relative = (squares / (squares.mean(-1, keepdim=True) + TINY**2)).sqrt()
    logs = (relative + FLOOR).log()
    ordered = logs.sort(-1).values
    return torch.cat(
        [sorted_quantiles(ordered, (0.0, 0.25, 0.5, 0.75, 1.0)), logs.std(-1, keepdim=True, unbiased=False)],
        -1,
    )


def cosines_up_to_second(positions: int) -> Float[Tensor, "waves positions"]:
    """The waves of orders 0, 1 and 2 along each axis of a kernel, as orthonormal rows (discrete cosine transform).

    Args:
        positions: number of kernel positions. A square number is read as a square kernel, any other as a line.

    Returns:
        At most nine rows; a kernel of two positions an axis has fewer orders.
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
    """What a convolution's kernels look for: flat patches, edges, corners.

    Returns:
        For each low wave, the log of its share of the kernels' energy and how far its coefficient has one sign
        throughout the layer; then the log shares of the centre and of the weakest position.
    """
    batch, _, _, kernel = weights.shape
    if kernel == 1:
        return weights.new_zeros(batch, KERNEL_SIZE)
    coefficients = weights @ cosines_up_to_second(kernel).to(weights).T
    energy = coefficients.square().mean((1, 2))
    total = weights.square().mean((1, 2, 3))[:, None] + TINY**2
    shares = (energy / total + FLOOR).log()
    signs = signed_log(coefficients.mean((1, 2)) / total.sqrt(), 0.05)
    waves = torch.stack([shares, signs], 1)
    waves = torch.nn.functional.pad(waves, (0, WAVES * WAVES - waves.shape[2])).flatten(1)
    positions = (weights.square().mean((1, 2)) / total + FLOOR).log()
    return torch.cat([waves, torch.stack([positions[:, kernel // 2], positions.amin(1)], 1)], 1)


def some_neurons(weights: Float[Tensor, "batch out in kernel"], axis: int) -> Float[Tensor, "batch _ _ kernel"]:
    """The neurons of one axis that spectrum and angles are taken over.

    Where there are too many, they are put in the order of their norms first, so that it does not matter in which
    order they came.

    Args:
        weights: the tensor.
        axis: 1 for the neurons it feeds, 2 for those it reads.

    Returns:
        All neurons as they are, or evenly spaced ones of at most `MAX_NEURONS`.
    """
    size = weights.shape[axis]
    if size <= MAX_NEURONS and size * weights.shape[3] <= MAX_INPUTS:
        return weights
    order = weights.square().sum((3 - axis, 3)).argsort(-1)[:, evenly(size, MAX_NEURONS)]
    return torch.stack([tensor.index_select(axis - 1, rows) for tensor, rows in zip(weights, order, strict=True)])


def is_described_as_matrix(shape: tuple[int, int, int]) -> bool:
    """Whether a canonical shape (out, in, kernel) has spectrum, norms and angles."""
    num_out, num_in, kernel = shape
    return num_out > 1 and num_in * kernel > 1


def describe(weights: Float[Tensor, "batch out in kernel"]) -> Float[Tensor, "batch descriptor"]:
    """Describes one tensor of several networks.

    Args:
        weights: the canonical tensor (`Part.canonical`), stacked over networks of one layout.

    Returns:
        `DESCRIPTOR_SIZE` numbers a network. Entries that a shape cannot have (the spectrum of a vector) are zero.

    Source: quantiles, mean and variance of each tensor are the features of Unterthiner et al., arXiv 2002.11448,
        section 4.
    Differs: scale is separated from form; spectrum, norms, angles and kernel waves are added.
    """
    batch, num_out, num_in, kernel = weights.shape
    flat = weights.reshape(batch, -1)
    spread = distribution(flat)
    sizes = [math.log(num_out), math.log(num_in), math.log(kernel), math.log(flat.shape[1])]
    shape = flat.new_tensor(sizes).expand(batch, -1)
    fan_in, fan_out = 0.5 * math.log(num_in * kernel), 0.5 * math.log(num_out * kernel)
    gains = torch.stack([spread[:, 0] + fan_in, spread[:, 0] + fan_out], -1)
    if not is_described_as_matrix((num_out, num_in, kernel)):
        size = 2 * SPECTRUM_SIZE + NORM_SIZE + ANGLE_SIZE
        return torch.cat([spread, shape, gains, flat.new_zeros(batch, size), kernel_waves(weights)], -1)
    row_norms = norms(weights.square().sum((2, 3)))
    column_norms = norms(weights.square().sum((1, 3)))
    sample = some_neurons(some_neurons(weights, 1), 2)
    rows = sample.reshape(batch, sample.shape[1], -1)
    rows = rows[:, :, evenly(rows.shape[2], MAX_INPUTS)]
    columns = sample.transpose(1, 2).reshape(batch, sample.shape[2], -1)
    columns = columns[:, :, evenly(columns.shape[2], MAX_INPUTS)]
    return torch.cat(
        [
            spread,
            shape,
            gains,
            spectrum(rows),
            spectrum(sample.sum(-1)) if kernel > 1 else flat.new_zeros(batch, SPECTRUM_SIZE),
            row_norms,
            column_norms,
            angles(rows),
            angles(columns),
            kernel_waves(weights),
        ],
        -1,
    )
