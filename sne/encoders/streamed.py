"""Measurements of a large tensor, in one pass over its pieces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.encoders.kernel_waves import WaveSums
from sne.encoders.measures import (
    LARGEST,
    MAX_NEURONS,
    MeasuredTensor,
    Probes,
    Reply,
    choose_neurons,
    most_inputs,
)
from sne.encoders.tensor_pass import ProbedPass, TensorPass
from sne.networks import Block, Network, Part

MAX_WHOLE = 1 << 16
"""Number of entries of the largest tensor that is measured whole; larger ones are streamed."""

READ_ENTRIES = 1 << 20
"""Number of entries of a streamed tensor that are read at once."""

PIECE_ENTRIES = 1 << 18
"""Number of entries that are measured at once: their temporary copies fit the cache of a core."""


@runtime_checkable
class PieceReader(Protocol):
    """Reads one tensor of one network, in pieces."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of neurons that the tensor feeds, of neurons that it reads, of kernel positions."""
        ...

    def read_blocks(self, most: int) -> Iterator[Block]:
        """Reads the tensor in pieces of at most `most` entries; see `Network.read_blocks`."""
        ...

    def read_sample(
        self, rows: Int[Tensor, " rows"] | None, columns: Int[Tensor, " columns"] | None
    ) -> Float[Tensor, "rows columns kernel"]:
        """Reads some neurons of the tensor; see `Network.read_sample`."""
        ...


@final
@dataclass(frozen=True)
class WholePart:
    """Reads all of a part.

    Args:
        network: The network.
        part: The part.
    """

    network: Network
    part: Part

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the part."""
        return self.part.arranged_shape

    def read_blocks(self, most: int) -> Iterator[Block]:
        """Reads the part in pieces."""
        return self.network.read_blocks(self.part, most)

    def read_sample(
        self, rows: Int[Tensor, " rows"] | None, columns: Int[Tensor, " columns"] | None
    ) -> Float[Tensor, "rows columns kernel"]:
        """Reads some neurons of the part."""
        return self.network.read_sample(self.part, rows, columns)


@final
class StreamedTensor(MeasuredTensor):
    """A large tensor that is read in pieces when it is first asked for, and is not kept.

    Args:
        readers: Reads the tensor of each network; the networks have one layout.
    """

    def __init__(self, readers: Sequence[PieceReader]) -> None:
        super().__init__((len(readers), *readers[0].shape))
        self._readers = readers
        self._passes: list[TensorPass] | None = None

    @cached_property
    def moments(self) -> Float[Tensor, "batch moments"]:
        """Moments of the entries; the third and fourth one, and the mean magnitude, are those of bfloat16 numbers."""
        return torch.stack([one.distribution[0] for one in self._measured()])

    @cached_property
    def quantiles(self) -> Float[Tensor, "batch quantiles"]:
        """Quantiles of the entries as bfloat16 numbers."""
        return torch.stack([one.distribution[1] for one in self._measured()])

    @cached_property
    def squared_norms(self) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "batch in"]]:
        """Squared norms of rows and columns."""
        rows, columns = zip(*((one.row_squares, one.column_squares) for one in self._measured()), strict=True)
        return torch.stack(rows).float(), torch.stack(columns).float()

    @cached_property
    def waves(self) -> WaveSums:
        """Sums over the kernels."""
        return WaveSums.concat([one.waves for one in self._measured() if one.waves is not None])

    @cached_property
    def sampled_rows(self) -> Int[Tensor, "batch rows"] | None:
        """The fed neurons that are in the sample."""
        ends = [(one.row_squares, one.row_sums) for one in self._measured()]
        squares, sums = (torch.stack(list(column)) for column in zip(*ends, strict=True))
        return choose_neurons(squares, sums, MAX_NEURONS)

    @cached_property
    def sample(self) -> Float[Tensor, "batch rows columns kernel"]:
        """Rows and columns of the tensor, which are read again."""
        ends = [(one.column_squares, one.column_sums) for one in self._measured()]
        squares, sums = (torch.stack(list(column)) for column in zip(*ends, strict=True))
        columns = choose_neurons(squares, sums, most_inputs(self.kernel))
        rows = self.sampled_rows
        return torch.stack(
            [
                reader.read_sample(
                    None if rows is None else rows[place], None if columns is None else columns[place]
                ).clamp(-LARGEST, LARGEST)
                for place, reader in enumerate(self._readers)
            ]
        )

    def respond(self, probes: Probes) -> Reply:
        """Multiplies the pieces of the tensor with the probes while they are measured."""
        passes, replies = [], []
        for place, reader in enumerate(self._readers):
            answer = ProbedPass(self._shape, probes, place)
            found = self._pass(reader, answer)
            if found.is_excessive:
                answer = ProbedPass(self._shape, probes, place)
                found = self._pass(reader, answer, is_bounded=True)
            passes.append(found)
            replies.append(answer.reply())
        self._passes = passes
        values, gain, reads = zip(*replies, strict=True)
        return Reply(torch.stack(values), torch.stack(gain), None if reads[0] is None else torch.stack(reads))

    def _measured(self) -> list[TensorPass]:
        if self._passes is None:
            passes = [self._pass(reader) for reader in self._readers]
            self._passes = [
                self._pass(reader, is_bounded=True) if found.is_excessive else found
                for reader, found in zip(self._readers, passes, strict=True)
            ]
        return self._passes

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.num_out, self.num_in, self.kernel

    def _pass(self, reader: PieceReader, answer: ProbedPass | None = None, *, is_bounded: bool = False) -> TensorPass:
        """Reads the tensor once; entries are bounded only in the rare tensor that needs it, which is read twice."""
        found = TensorPass(self._shape)
        for block in reader.read_blocks(READ_ENTRIES):
            for piece in _cut(replace(block, values=block.values.clamp(-LARGEST, LARGEST)) if is_bounded else block):
                measured = found.add(piece)
                if answer is not None:
                    answer.add(measured)
        found.finish()
        return found


def _cut(block: Block) -> Iterator[Block]:
    """Cuts a block in its stored order into pieces of about `PIECE_ENTRIES`."""
    rows, columns, kernel = block.values.shape
    if block.values.is_contiguous():
        step = max(1, PIECE_ENTRIES // (columns * kernel))
        for row in range(0, rows, step):
            values = block.values[row : row + step]
            yield Block(slice(block.rows.start + row, block.rows.start + row + len(values)), block.columns, values)
    else:
        step = max(1, PIECE_ENTRIES // (rows * kernel))
        for column in range(0, columns, step):
            values = block.values[:, column : column + step]
            first = block.columns.start + column
            yield Block(block.rows, slice(first, first + values.shape[1]), values)
