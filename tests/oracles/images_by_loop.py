"""Image features of one layer, number by number in double precision, from their definitions."""

import math

from oracles.descriptors_by_loop import compressed, deviation, mean

Vector = list[float]
Matrix = list[list[float]]

PATTERNS, COPIES = 8, 3
SMALL, TINY, FLOOR, LEAST = 1e-6, 1e-12, 1e-3, 1e-5
NUM_FEATURES = 24


def means_of_copies(rows: Matrix) -> Matrix:
    """One row per pattern; `rows` has one per image, the copies of a pattern follow each other."""
    return [[mean(list(c)) for c in zip(*rows[p * COPIES : (p + 1) * COPIES], strict=True)] for p in range(PATTERNS)]


def flat(rows: Matrix) -> Vector:
    return [value for row in rows for value in row]


def mean_square(rows: Matrix) -> float:
    return mean([value**2 for value in flat(rows)])


def without_rounding(rows: Matrix, least: float) -> Matrix:
    """The rows, or zeros if their mean square is at most `least`."""
    return rows if mean_square(rows) > least else [[0.0] * len(row) for row in rows]


def directions(rows: Matrix) -> float:
    """Logarithm of the participation ratio of the rows' Gram matrix."""
    size = math.sqrt(sum(value**2 for value in flat(rows))) + TINY
    rows = [[value / size for value in row] for row in rows]
    gram = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]
    return -math.log(sum(value**2 for value in flat(gram)) + 1e-3)


def spread(rows: Matrix, least: float) -> Vector:
    magnitude = mean_square(without_rounding(rows, least))
    centre = [mean(list(column)) for column in zip(*rows, strict=True)]
    varied = [[value - c for value, c in zip(row, centre, strict=True)] for row in rows]
    varied, patterns = (without_rounding(some, least) for some in (varied, means_of_copies(varied)))
    total, between = mean_square(varied), mean_square(patterns)
    return [
        math.log(math.sqrt(magnitude) + SMALL),
        0.5 * math.log(total / (magnitude + TINY) + SMALL),
        4 * between / (total + SMALL * magnitude + TINY),
        directions(varied),
        directions(patterns),
    ]


def softmax(row: Vector) -> Vector:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def entropy(shares: Vector) -> float:
    return -sum(share * math.log(share + 1e-9) for share in shares)


def choice(rows: Matrix, least: float) -> Vector:
    shares = [softmax(row) for row in rows]
    average = [mean(list(column)) for column in zip(*shares, strict=True)]
    ordered = [sorted(row, reverse=True) for row in rows]
    wins = [0.0] * len(rows[0])
    for row, (first, *others) in zip(rows, ordered, strict=True):
        if others and first > others[0]:
            wins[row.index(first)] += 1 / len(rows)
    relative = [[value - mean(row) for value in row] for row in rows]
    deviations = [deviation(list(column)) for column in zip(*relative, strict=True)]
    spreads = [math.log((spread if spread**2 > least else 0.0) + SMALL) for spread in deviations]
    mean_entropy = mean([entropy(row) for row in shares])
    return [
        entropy(average),
        mean_entropy,
        entropy(average) - mean_entropy,
        entropy(average) - mean([entropy(row) for row in means_of_copies(shares)]),
        4 * mean([max(row) for row in shares]),
        4 * mean([float(share > 0) for share in wins]),
        entropy(wins),
        compressed(mean([row[0] - row[min(1, len(row) - 1)] for row in ordered]), FLOOR),
        math.log(max(average) + SMALL),
        math.log(min(average) + SMALL),
        min(spreads),
        max(spreads),
    ]


def features(rows: Matrix, activated: Matrix | None = None) -> Vector:
    """The image features of a layer, in the order of `sne.encoders.image_signals.IMAGE_ENTRIES`.

    Args:
        rows: Outputs before the activation, one row per image; no rows if the network reads no images.
        activated: Outputs after it; by default those of `rows` one by one.
    """
    if not rows:
        return [0.0] * NUM_FEATURES
    activated = [[max(value, 0.0) for value in row] for row in rows] if activated is None else activated
    negative = 4 * mean([float(value <= 0) for value in flat(rows)])
    always_off = 4 * mean([float(max(column) <= 0) for column in zip(*rows, strict=True)])
    relative = [[value - mean(row) for value in row] for row in rows]
    least = LEAST**2 * mean_square(rows)
    return [*spread(activated, least), *spread(relative, least), negative, always_off, *choice(rows, least)]
