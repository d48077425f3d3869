"""Descriptors of one tensor, written out number by number in float64 from their definitions."""

import math

import numpy as np

from sne.encoders.descriptors import NUM_SINGULAR_VALUES, QUANTILES, WAVES
from sne.encoders.features import FLOOR


def quantile(values: list[float], at: float) -> float:
    ordered = sorted(values)
    place = at * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def compressed(value: float, unit: float = 1.0) -> float:
    return math.copysign(math.log1p(abs(value) / unit), value)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def deviation(values: list[float]) -> float:
    return math.sqrt(mean([(value - mean(values)) ** 2 for value in values]))


def distribution(values: np.ndarray) -> list[float]:
    rms = math.sqrt(mean([float(v) ** 2 for v in values]))
    relative = [float(v) / rms for v in values]
    centre = mean(relative)
    third, fourth = (mean([(v - centre) ** power for v in relative]) for power in (3, 4))
    moments = [math.log(rms), centre, deviation(relative), compressed(third), math.log1p(fourth)]
    moments.append(mean([abs(v) for v in relative]))
    return moments + [compressed(quantile(relative, at)) for at in QUANTILES]


def spectrum(matrix: np.ndarray) -> list[float]:
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False).tolist()
    shares = [value**2 / sum(v**2 for v in values) for value in values]
    relative = [math.sqrt(share * len(shares)) for share in shares]
    features = [math.log(quantile(relative, at) + FLOOR) for at in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)]
    features.append(math.log(1 / (sum(share**2 for share in shares) * len(shares))))
    top = [math.sqrt(share) + FLOOR for share in sorted(shares, reverse=True)[:NUM_SINGULAR_VALUES]]
    return features + [math.log(value) for value in top + [FLOOR] * (NUM_SINGULAR_VALUES - len(top))]


def angles(matrix: np.ndarray) -> list[float]:
    cosines = []
    for i, first in enumerate(matrix.astype(np.float64)):
        for second in matrix.astype(np.float64)[i + 1 :]:
            cosines.append(float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second))))
    features = [quantile(cosines, at) for at in (0.0, 0.1, 0.5, 0.9, 1.0)]
    return [*features, mean([abs(cosine) for cosine in cosines]), deviation(cosines)]


def norms(squares: np.ndarray) -> list[float]:
    wide = [float(square) for square in squares]
    logs = [math.log(math.sqrt(square / mean(wide)) + FLOOR) for square in wide]
    return [quantile(logs, at) for at in (0.0, 0.25, 0.5, 0.75, 1.0)] + [deviation(logs)]


def wave(side: int, order: int) -> list[float]:
    values = [math.cos(math.pi * (place + 0.5) * order / side) for place in range(side)]
    size = math.sqrt(sum(value**2 for value in values))
    return [value / size for value in values]


def kernel_waves(weights: np.ndarray) -> list[float]:
    """For a square kernel at least `WAVES` wide; weights [out, in, side * side]."""
    num_out, num_in, positions = weights.shape
    side = math.isqrt(positions)
    total = mean([float(value) ** 2 for value in weights.flatten()])
    shares, signs = [], []
    for vertical in range(WAVES):
        for horizontal in range(WAVES):
            down, across = wave(side, vertical), wave(side, horizontal)
            coefficients = []
            for out in range(num_out):
                for into in range(num_in):
                    kernel = weights[out, into].astype(np.float64).reshape(side, side)
                    coefficients.append(
                        sum(kernel[p, q] * down[p] * across[q] for p in range(side) for q in range(side))
                    )
            shares.append(math.log(mean([c**2 for c in coefficients]) / total + FLOOR))
            signs.append(compressed(mean(coefficients) / math.sqrt(total), 0.05))
    energy = [mean([float(v) ** 2 for v in weights[:, :, p].flatten()]) / total for p in range(positions)]
    return [*shares, *signs, math.log(energy[positions // 2] + FLOOR), math.log(min(energy) + FLOOR)]
