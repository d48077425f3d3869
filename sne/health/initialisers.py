"""The usual initialisers: from which distribution the libraries draw the weights of a layer before it is trained."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sne.health.randomness import randomness
from sne.networks import Layer, LayerType, Part


@dataclass(frozen=True)
class Initialiser:
    """A distribution of initial weights.

    Args:
        name: Name, as in the libraries.
        kind: Shape of the distribution, a key of `sne.health.randomness.CUMULATIVE`.
        std: Standard deviation.
    """

    name: str
    kind: str
    std: float


AGREES = 0.01
"""Least p-value of `randomness` with which a weight agrees with an initialiser."""

FEWEST = 64
"""Least number of entries of a weight that is compared with initialisers."""

ENOUGH = 300
"""Least number of entries of a weight that is compared with distributions of any scale."""

ANY_SCALE = "other "
"""How the name of a distribution begins whose scale is none of the usual ones."""

OF_TORCH = "kaiming uniform (torch's default)"
"""Name of the initialiser of torch's linear layers and convolutions."""

BEYOND = 1.005
"""Ratio of a value to the end of a uniform distribution from which it was not drawn; rounding leaves less."""

SHAPES = {"normal": "normal", "uniform": "uniform", "truncated": "truncated normal"}
"""Names of the shapes of distributions."""

_FIXED = ((0.02, "normal 0.02"), (0.01, "normal 0.01"), (1.0, "normal 1"))
_TABLES = (LayerType.EMBEDDING, LayerType.POSITION)


def initialisers(layer: Layer, part: Part) -> Iterator[Initialiser]:
    """Yields the initialisers from which libraries draw a weight of this shape.

    Args:
        layer: The layer.
        part: A weight or a table.

    Example:
        >>> from sne.networks import Role
        >>> part = Part("fc.weight", Role.WEIGHT, (8, 16), in_axis=1)
        >>> layer = Layer("fc", LayerType.LINEAR, 0, (part,))
        >>> [one.name for one in initialisers(layer, part)][:2]
        ['normal 0.02', 'normal 0.01']
    """
    for std, name in _FIXED:
        yield Initialiser(name, "normal", std)
    if layer.type in _TABLES:
        yield Initialiser("uniform 0.05", "uniform", 0.05 / math.sqrt(3))  # Keras
        return
    num_out, num_in, kernel = part.arranged_shape
    fan_in, fan_out = num_in * kernel, num_out * kernel
    seen: set[tuple[str, float]] = set()
    for name, variance in _variances(layer, part, fan_in, fan_out):
        for kind in ("uniform", "normal", "truncated"):
            is_stated = any(shape in name for shape in SHAPES)
            if is_stated and kind not in name:
                continue
            full = name if is_stated else f"{name} {SHAPES[kind]}"
            key = (kind, round(math.log(variance), 6))
            if key not in seen:
                seen.add(key)
                yield Initialiser(full, kind, math.sqrt(variance))


def _variances(layer: Layer, part: Part, fan_in: int, fan_out: int) -> Iterator[tuple[str, float]]:
    """Yields names and variances; a name without a distribution stands for all of them."""
    yield OF_TORCH, 1 / (3 * fan_in)
    yield "kaiming", 2 / fan_in
    yield "xavier", 2 / (fan_in + fan_out)
    yield "lecun", 1 / fan_in
    if layer.type in (LayerType.LSTM, LayerType.GRU, LayerType.RNN):
        yield "uniform 1/sqrt(hidden)", 1 / (3 * part.arranged_shape[0])
    if part.axis is not None:  # drawn before it was cut
        for pieces in (3, 4):
            yield f"xavier of {pieces} pieces", 2 / (fan_in + pieces * fan_out)
    if layer.type in (LayerType.CONV1D, LayerType.CONV2D, LayerType.CONV3D):
        yield "kaiming normal (fan out)", 2 / fan_out


def initialiser_of(layer: Layer, part: Part, sample: Float[Tensor, "rows columns"]) -> str:
    """Returns the usual initialiser with which a weight agrees best, empty if it agrees with none.

    Args:
        layer: The layer.
        part: A weight or a table.
        sample: Its entries [out, in times kernel positions], or a rectangle of them.

    Returns:
        The name. Of a hundred weights drawn by an initialiser of the table, about one agrees with none. Weights that
        only lack the edge of a uniform one, since some values are beyond it, have moved and agree with none.

    Example:
        >>> from sne.networks import Role
        >>> part = Part("fc.weight", Role.WEIGHT, (64, 256), in_axis=1)
        >>> layer = Layer("fc", LayerType.LINEAR, 0, (part,))
        >>> drawn = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)) / 16
        >>> initialiser_of(layer, part, drawn), initialiser_of(layer, part, drawn + 0.1)
        ('lecun normal', '')
    """
    if sample.numel() < FEWEST:
        return ""
    name, most = "", AGREES
    largest, has_moved = float(sample.abs().max()), False
    for candidate in initialisers(layer, part):
        found = randomness(sample, candidate.kind, candidate.std)
        if candidate.kind == "uniform" and largest > BEYOND * math.sqrt(3) * candidate.std:
            has_moved |= found > AGREES
        elif found > most:
            name, most = candidate.name, found
    if name or is_orthogonal(sample):
        return name or "orthogonal"
    if sample.numel() < ENOUGH or has_moved:
        return ""
    std = float(sample.double().square().mean().sqrt())
    free = next((kind for kind in SHAPES if randomness(sample, kind, std) > AGREES), "")
    return f"{ANY_SCALE}{SHAPES[free]} of std {std:.3g}" if free else ""


def is_orthogonal(values: Float[Tensor, "rows columns"]) -> bool:
    """Whether the rows or the columns of a matrix are orthogonal and of one length, as initial values can be.

    Example:
        >>> is_orthogonal(torch.linalg.qr(torch.randn(16, 16))[0] * 1.4), is_orthogonal(torch.randn(16, 16))
        (True, False)
    """
    rows, columns = values.shape
    if min(rows, columns) < 2:
        return False
    matrix = values.double() if rows <= columns else values.double().T
    gram = matrix @ matrix.T
    size = float(gram.diagonal().mean())
    if size <= 0:
        return False
    return float((gram / size - torch.eye(len(gram), dtype=torch.float64)).abs().max()) < ORTHOGONAL


ORTHOGONAL = 5e-3
"""Largest deviation from orthogonality, relative to the squared length of a row; half precision leaves 1e-3."""
