"""One pass over the pieces of one large tensor of one network."""

from dataclasses import dataclass
from math import prod
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.features import TINY
from sne.encoders.kernel_waves import WaveSums
from sne.encoders.measures import LARGEST, QUANTILES, Probes, sum_kernels
from sne.encoders.quantiles import NumberCounts
from sne.networks import Block


@dataclass(frozen=True)
class MeasuredPiece:
    """A piece of a tensor, with what was computed of it.

    Args:
        block: The piece.
        kernel_sums: Sum of each kernel.
        kernel_squares: Sum of the squares of each kernel; in memory that the next piece uses again.
    """

    block: Block
    kernel_sums: Float[Tensor, "rows columns"]
    kernel_squares: Float[Tensor, "rows columns"]


@final
class TensorPass:
    """What is measured of a tensor while its pieces pass by.

    Args:
        shape: Shape of the tensor: out, in, kernel positions.
    """

    distribution: tuple[Float[Tensor, " moments"], Float[Tensor, " quantiles"]]
    """Moments and quantiles as `MeasuredTensor` has them; set by `finish`."""
    is_excessive: bool = False
    """Whether a magnitude is above `LARGEST`, so that nothing else can be relied on; set by `finish`."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        num_out, num_in, kernel = shape
        self.shape = shape
        self.row_squares, self.row_sums = torch.zeros(2, num_out, dtype=torch.float64)
        self.column_squares, self.column_sums = torch.zeros(2, num_in, dtype=torch.float64)
        self._total = 0.0
        self.waves = WaveSums.zeros(1, kernel) if kernel > 1 else None
        self._counts = NumberCounts()
        self._wide = torch.empty(0, dtype=torch.float64)

    def add(self, block: Block) -> MeasuredPiece:
        """Measures a piece."""
        rows, columns, values = block.rows, block.columns, block.values
        self._counts.add(values if values.is_contiguous() else values.transpose(0, 1))
        sums = sum_kernels(values)
        self.row_sums[rows] += sums.sum(1)
        self.column_sums[columns] += sums.sum(0)
        wide = self._buffer(values)
        self._total += float(wide.sum())  # in double precision, since the deviation may be a small difference
        wide.square_()
        squares = sum_kernels(wide)
        self.row_squares[rows] += squares.sum(1)
        self.column_squares[columns] += squares.sum(0)
        if self.waves is not None:
            self.waves.add(values[None], wide[None])
        return MeasuredPiece(block, sums, squares)

    def finish(self) -> None:
        """Computes the distribution, and gives back the memory that only further pieces would need."""
        counted = self._counts.counted()
        del self._counts, self._wide
        self.is_excessive = bool(max(-counted.numbers[0], counted.numbers[-1]) > 1.01 * LARGEST)  # 1.01 for rounding
        if self.is_excessive:
            return
        size = prod(self.shape)
        rms = float((self.row_squares.sum() / size).sqrt()) + TINY
        mean = self._total / size
        deviation = max((rms - TINY) ** 2 - mean**2, 0.0) ** 0.5
        centre = counted.moment(1)
        third, fourth = (counted.moment(power, centre=centre) / rms**power for power in (3, 4))
        magnitude = counted.moment(1, is_absolute=True) / rms
        moments = torch.tensor([rms, mean / rms, deviation / rms, third, fourth, magnitude], dtype=torch.float32)
        self.distribution = moments, torch.from_numpy(counted.quantiles(QUANTILES) / rms).float()

    def _buffer(self, values: Float[Tensor, "rows columns kernel"]) -> Float[Tensor, "rows columns kernel"]:
        """Copies a piece in double precision, in its own order, to memory that is used again for the next one."""
        if self._wide.numel() < values.numel():
            self._wide = torch.empty(values.numel(), dtype=torch.float64)
        rows, columns, kernel = values.shape
        if not values.is_contiguous() and values.transpose(0, 1).is_contiguous():
            wide = self._wide[: values.numel()].view(columns, rows, kernel).transpose(0, 1)
        else:
            wide = self._wide[: values.numel()].view(values.shape)
        return wide.copy_(values)


@final
class ProbedPass:
    """What comes out of a tensor that is given `Probes`, while its pieces pass by.

    Args:
        shape: Shape of the tensor: out, in, kernel positions.
        probes: What is multiplied with the tensor.
        place: Place of the network in the probes.
    """

    def __init__(self, shape: tuple[int, int, int], probes: Probes, place: int) -> None:
        num_out, self._num_in, kernel = shape
        self._inputs = probes.values[place].T.contiguous()
        self._gain_in = probes.gain[place].double()
        self._out = torch.zeros(num_out, self._inputs.shape[1], dtype=torch.float32)
        self._gain = torch.zeros(num_out, dtype=torch.float64)
        self._shared: Tensor | None = None
        if probes.shared is not None:
            self._shared = torch.arange(self._num_in) if isinstance(probes.shared, slice) else probes.shared[place]
            self._reads = torch.zeros(len(self._shared), num_out, kernel, dtype=torch.float32)

    def add(self, piece: MeasuredPiece) -> None:
        """Multiplies a piece with the probes."""
        rows, columns, values = piece.block.rows, piece.block.columns, piece.block.values
        self._out[rows].addmm_(piece.kernel_sums, self._inputs[columns])
        self._gain[rows] += piece.kernel_squares @ self._gain_in[columns]
        if self._shared is None:
            return
        if values.shape[1] == self._num_in:
            self._reads[:, rows] = values.index_select(1, self._shared).transpose(0, 1)
            return
        here = ((self._shared >= columns.start) & (self._shared < columns.stop)).nonzero()[:, 0]
        self._reads[here, rows] = values[:, self._shared[here] - columns.start].transpose(0, 1)

    def reply(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns values, gain and outgoing weights of the shared neurons as `Reply` has them, without the batch."""
        reads = None if self._shared is None else self._reads.flatten(1)
        return self._out.T, self._gain.float(), reads
