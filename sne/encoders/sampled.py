"""Measurements of a sample of a large tensor: some of its stored rows stand for all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.encoders.kernel_waves import WaveSums
from sne.encoders.limits import Limits
from sne.encoders.measures import MeasuredTensor, Probes, Reply, is_described_as_matrix
from sne.encoders.sampling import choose, is_stored_by_inputs, share_budget
from sne.encoders.streamed import StreamedTensor
from sne.networks import Block, Network, Part

LEAST_ROWS = 2
"""Number of stored rows that are read at least of every tensor that is sampled."""


def choose_rows(parts: Sequence[Part], limits: Limits) -> dict[Part, Int[Tensor, " rows"]]:
    """Chooses what is read of the parts of a network under a budget of weights.

    Every part is one token, so all parts above the share give about equally many weights
    (`sne.encoders.sampling.share_budget`). Vectors are read whole.

    Args:
        parts: The parts.
        limits: The budget, and the seed of the sample.

    Returns:
        The stored rows to read of each part that is not read whole, in ascending order: one at random from each of as
        many equal runs of rows, and at least `LEAST_ROWS`, even if that is more than the budget.
    """
    sizes = [part.num_entries for part in parts]
    if limits.budget is None or sum(sizes) <= limits.budget:
        return {}
    share, chosen = share_budget(sizes, limits.budget), {}
    generator = torch.Generator().manual_seed(limits.seed)
    for part in parts:
        if part.num_entries > share and is_described_as_matrix(part.arranged_shape):
            rows = _num_rows(part)
            chosen[part] = choose(rows, max(LEAST_ROWS, share * rows // part.num_entries), generator)
    return chosen


def num_read(network: Network, limits: Limits) -> int:
    """Returns the number of weights that are read of a network within limits."""
    parts = [part for _, part in network.parts()]
    chosen = choose_rows(parts, limits)
    return sum(
        part.num_entries // _num_rows(part) * len(chosen[part]) if part in chosen else part.num_entries
        for part in parts
    )


def _num_rows(part: Part) -> int:
    num_out, num_in, _ = part.arranged_shape
    return num_in if is_stored_by_inputs(part) else num_out


@final
@dataclass(frozen=True)
class SampledPart:
    """Reads some stored rows of a part, as if they were the part.

    Args:
        network: The network.
        part: The part.
        chosen: The stored rows to read.
    """

    network: Network
    part: Part
    chosen: Int[Tensor, " chosen"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of what is read."""
        num_out, num_in, kernel = self.part.arranged_shape
        return (num_out, len(self.chosen), kernel) if self._by_inputs else (len(self.chosen), num_in, kernel)

    def read_blocks(self, most: int) -> Iterator[Block]:
        """Reads the rows in pieces."""
        num_out, num_in, kernel = self.shape
        width = (num_out if self._by_inputs else num_in) * kernel
        for places in torch.arange(len(self.chosen)).split(max(1, most // width)):
            here = slice(int(places[0]), int(places[-1]) + 1)
            rows, columns = (slice(0, num_out), here) if self._by_inputs else (here, slice(0, num_in))
            values = self.read_sample(*((None, places) if self._by_inputs else (places, None)))
            yield Block(rows, columns, values)

    def read_sample(
        self, rows: Int[Tensor, " rows"] | None, columns: Int[Tensor, " columns"] | None
    ) -> Float[Tensor, "rows columns kernel"]:
        """Reads some neurons of what is read."""
        if self._by_inputs:
            columns = self.chosen if columns is None else self.chosen[columns]
        else:
            rows = self.chosen if rows is None else self.chosen[rows]
        return self.network.read_sample(self.part, rows, columns)

    @property
    def _by_inputs(self) -> bool:
        return is_stored_by_inputs(self.part)


@final
class SampledTensor(MeasuredTensor):
    """A tensor of which some stored rows are read.

    Sums over rows are multiplied up. A neuron whose row is not read takes the values of one that is read near it, so
    that their distribution is right. If the stored rows are inputs, the values of the others are
    left out, and the sum of the rest is multiplied up like a sum of independent numbers.

    Args:
        networks: Networks of one layout.
        part: The part that holds the tensor.
        chosen: The stored rows to read.
    """

    def __init__(self, networks: Sequence[Network], part: Part, chosen: Int[Tensor, " chosen"]) -> None:
        super().__init__((len(networks), *part.arranged_shape))
        self._read = StreamedTensor([SampledPart(network, part, chosen) for network in networks])
        self._by_inputs = is_stored_by_inputs(part)
        self._chosen = chosen
        rows = self.num_in if self._by_inputs else self.num_out
        self._factor = rows / len(chosen)
        self._stand_in = (torch.arange(rows) * len(chosen)).div(rows, rounding_mode="floor")
        self._stand_in[chosen] = torch.arange(len(chosen))  # a row that is read stands for itself

    @cached_property
    def moments(self) -> Float[Tensor, "batch moments"]:
        """Moments of the entries that are read."""
        return self._read.moments

    @cached_property
    def quantiles(self) -> Float[Tensor, "batch quantiles"]:
        """Quantiles of the entries that are read."""
        return self._read.quantiles

    @cached_property
    def squared_norms(self) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "batch in"]]:
        """Squared norms of rows and columns, estimated."""
        rows, columns = self._read.squared_norms
        if self._by_inputs:
            return rows * self._factor, columns[:, self._stand_in]
        return rows[:, self._stand_in], columns * self._factor

    @cached_property
    def waves(self) -> WaveSums:
        """Sums over the kernels, estimated."""
        return self._read.waves.times(self._factor)

    @cached_property
    def sampled_rows(self) -> Int[Tensor, "batch rows"] | None:
        """The fed neurons that are in the sample."""
        if self._by_inputs:
            return self._read.sampled_rows
        some = self._read.sampled_rows
        return self._chosen.expand(self.batch, -1) if some is None else self._chosen[some]

    @cached_property
    def sample(self) -> Float[Tensor, "batch rows columns kernel"]:
        """Some of the neurons that are read."""
        return self._read.sample

    def respond(self, probes: Probes) -> Reply:
        """Multiplies what is read with the probes."""
        if not self._by_inputs:
            reply = self._read.respond(probes)
            values, gain = reply.values[..., self._stand_in], reply.gain[:, self._stand_in]
            return Reply(values, gain, reply.reads)
        values, gain = probes.values[..., self._chosen], probes.gain[:, self._chosen]
        reply = self._read.respond(Probes(values * self._factor**0.5, gain * self._factor))
        return replace(reply, reads=None)
