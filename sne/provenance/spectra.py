"""Singular values and directions: changes of low rank, and what one matrix retains of another."""

import torch
from jaxtyping import Float
from torch import Tensor

from sne.provenance.lattice import significant_digits

SIDE = 256
"""Largest number of rows and of columns of the sample in which the rank of a change is measured."""

SMALL_SIDE = 128
"""Largest number of rows and columns of the sample whose singular directions are compared."""

REMOVED = 1e-3
"""Largest energy of what was removed, relative to that of random directions."""

LEAST_DIGITS = 8
"""Least number of binary digits to which matrices were rounded; small whole numbers need fewer, and are exact."""

ZERO = 1e-6
"""Largest singular value that is zero but for rounding, relative to the largest one."""

LARGEST_RANK_SHARE = 0.25
"""Largest rank of a low-rank change, as a share of the smaller side of the sample."""


def low_rank(one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"]) -> int:
    """Returns the rank of a change of low rank; 0 if the change is none.

    Singular values at the size of rounding errors do not count. The rank is low up to a quarter of the smaller side.

    Example:
        >>> matrix = torch.eye(16)
        >>> low_rank(matrix, matrix + torch.ones(16, 16))
        1
    """
    if min(one.shape) < 8:
        return 0
    rank = 0
    step = 2.0 ** (1 - max(LEAST_DIGITS, min(significant_digits(one), significant_digits(other))))
    for side in (SMALL_SIDE, SIDE):  # a smaller corner has a low rank, too
        some = one[:side, :side], other[:side, :side]
        sizes = torch.linalg.svdvals((some[1] - some[0]).double())
        largest = float(torch.maximum(some[0].abs(), some[1].abs()).max())
        noise = step * largest * sum(length**0.5 for length in some[0].shape)
        rank = int((sizes > noise).sum())
        limit = LARGEST_RANK_SHARE * min(one.shape)
        if rank == 0 or rank > limit or rank == min(some[0].shape):
            return 0
    return rank


def low_rank_child(one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"], rank: int) -> int:
    """Returns which tensor something of low rank was removed from: 1 for the second one, -1 for the first one.

    Such a child is nearly zero along all singular directions of the change on one side, whatever stands on the other
    side. It has no other directions in which it is zero: what is added to a matrix of low rank may lie in those. In
    all other cases the result is 0: what a trained adapter adds may make a matrix larger or smaller along its
    directions, as often as not.
    """
    left, _, right = torch.linalg.svd(other - one, full_matrices=False)
    generic = rank * float(one.square().mean() + other.square().mean()) / 2
    removed = []
    for matrix in (one, other):
        sides = left[:, :rank].T @ matrix, matrix @ right[:rank].T
        is_zero = min(float(side.square().sum()) / max(side.shape) for side in sides) < REMOVED * generic
        sizes = torch.linalg.svdvals(matrix)
        least = max(2.0 ** -significant_digits(matrix), ZERO) * float(sizes[0])
        removed.append(is_zero and int((sizes > least).sum()) >= min(matrix.shape) - rank)
    return int(removed[1]) - int(removed[0])


def rank_of_change(sizes: Float[Tensor, " values"]) -> int:
    """Returns the number of singular values that hold 99% of the energy of a change."""
    energy = sizes.square().cumsum(0)
    return int((energy < 0.99 * energy[-1]).sum()) + 1 if float(energy[-1]) > 0 else 0


def retained(one: Float[Tensor, "rows columns"], other: Float[Tensor, "rows columns"]) -> float:
    """Returns how much of the largest quarter of one matrix's singular directions is in another matrix."""
    if min(one.shape) < 2:
        return 0.0
    if len(one) > one.shape[1]:
        one, other = one.T, other.T
    directions = torch.linalg.eigh(one @ one.T).eigenvectors[:, -max(1, len(one) // 4) :].T  # faster than an SVD
    largest = directions @ one
    energy = float(largest.square().sum())
    return float((directions @ other * largest).sum()) / energy if energy > 0 else 0.0
