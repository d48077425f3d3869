"""Other ways to tell relatives from strangers, re-implemented as far as the study of lineages needs them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from sne.networks import LayerType, Network, Role

Matrix: TypeAlias = Float[np.ndarray, "_ _"]
Vector: TypeAlias = Float[np.ndarray, " _"]

ANCHORS = 64
BINS = 20
LEAST_NORMS = 8
SUBSAMPLE = 4096

WEIGHTS: Mapping[str, float] = {"eas": 0.36, "nlf": 0.08, "lep": 0.16, "end": 0.19, "wvc": 0.21}
"""Weights of the signals of model-provenance-kit in its score."""


@dataclass(frozen=True)
class Opponent:
    """A similarity of two networks.

    Args:
        name: Name in tables.
        source: Where it comes from, and what differs here.
        prepare: Returns what is compared, from a network.
        similarity: Returns a number that is larger for relatives, from what `prepare` returned for two networks.
    """

    name: str
    source: str
    prepare: Callable[[Network], Any]
    similarity: Callable[[Any, Any], float]


def matrices(network: Network) -> list[Matrix]:
    """Returns all matrices and kernels, as outputs x inputs, in the order of the layers."""
    found = []
    for layer, part in network.parts():
        rows, columns, kernel = part.arranged_shape
        if rows > 1 and columns * kernel > 1 and layer.type is not LayerType.POSITION:
            found.append(network.read(part).flatten(1).double().numpy())
    return found


def cosine(one: Vector, other: Vector) -> float:
    """Returns the cosine of the angle between two vectors; 0 if one of them is zero or lengths differ."""
    if len(one) != len(other):
        return 0.0
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norms if norms else 0.0


def _flat(network: Network) -> Vector:
    return np.concatenate([matrix.ravel() for matrix in matrices(network)])


def _spectrum(network: Network) -> Vector:
    """Returns the singular values of each matrix, over its norm."""
    found = [np.linalg.svd(matrix, compute_uv=False) for matrix in matrices(network)]
    return np.concatenate([values / max(float(np.linalg.norm(values)), 1e-30) for values in found])


def _closeness(one: Vector, other: Vector) -> float:
    return -float(np.linalg.norm(one - other)) if len(one) == len(other) else -np.inf


def awm(one: Sequence[Matrix], other: Sequence[Matrix]) -> float:
    """Returns the similarity of AWM: units aligned by the first matrix, then unbiased CKA of the matrices that follow.

    Args:
        one: Matrices of one network.
        other: Matrices of another network, of the same sizes.
    """
    if [matrix.shape for matrix in one] != [matrix.shape for matrix in other]:
        return 0.0
    rows = [matrix / np.linalg.norm(matrix, axis=1, keepdims=True).clip(1e-30) for matrix in (one[0], other[0])]
    products = rows[0] @ rows[1].T
    _, order = linear_sum_assignment(-np.abs(products))
    signs = np.sign(products[np.arange(len(order)), order])
    found = []
    for left, right in zip(one[1:], other[1:], strict=True):
        moved = right
        if right.shape[1] % len(order) == 0:
            kernel = right.shape[1] // len(order)
            blocks = right.reshape(len(right), len(order), kernel)[:, order] * signs[None, :, None]
            moved = blocks.reshape(right.shape)
        if left.shape[1] >= 4:
            found.append(abs(unbiased_cka(left.T, moved.T)))
    return float(np.mean(found)) if found else float(np.abs(products[np.arange(len(order)), order]).mean())


def unbiased_cka(one: Matrix, other: Matrix) -> float:
    """Returns the unbiased centred kernel alignment of two sets of vectors with linear kernels.

    Args:
        one: One vector per row; at least four.
        other: As many vectors.

    Source: Song et al., "Feature Selection via Dependence Maximization" (2012), equation 5.

    Example:
        >>> vectors = np.random.default_rng(0).standard_normal((8, 3))
        >>> round(unbiased_cka(vectors, 2 * vectors), 6)
        1.0
    """
    kernels = [rows @ rows.T for rows in (one, other)]
    for kernel in kernels:
        np.fill_diagonal(kernel, 0.0)
    products = [_hsic(kernels[i], kernels[j]) for i, j in ((0, 1), (0, 0), (1, 1))]
    size = products[1] * products[2]
    return products[0] / size**0.5 if size > 0 else 0.0


def _hsic(one: Matrix, other: Matrix) -> float:
    n = len(one)
    sums = one.sum(0), other.sum(0)
    total = float((one * other).sum()) + sums[0].sum() * sums[1].sum() / ((n - 1) * (n - 2))
    return float(total - 2 / (n - 2) * sums[0] @ sums[1]) / (n * (n - 3))


@dataclass(frozen=True)
class Signals:
    """The weight signals of model-provenance-kit; None where a network has none."""

    eas: Vector | None
    nlf: Vector | None
    lep: Vector | None
    end: Vector | None
    wvc: tuple[Vector, ...]


def signals(network: Network) -> Signals:
    """Computes the signals of a network: those of embeddings only where there is a table of tokens."""
    table = next((part for layer, part in network.parts() if layer.type is LayerType.EMBEDDING), None)
    eas = end = None
    if table is not None:
        rows = network.read(table).flatten(1).double().numpy()
        norms = np.linalg.norm(rows, axis=1)
        units = rows[:ANCHORS] / norms[:ANCHORS, None].clip(1e-30)
        eas = (units @ units.T)[np.triu_indices(len(units), 1)]
        end = np.histogram(norms, BINS)[0] / len(norms)
    scales = [network.read(part).ravel().numpy() for _, part in network.parts() if part.role is Role.SCALE]
    nlf = np.concatenate(scales) if scales and sum(map(len, scales)) >= LEAST_NORMS else None
    found = matrices(network)
    energy = np.array([np.linalg.norm(matrix) for matrix in found])
    lep = energy / energy.max() if len(energy) > 2 else None
    flat = [matrix.ravel() for matrix in found]
    wvc = tuple(values[:: max(1, len(values) // SUBSAMPLE)][:SUBSAMPLE] for values in flat)
    return Signals(eas, nlf, lep, end, wvc)


def signal_score(one: Signals, other: Signals) -> float:
    """Returns the weighted mean of the signals that both networks have."""
    found: dict[str, float] = {}
    for name in ("eas", "lep"):
        left, right = getattr(one, name), getattr(other, name)
        if left is not None and right is not None and len(left) == len(right):
            found[name] = (cosine(left - left.mean(), right - right.mean()) + 1) / 2
    for name in ("nlf", "end"):
        left, right = getattr(one, name), getattr(other, name)
        if left is not None and right is not None:
            found[name] = max(0.0, cosine(left, right))
    if len(one.wvc) == len(other.wvc):
        found["wvc"] = float(np.mean([cosine(*pair) for pair in zip(one.wvc, other.wvc, strict=True)]))
    weight = sum(WEIGHTS[name] for name in found)
    return sum(WEIGHTS[name] * value for name, value in found.items()) / weight if weight else 0.5


def kurtosis(network: Network) -> float:
    """Returns the mean kurtosis of the matrices, the statistic by which MoTHer gives directions."""
    found = []
    for matrix in matrices(network):
        centred = matrix - matrix.mean()
        variance = float((centred**2).mean())
        found.append(float((centred**4).mean()) / variance**2 if variance else 0.0)
    return float(np.mean(found)) if found else 0.0


OPPONENTS: Sequence[Opponent] = (
    Opponent("cosine of raw weights", "all matrices as one vector", _flat, cosine),
    Opponent(
        "sorted spectra", "distance of the singular values of all matrices, each over its norm", _spectrum, _closeness
    ),
    Opponent(
        "AWM",
        "arXiv 2510.06738; the first matrix stands for the table of tokens, all that follow for queries and keys",
        matrices,
        awm,
    ),
    Opponent(
        "signals of model-provenance-kit",
        "the five weight signals and their weights, from its documentation; those of embeddings where there is a table",
        signals,
        signal_score,
    ),
    Opponent(
        "MoTHer", "arXiv 2405.18432; Euclidean distance of the weights, kurtosis for directions", _flat, _closeness
    ),
)
