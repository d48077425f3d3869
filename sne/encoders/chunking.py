"""Cuts networks into chunks of one neuron's weights, padded and masked; and puts them together again."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sne.networks import Layer, LayerType, Network, Part, Role

LAYER_TYPES: dict[LayerType, int] = {
    LayerType.OTHER: 0,
    LayerType.LINEAR: 1,
    LayerType.CONV1D: 2,
    LayerType.CONV2D: 3,
    LayerType.CONV3D: 4,
    LayerType.CONV_TRANSPOSE1D: 5,
    LayerType.CONV_TRANSPOSE2D: 6,
    LayerType.CONV_TRANSPOSE3D: 7,
    LayerType.EMBEDDING: 8,
    LayerType.BATCH_NORM: 9,
    LayerType.LAYER_NORM: 10,
    LayerType.GROUP_NORM: 11,
    LayerType.RMS_NORM: 12,
    LayerType.ATTENTION_QUERY: 13,
    LayerType.ATTENTION_KEY: 14,
    LayerType.ATTENTION_VALUE: 15,
    LayerType.ATTENTION_OUT: 16,
    LayerType.LSTM: 17,
    LayerType.GRU: 18,
    LayerType.RNN: 19,
    LayerType.POSITION: 20,
}
"""Numbers of the layer types. Saved predictors rely on them: append, never change."""

ROLES: dict[Role, int] = {
    Role.WEIGHT: 0,
    Role.BIAS: 1,
    Role.RECURRENT_WEIGHT: 2,
    Role.RECURRENT_BIAS: 3,
    Role.SCALE: 4,
    Role.RUNNING_MEAN: 5,
    Role.RUNNING_VAR: 6,
    Role.TABLE: 7,
}
"""Numbers of the roles. Saved predictors rely on them: append, never change."""


@dataclass(frozen=True)
class ChunkedNetworks:
    """The weights of some networks as one flat ragged batch: chunk -> part -> network.

    A chunk holds up to chunk_size consecutive weights that one neuron has: of a row of a matrix, of the
    kernel positions of one (out, in) pair of a convolution, or of a vector (bias, norm), where every entry
    belongs to a neuron of its own. Parts without entries are left out.

    Args:
        chunks: the weights, zero on padding.
        lengths: number of real entries of each chunk, at the front of it.
        neurons: out-index of the chunk's first entry.
        starts: where the chunk begins among the in x kernel weights of its neuron.
        part_chunks: number of chunks of each part; their chunks follow each other.
        part_layer_types: number of the part's layer type in `LAYER_TYPES`.
        part_roles: number of the part's role in `ROLES`.
        part_levels: level of the part's layer.
        part_shapes: canonical (out, in, kernel) shape of each part.
        network_parts: number of parts of each network; their parts follow each other.
    """

    chunks: Float[Tensor, "chunks chunk_size"]
    lengths: Int[Tensor, " chunks"]
    neurons: Int[Tensor, " chunks"]
    starts: Int[Tensor, " chunks"]
    part_chunks: Int[Tensor, " parts"]
    part_layer_types: Int[Tensor, " parts"]
    part_roles: Int[Tensor, " parts"]
    part_levels: Int[Tensor, " parts"]
    part_shapes: Int[Tensor, "parts 3"]
    network_parts: Int[Tensor, " networks"]

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        return len(self.network_parts)

    @property
    def chunk_size(self) -> int:
        """Entries of a chunk, real or padded."""
        return self.chunks.shape[1]

    @property
    def mask(self) -> Bool[Tensor, "chunks chunk_size"]:
        """True on real entries."""
        return torch.arange(self.chunk_size, device=self.chunks.device) < self.lengths[:, None]

    @property
    def chunk_parts(self) -> Int[Tensor, " chunks"]:
        """The part that each chunk belongs to."""
        parts = torch.arange(len(self.part_chunks), device=self.part_chunks.device)
        return parts.repeat_interleave(self.part_chunks)

    @property
    def part_networks(self) -> Int[Tensor, " parts"]:
        """The network that each part belongs to."""
        networks = torch.arange(len(self.network_parts), device=self.network_parts.device)
        return networks.repeat_interleave(self.network_parts)

    def to(self, device: Any) -> "ChunkedNetworks":
        """The same batch on another device."""
        return ChunkedNetworks(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @classmethod
    def concat(cls, batches: Sequence["ChunkedNetworks"]) -> "ChunkedNetworks":
        """Joins batches of one chunk size, in order.

        Args:
            batches: at least one.

        Returns:
            One batch with all their networks.

        Raises:
            ValueError: if there is no batch or the chunk sizes differ.
        """
        sizes = {batch.chunk_size for batch in batches}
        if len(sizes) != 1:
            raise ValueError(f"expected batches of one chunk size, got chunk sizes {sorted(sizes)}")
        if len(batches) == 1:
            return batches[0]
        return cls(**{f.name: torch.cat([getattr(b, f.name) for b in batches]) for f in fields(cls)})


def chunk(networks: Sequence[Network], chunk_size: int) -> ChunkedNetworks:
    """Reads, pads and cuts networks of any architectures into one batch.

    Args:
        networks: at least one, in the order wanted.
        chunk_size: entries of a chunk.

    Returns:
        The batch. Inverse: `unchunk`.

    Raises:
        ValueError: if there is no network, one holds no weights, or chunk_size is below 1.
    """
    return ChunkedNetworks.concat(chunk_each(networks, chunk_size))


def chunk_each(networks: Sequence[Network], chunk_size: int) -> list[ChunkedNetworks]:
    """Reads, pads and cuts networks into one batch each; networks of one layout are cut together.

    Args:
        networks: of any architectures.
        chunk_size: entries of a chunk.

    Returns:
        One batch a network, in order. Batches of networks of one layout share what the layout fixes.

    Raises:
        ValueError: if a network holds no weights, or chunk_size is below 1.

    Source: Andreis et al., arXiv 2305.16625, section 3; method.md, section 1.
    Differs: nothing for matrices (each row padded on its own) and convolutions (over kernel positions only).
        Other tensors are OPEN: each is a part with a type of its own, a vector is padded and cut as a whole,
        so that a 1 x 1 convolution is read as the matrix it is, and the pad is masked.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    layouts: dict[tuple[Layer, ...], list[int]] = {}
    known: dict[int, list[int]] = {}  # hashing a large layout is slow, and rows of a zoo share theirs
    for index, network in enumerate(networks):
        if id(network.layers) not in known:
            known[id(network.layers)] = layouts.setdefault(network.layers, [])
        known[id(network.layers)].append(index)
    prepared: list[ChunkedNetworks | None] = [None] * len(networks)
    for indices in layouts.values():
        for index, item in zip(indices, _chunk_layout([networks[i] for i in indices], chunk_size), strict=True):
            prepared[index] = item
    return [item for item in prepared if item is not None]


