"""Heavy tails: the exponent of the power law that the largest eigenvalues of a weight matrix follow."""

import math
from collections.abc import Iterable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sne.networks import Block, Layer, Part, Role
from sne.networks.parts import TABLES

LARGEST = 1024
"""Largest size of the smaller side of a matrix whose spectrum is computed."""

MOST_ENTRIES = 1 << 23
"""Largest number of entries of a matrix whose spectrum is computed."""

BUDGET = 1e11
"""Largest number of multiplications for the spectra of one network, about a second; beyond it, some matrices are chosen
evenly."""

FEWEST = 50
"""Least number of eigenvalues: an exponent fitted to fewer says little."""


@final
class Gram:
    """The products of the neurons of one side of a matrix, summed up while the matrix passes by.

    Args:
        by_rows: Whether the neurons that the matrix feeds are multiplied, rather than those that it reads.
        size: Number of these neurons.
        kernel: Number of kernel positions, each of which is a matrix.
    """

    def __init__(self, by_rows: bool, size: int, kernel: int) -> None:
        self._by_rows = by_rows
        self._sums = torch.zeros(kernel, size, size, dtype=torch.float32)
        self._pieces: list[Tensor] = []
        self._overflows = False

    @classmethod
    def of(cls, part: Part) -> "Gram":
        """Returns the empty sums for a part that has a spectrum."""
        num_out, num_in, kernel = part.arranged_shape
        return cls(num_out <= num_in, min(num_out, num_in), kernel)

    def add(self, block: Block, values: Float[Tensor, "rows columns kernel"], unit: float) -> None:
        """Adds one piece.

        Args:
            block: Where the piece is.
            values: Its entries, divided by `unit`.
            unit: A number.
        """
        if unit != 1.0:  # products of such values overflow, and a spectrum says nothing about them
            self._overflows = True
            return
        across = block.rows if self._by_rows else block.columns
        matrices = values.permute(2, 0, 1) if self._by_rows else values.permute(2, 1, 0)
        if across == slice(0, self._sums.shape[1]):
            torch.baddbmm(self._sums, matrices, matrices.mT, out=self._sums)
        else:  # products of neurons in different pieces are needed, so the matrix is put together
            self._pieces.append(matrices)

    def alpha(self) -> float | None:
        """Returns the exponent; None if it cannot be computed."""
        if self._overflows:
            return None
        sums = self._sums
        if self._pieces:
            if sum(piece.shape[1] for piece in self._pieces) != sums.shape[1]:
                return None  # cut along both axes
            matrices = torch.cat(self._pieces, 1)
            sums = matrices @ matrices.mT
        return power_law(torch.linalg.eigvalsh(sums.double()).flatten())


def with_spectrum(layers: Iterable[Layer]) -> set[Part]:
    """Chooses the matrices whose spectra are computed.

    Args:
        layers: The layers of a network.

    Returns:
        The weights of layers, other than tables, that are neither too small nor too large; evenly chosen ones if all
        of them cost more than `BUDGET`.
    """
    parts = [part for layer in layers if layer.type not in TABLES for part in layer.parts if _has_spectrum(part)]
    total = sum(map(_cost, parts))
    step = total / BUDGET
    if step <= 1:
        return set(parts)
    return {part for number, part in enumerate(parts) if number // step > (number - 1) // step}


def _has_spectrum(part: Part) -> bool:
    num_out, num_in, kernel = part.arranged_shape
    small = min(num_out, num_in)
    if part.role not in (Role.WEIGHT, Role.RECURRENT_WEIGHT) or not 2 <= small <= LARGEST:
        return False
    return FEWEST <= small * kernel and kernel * small**2 <= LARGEST**2 and part.num_entries <= MOST_ENTRIES


def _cost(part: Part) -> float:
    num_out, num_in, kernel = part.arranged_shape
    small = min(num_out, num_in)
    return kernel * small**2 * (max(num_out, num_in) + 10.0 * small)


def power_law(eigenvalues: Float[Tensor, " values"]) -> float | None:
    """Fits a power law to the upper tail of some eigenvalues.

    The density of eigenvalues above `least` is taken as proportional to x to the power of -alpha; alpha is the one of
    largest likelihood, and `least` the eigenvalue for which the fit is closest (smallest distance of Kolmogorov and
    Smirnov).

    Args:
        eigenvalues: Eigenvalues of W W^T; those of all kernel positions of a convolution together.

    Returns:
        Alpha; None if there are fewer than `FEWEST` positive eigenvalues.

    Source: Martin, Peng and Mahoney, "Predicting trends in the quality of state-of-the-art neural networks without
    access to training or testing data", arXiv 2002.06716, sections 2 and 4; Clauset, Shalizi and Newman,
    arXiv 0706.1062, sections 3.1 and 3.3.
    Differs: nothing in the definition; the tail has 10 eigenvalues or more.

    Example:
        >>> ranks = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
        >>> round(power_law((1 - ranks) ** (-1 / 2.0)), 1)  # density falls with the power of -3
        3.0
    """
    largest = float(eigenvalues.max()) if len(eigenvalues) else 0.0
    kept = eigenvalues[eigenvalues > 1e-10 * largest].double()
    if len(kept) < FEWEST:
        return None
    logs = kept.sort(descending=True).values.log()
    counts = torch.arange(1, len(logs) + 1, dtype=torch.float64)
    excess = logs.cumsum(0) / counts - logs  # mean logarithm above each eigenvalue as the least one
    starts = (
        range(9, len(logs))
        if len(logs) <= 400
        else torch.linspace(9, len(logs) - 1, 400, dtype=torch.float32).long().tolist()
    )
    best, found = math.inf, None
    for last in starts:
        if float(excess[last]) <= 0:
            continue
        exponent = 1 / float(excess[last])
        count = last + 1
        above = torch.exp(-exponent * (logs[:count] - logs[last]))  # expected share above each eigenvalue
        distance = float(torch.maximum(above - (counts[:count] - 1) / count, counts[:count] / count - above).max())
        if distance < best:
            best, found = distance, 1 + exponent
    return found
