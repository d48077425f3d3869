"""One pass over the pieces of one large tensor of one network."""

from functools import cached_property
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


@final
class TensorPass:
    """What is measured of a tensor while its pieces pass by.

    Args:
        shape: Shape of the tensor: out, in, kernel positions.
        probes: What is multiplied with the tensor; None for nothing.
        place: Place of the network in the probes.
    """

    def __init__(self, shape: tuple[int, int, int], probes: Probes | None, place: int) -> None:
        num_out, num_in, kernel = shape
        self.shape = shape
        self.counts = NumberCounts()
        self.row_squares, self.row_sums = torch.zeros(2, num_out, dtype=torch.float64)
        self.column_squares, self.column_sums = torch.zeros(2, num_in, dtype=torch.float64)
        self.waves = WaveSums.zeros(1, kernel) if kernel > 1 else None
        self._wide = torch.empty(0, dtype=torch.float64)
        self._inputs: Tensor | None = None
        if probes is not None:
            acts, _, num_probes, _ = probes.values.shape
            self._form = (acts, num_probes)
            self._inputs = probes.values[:, place].reshape(acts * num_probes, num_in).T.contiguous()
            self._gain_in = probes.gain[place].double()
            self._out = torch.zeros(num_out, acts * num_probes)
            self._gain = torch.zeros(num_out, dtype=torch.float64)
            self._shared = None
            if probes.shared is not None:
                all_in = torch.arange(num_in)
                self._shared = all_in if isinstance(probes.shared, slice) else probes.shared[place]
                self._reads = torch.zeros(len(self._shared), num_out, kernel)

    def add(self, block: Block) -> None:
        """Measures a piece."""
        rows, columns, values = block.rows, block.columns, _bounded(block.values)
        self.counts.add(values if values.is_contiguous() else values.transpose(0, 1))
        wide = self._buffer(values)
        sums = sum_kernels(wide)
        self.row_sums[rows] += sums.sum(1)
        self.column_sums[columns] += sums.sum(0)
        matrix = values[..., 0] if self.shape[2] == 1 else sums.float()
        squares = sum_kernels(wide.square_())
        self.row_squares[rows] += squares.sum(1)
        self.column_squares[columns] += squares.sum(0)
        if self.waves is not None:
            self.waves.add(values[None], wide[None])
        if self._inputs is None:
            return
        self._out[rows].addmm_(matrix, self._inputs[columns])
        self._gain[rows] += squares @ self._gain_in[columns]
        if self._shared is None:
            return
        if values.shape[1] == self.shape[1]:
            self._reads[:, rows] = values.index_select(1, self._shared).transpose(0, 1)
            return
        here = ((self._shared >= columns.start) & (self._shared < columns.stop)).nonzero()[:, 0]
        self._reads[here, rows] = values[:, self._shared[here] - columns.start].transpose(0, 1)

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

    def reply(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the values, gains and outgoing weights of shared neurons that come out of the tensor."""
        out = self._out.T.unflatten(0, self._form)
        return out, self._gain.float(), self._reads.flatten(1) if self._shared is not None else self._out

    @cached_property
    def distribution(self) -> tuple[Float[Tensor, " moments"], Float[Tensor, " quantiles"]]:
        """Moments and quantiles as `MeasuredTensor` has them."""
        size = prod(self.shape)
        rms = float((self.row_squares.sum() / size).sqrt()) + TINY
        mean = float(self.row_sums.sum()) / size
        deviation = max((rms - TINY) ** 2 - mean**2, 0.0) ** 0.5
        counted = self.counts.counted()
        centre = counted.moment(1)
        third, fourth = (counted.moment(power, centre=centre) / rms**power for power in (3, 4))
        magnitude = counted.moment(1, is_absolute=True) / rms
        moments = torch.tensor([rms, mean / rms, deviation / rms, third, fourth, magnitude])
        return moments, torch.from_numpy(counted.quantiles(QUANTILES) / rms).float()


def _bounded(values: Float[Tensor, "rows columns kernel"]) -> Float[Tensor, "rows columns kernel"]:
    """Returns entries within plus and minus `LARGEST`; in almost all tensors they are, and are not copied."""
    low, high = torch.aminmax(values)
    return values if low >= -LARGEST and high <= LARGEST else values.clamp(-LARGEST, LARGEST)
