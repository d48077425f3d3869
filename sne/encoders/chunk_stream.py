"""A network of any size, or a sample of it, as chunks that are read while it is encoded, a piece at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.encoders.chunking import LAYER_TYPES, ROLES, ChunkedNetworks, chunk_each, cut, num_chunks
from sne.encoders.limits import Limits
from sne.encoders.sampling import PartSample, sample_part, share_budget
from sne.errors import SneError
from sne.networks import Layer, Network, Part, Role

READ_ENTRIES = 1 << 20
"""Number of weights that are read at once."""


@dataclass(frozen=True)
class StreamedNetwork:
    """One network whose chunks are read when they are asked for.

    Args:
        network: The network.
        chunk_size: Largest number of weights per chunk.
        limits: Limits on memory and on the number of weights that are read.
        device: Device to which chunks are moved.
    """

    network: Network
    chunk_size: int
    limits: Limits = Limits()
    device: Any = "cpu"

    @property
    def num_networks(self) -> int:
        """Number of networks: 1."""
        return 1

    def to(self, device: Any) -> "StreamedNetwork":
        """Returns the same network with chunks on another device."""
        return replace(self, device=device)

    @cached_property
    def parts(self) -> tuple[tuple[Layer, Part], ...]:
        """Every part that has entries, with its layer."""
        return tuple((layer, part) for layer, part in self.network.parts() if part.num_entries)

    @property
    def part_layer_types(self) -> Int[Tensor, " parts"]:
        """Number of each part's layer type in `LAYER_TYPES`."""
        return torch.tensor([LAYER_TYPES[layer.type] for layer, _ in self.parts], device=self.device)

    @property
    def part_roles(self) -> Int[Tensor, " parts"]:
        """Number of each part's role in `ROLES`."""
        return torch.tensor([ROLES[part.role] for _, part in self.parts], device=self.device)

    @property
    def part_levels(self) -> Int[Tensor, " parts"]:
        """Level of each part's layer."""
        return torch.tensor([layer.level for layer, _ in self.parts], device=self.device)

    @cached_property
    def part_chunks(self) -> tuple[int, ...]:
        """Number of chunks of each part of the whole network."""
        return tuple(num_chunks(part, self.chunk_size) for _, part in self.parts)

    @cached_property
    def samples(self) -> tuple[PartSample | None, ...]:
        """What is read of each part; None for a part that is read whole."""
        sizes, budget = [part.num_entries for _, part in self.parts], self.limits.budget
        if budget is None or sum(sizes) <= budget:
            return (None,) * len(sizes)
        share = share_budget(sizes, budget)
        generator = torch.Generator().manual_seed(self.limits.seed)
        return tuple(
            None if part.num_entries <= share else sample_part(part, self.chunk_size, share, generator)
            for _, part in self.parts
        )

    @property
    def num_read(self) -> int:
        """Number of weights that are read."""
        pairs = zip(self.parts, self.samples, strict=True)
        return sum(part.num_entries if one is None else one.num_weights(part) for (_, part), one in pairs)

    def read_chunks(self, place: int) -> Iterator[Float[Tensor, "chunks length"]]:
        """Reads a part.

        Args:
            place: Index of the part in `parts`.

        Yields:
            Its chunks, or those of the sample, in tensors of chunks of one length, without padding; each chunk once, in
            any order.
        """
        _, part = self.parts[place]
        for values in self._read(part, self.samples[place]):
            for chunks in cut(weights_of(values, part), part, self.chunk_size):
                yield chunks.to(self.device)

    def _read(self, part: Part, sample: PartSample | None) -> Iterator[Float[Tensor, "rows columns kernel"]]:
        """Reads a part in pieces that cut no chunk."""
        most = max(READ_ENTRIES - READ_ENTRIES % self.chunk_size, self.chunk_size)
        if sample is None:
            yield from (block.values for block in self.network.read_blocks(part, most, align=self.chunk_size))
            return
        kernel = part.arranged_shape[2]
        for rows in sample.rows.split(max(1, most // (len(sample.columns) * kernel))):
            yield self.network.read_sample(part, rows, None if part.in_axis is None else sample.columns)

    def sums(self) -> tuple[float, float, float]:
        """Returns the number of weights that are read, their sum and the sum of their squares."""
        sums = torch.zeros(3, dtype=torch.float64)
        for place in range(len(self.parts)):
            for chunks in self.read_chunks(place):
                values = chunks.double()
                sums[0] += values.numel()
                sums[1:] += torch.stack([values.sum(), values.square().sum()]).cpu()
        count, total, squares = sums.tolist()
        return count, total, squares

    def resident(self) -> ChunkedNetworks:
        """Returns the whole network's chunks in memory, on the device.

        Raises:
            SneError: A sample is read of the network.
        """
        if self.num_read < self.network.num_weights:
            raise SneError(f"{self.network.name}: a budget leaves no gradients; expected torch.no_grad() or no budget")
        return prepare_chunks([self.network], self.chunk_size)[0].to(self.device)


@dataclass(frozen=True)
class MixedNetworks:
    """Networks of a batch of which some are streamed, in order.

    Args:
        batches: Batches whose networks follow one another.
    """

    batches: tuple[ChunkedNetworks | StreamedNetwork, ...]

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        return sum(batch.num_networks for batch in self.batches)

    def to(self, device: Any) -> "MixedNetworks":
        """Returns the same batch on another device."""
        return MixedNetworks(tuple(batch.to(device) for batch in self.batches))


def join(items: Sequence[ChunkedNetworks | StreamedNetwork]) -> ChunkedNetworks | StreamedNetwork | MixedNetworks:
    """Joins items into one batch, in order.

    Raises:
        SneError: If there is no item, or the chunk sizes differ.
    """
    batches: list[ChunkedNetworks | StreamedNetwork] = []
    alike: list[ChunkedNetworks] = []
    for item in items:
        if isinstance(item, ChunkedNetworks):
            alike.append(item)
            continue
        batches += [ChunkedNetworks.concat(alike)] if alike else []
        batches.append(item)
        alike = []
    if alike or not batches:
        batches.append(ChunkedNetworks.concat(alike))
    return batches[0] if len(batches) == 1 else MixedNetworks(tuple(batches))


def prepare_chunks(networks: Sequence[Network], chunk_size: int) -> list[ChunkedNetworks]:
    """Reads networks and cuts them into chunks, with running variances replaced by their square roots."""
    return [_with_deviations(item) for item in chunk_each(networks, chunk_size)]


def weights_of(values: Tensor, part: Part) -> Tensor:
    """Returns the values of a part as they are encoded: running variances are replaced by their square roots."""
    return values.clamp(min=0).sqrt() if part.role is Role.RUNNING_VAR else values


def _with_deviations(item: ChunkedNetworks) -> ChunkedNetworks:
    is_variance = item.part_roles == ROLES[Role.RUNNING_VAR]
    if not is_variance.any():
        return item
    chunks = item.chunks.clone()
    rows = is_variance.repeat_interleave(item.part_chunks)
    chunks[rows] = chunks[rows].clamp(min=0).sqrt()
    return replace(item, chunks=chunks)