def unchunk(batch: ChunkedNetworks) -> list[list[Float[Tensor, "out in kernel"]]]:
    """Puts every part together again. Inverse of `chunk`.

    Args:
        batch: what `chunk` gave.

    Returns:
        For every network its parts in order, axes as out, in, kernel positions; parts without entries are
        left out, as they are in the batch.
    """
    parts = []
    chunks = batch.chunks.split(batch.part_chunks.tolist())
    for part, shape in zip(chunks, batch.part_shapes.tolist(), strict=True):
        rows, length = _rows(shape[0], shape[1], shape[2])
        parts.append(part.reshape(rows, -1)[:, :length].reshape(shape))
    ends = batch.network_parts.cumsum(0).tolist()
    return [parts[end - num : end] for end, num in zip(ends, batch.network_parts.tolist(), strict=True)]


def num_chunks(part: Part, chunk_size: int) -> int:
    """Number of chunks that `chunk` cuts a part into, known without its values.

    Args:
        part: any part.
        chunk_size: entries of a chunk.

    Returns:
        The number; 0 for a part without entries.
    """
    if not part.num_entries:
        return 0
    rows, length = _rows(*part.canonical_shape)
    return rows * -(-length // chunk_size)


def _rows(num_out: int, num_in: int, kernel: int) -> tuple[int, int]:
    """Into how many rows, of which length, a part of this canonical shape is cut."""
    if kernel > 1:
        return num_out * num_in, kernel
    if num_in > 1:
        return num_out, num_in
    return 1, num_out


def _chunk_layout(networks: Sequence[Network], chunk_size: int) -> list[ChunkedNetworks]:
    """Cuts networks that share all layers, one stacked operation a part."""
    parts = [(layer, part) for layer, part in networks[0].parts() if part.num_entries]
    if not parts:
        raise ValueError(f"{networks[0].name}: expected a network with weights, found none")
    shapes = torch.tensor([part.canonical_shape for _, part in parts])
    counts = [rows * -(-length // chunk_size) for rows, length in (_rows(*s) for s in shapes.tolist())]
    values = torch.zeros(len(networks), sum(counts), chunk_size)
    for row, network in enumerate(networks):
        _fill(values[row], network, [part for _, part in parts], counts)
    places = [_places(part.canonical_shape, chunk_size) for _, part in parts]
    lengths, neurons, starts = (torch.cat(column).to(torch.int32) for column in zip(*places, strict=True))
    part_chunks = torch.tensor(counts)
    layer_types = torch.tensor([LAYER_TYPES[layer.type] for layer, _ in parts])
    roles = torch.tensor([ROLES[part.role] for _, part in parts])
    levels = torch.tensor([layer.level for layer, _ in parts])
    num_parts = torch.tensor([len(parts)])
    return [
        ChunkedNetworks(row, lengths, neurons, starts, part_chunks, layer_types, roles, levels, shapes, num_parts)
        for row in values.unbind(0)
    ]


def _fill(out: Tensor, network: Network, parts: Sequence[Part], counts: Sequence[int]) -> None:
    name, stored = None, torch.empty(0)
    for part, target in zip(parts, out.split(list(counts)), strict=True):
        if part.tensor != name:  # pieces of one fused tensor follow each other: load it once
            name, stored = part.tensor, network.source.load(part.tensor)
        rows, length = _rows(*part.canonical_shape)
        target.view(rows, -1)[:, :length] = part.canonical(stored).reshape(rows, length)


def _places(shape: tuple[int, int, int], chunk_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Real entries, first neuron and start inside the neuron of every chunk of a part."""
    num_out, num_in, kernel = shape
    rows, length = _rows(num_out, num_in, kernel)
    begins = torch.arange(0, length, chunk_size)
    row = torch.arange(rows)[:, None]
    lengths = (length - begins).clamp(max=chunk_size).expand(rows, -1)
    if kernel > 1:
        neurons, starts = row // num_in, row % num_in * kernel + begins
    elif num_in > 1:
        neurons, starts = row, begins + 0 * row
    else:
        neurons, starts = begins[None], torch.zeros_like(begins)[None]
    return lengths.flatten(), neurons.expand(lengths.shape).flatten(), starts.flatten()
