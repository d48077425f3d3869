"""Cuts networks into padded chunks of one neuron's weights each, and reassembles them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sne.errors import SneError
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
"""Numbers of the layer types. Saved predictors depend on them: append new ones, never change old ones (`KindTable`)."""

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
"""Numbers of the roles. Saved predictors depend on them and on how many there are: a new role makes them unreadable."""


@final
class KindTable(nn.Embedding):
    """One vector per pair of a layer type and a role, in row `len(ROLES) * layer_type + role`.

    A table that was saved before a layer type was appended to `LAYER_TYPES` can still be read: see `grow`.

    Args:
        dim: Width of the vectors.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(len(LAYER_TYPES) * len(ROLES), dim)

    def grow(self, saved: Tensor) -> Tensor:
        """Adds rows of zeros for the layer types that a saved table does not have.

        Args:
            saved: Rows as saved, perhaps with fewer layer types.

        Returns:
            Rows for all layer types; `saved` itself if it has them, or if it is no table of this width.
        """
        missing, dim = self.num_embeddings - len(saved) if saved.ndim else 0, self.embedding_dim
        if missing <= 0 or missing % len(ROLES) or saved.shape[1:] != (dim,):
            return saved
        return torch.cat([saved, saved.new_zeros(missing, dim)])


@dataclass(frozen=True)
class ChunkedNetworks:
    """The weights of some networks as one flat ragged batch: chunk -> part -> network.

    A chunk holds up to chunk_size consecutive weights of one neuron: from a row of a matrix, or from the kernel
    positions of one (out, in) pair of a convolution. Chunks of a vector (bias, norm) hold consecutive entries, each of
    which belongs to a neuron of its own. Parts without entries are left out.

    Args:
        chunks: The weights; zero on padding.
        lengths: Number of real entries of each chunk, which come before the padding.
        part_chunks: Number of chunks of each part; the chunks of a part are consecutive.
        part_layer_types: Number of the part's layer type in `LAYER_TYPES`.
        part_roles: Number of the part's role in `ROLES`.
        part_levels: Level of the part's layer.
        part_shapes: Shape (out, in, kernel positions) of each part.
        network_parts: Number of parts of each network; the parts of a network are consecutive.
    """

    chunks: Float[Tensor, "chunks chunk_size"]
    lengths: Int[Tensor, " chunks"]
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
        """Number of entries per chunk, including padding."""
        return self.chunks.shape[1]

    @property
    def mask(self) -> Bool[Tensor, "chunks chunk_size"]:
        """True on real entries."""
        return torch.arange(self.chunk_size, device=self.chunks.device) < self.lengths[:, None]

    def sums(self) -> tuple[float, float, float]:
        """Returns the number of weights, their sum and the sum of their squares."""
        # The padding is zero and adds nothing to either sum.
        squares = self.chunks.double().square().sum()
        return float(self.lengths.sum()), float(self.chunks.sum(dtype=torch.float64)), float(squares)

    def to(self, device: Any) -> "ChunkedNetworks":
        """Returns the same batch on another device."""
        return ChunkedNetworks(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @classmethod
    def concat(cls, batches: Sequence["ChunkedNetworks"]) -> "ChunkedNetworks":
        """Joins batches of one chunk size, in order.

        Args:
            batches: One or more batches.

        Returns:
            One batch with all their networks.

        Raises:
            SneError: If there is no batch or the chunk sizes differ.
        """
        sizes = {batch.chunk_size for batch in batches}
        if len(sizes) != 1:
            raise SneError(f"expected batches of one chunk size, got chunk sizes {sorted(sizes)}")
        if len(batches) == 1:
            return batches[0]
        return cls(**{f.name: torch.cat([getattr(b, f.name) for b in batches]) for f in fields(cls)})


def chunk(networks: Sequence[Network], chunk_size: int) -> ChunkedNetworks:
    """Reads networks of any architectures, and cuts their weights into one batch of padded chunks.

    Args:
        networks: One or more networks.
        chunk_size: Number of entries per chunk, at least 1.

    Returns:
        The batch, with the networks in order. Inverse: `unchunk`.

    Raises:
        SneError: If there is no network, a network has no weights, or chunk_size is below 1.

    Example:
        >>> from sne import read_network
        >>> chunk([read_network({"weight": torch.tensor([[1.0, 2.0, 3.0]])})], 2).chunks
        tensor([[1., 2.],
                [3., 0.]])
    """
    return ChunkedNetworks.concat(chunk_each(networks, chunk_size))


def chunk_each(networks: Sequence[Network], chunk_size: int) -> list[ChunkedNetworks]:
    """Reads networks, and cuts the weights of each into a batch of its own; networks of one layout are cut together.

    Args:
        networks: Networks of any architectures.
        chunk_size: Number of entries per chunk, at least 1.

    Returns:
        One batch per network, in order. Batches of networks of one layout share the tensors that the layout determines.

    Raises:
        SneError: If a network has no weights, or chunk_size is below 1.

    Source: Andreis et al., arXiv 2305.16625, section 3; method.md, section 1.
    Differs: nothing for matrices (each row is padded on its own) and convolutions (cut over kernel positions only).
        Other tensors are OPEN: each is a part with a type of its own, and a vector is padded and cut as a whole. A
        1 x 1 convolution is read as a matrix. The padding is masked.
    """
    if chunk_size < 1:
        raise SneError(f"chunk_size must be at least 1, got {chunk_size}")
    layouts: dict[tuple[Layer, ...], list[int]] = {}
    known: dict[int, list[int]] = {}  # hashing a large layout is slow, and the networks of a zoo share theirs
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
    """Reassembles every part from its chunks. Inverse of `chunk`.

    Args:
        batch: Batch that `chunk` returned.

    Returns:
        The parts of every network in order, with the axes out, in, kernel positions. Parts without entries are left
        out, as they are in the batch.
    """
    parts = []
    chunks = batch.chunks.split(batch.part_chunks.tolist())
    for part, shape in zip(chunks, batch.part_shapes.tolist(), strict=True):
        rows, length = _rows(shape[0], shape[1], shape[2])
        parts.append(part.reshape(rows, -1)[:, :length].reshape(shape))
    ends = batch.network_parts.cumsum(0).tolist()
    return [parts[end - num : end] for end, num in zip(ends, batch.network_parts.tolist(), strict=True)]


def num_chunks(part: Part, chunk_size: int) -> int:
    """Returns the number of chunks that `chunk` cuts a part into, without reading its values.

    Args:
        part: The part.
        chunk_size: Number of entries per chunk.

    Returns:
        The number of chunks; 0 for a part without entries.
    """
    if not part.num_entries:
        return 0
    rows, length = _rows(*part.arranged_shape)
    return rows * -(-length // chunk_size)


def cut(
    values: Float[Tensor, "rows columns kernel"], part: Part, chunk_size: int
) -> list[Float[Tensor, "chunks length"]]:
    """Cuts a piece of a part into chunks.

    Args:
        values: Weights of the piece. Its columns start at a multiple of chunk_size; in a part of one column, its rows.
        part: The part.
        chunk_size: Number of entries per chunk.

    Returns:
        The chunks without padding, in one tensor per length: those of `chunk_size` entries, and the ends of the rows.

    Example:
        >>> part = Part("fc.weight", Role.WEIGHT, (1, 3), out_axis=0, in_axis=1)
        >>> [chunks.tolist() for chunks in cut(torch.tensor([[[1.0], [2.0], [3.0]]]), part, 2)]
        [[[1.0, 2.0]], [[3.0]]]
    """
    _, num_in, kernel = part.arranged_shape
    if kernel > 1:
        rows = values.flatten(0, 1)
    elif num_in > 1:
        rows = values.flatten(1)
    else:
        rows = values.reshape(1, -1)
    whole = rows.shape[1] - rows.shape[1] % chunk_size
    pieces = [rows[:, :whole].reshape(-1, chunk_size), rows[:, whole:]]
    return [piece for piece in pieces if piece.numel()]


def _rows(num_out: int, num_in: int, kernel: int) -> tuple[int, int]:
    """Returns number and length of the rows that a part of shape (out, in, kernel positions) is cut into."""
    if kernel > 1:
        return num_out * num_in, kernel
    if num_in > 1:
        return num_out, num_in
    return 1, num_out


def _chunk_layout(networks: Sequence[Network], chunk_size: int) -> list[ChunkedNetworks]:
    """Returns the batches of networks that share all layers; shared tensors are computed once."""
    parts = [(layer, part) for layer, part in networks[0].parts() if part.num_entries]
    if not parts:
        raise SneError(f"{networks[0].name}: expected a network with weights, found none")
    shapes = torch.tensor([part.arranged_shape for _, part in parts])
    counts = [num_chunks(part, chunk_size) for _, part in parts]
    values = torch.zeros(len(networks), sum(counts), chunk_size, dtype=torch.float32)
    for row, network in enumerate(networks):
        _fill(values[row], network, [part for _, part in parts], counts)
    lengths = torch.cat([_lengths(part.arranged_shape, chunk_size) for _, part in parts]).to(torch.int32)
    part_chunks = torch.tensor(counts)
    layer_types = torch.tensor([LAYER_TYPES[layer.type] for layer, _ in parts])
    roles = torch.tensor([ROLES[part.role] for _, part in parts])
    levels = torch.tensor([layer.level for layer, _ in parts])
    num_parts = torch.tensor([len(parts)])
    return [
        ChunkedNetworks(row, lengths, part_chunks, layer_types, roles, levels, shapes, num_parts)
        for row in values.unbind(0)
    ]


def _fill(out: Tensor, network: Network, parts: Sequence[Part], counts: Sequence[int]) -> None:
    """Reads the parts of a network into its chunks."""
    name, stored = None, torch.empty(0, dtype=torch.float32)
    for part, target in zip(parts, out.split(list(counts)), strict=True):
        if part.tensor != name:  # pieces of one fused tensor are consecutive: load it once
            name, stored = part.tensor, network.source.load(part.tensor)
        rows, length = _rows(*part.arranged_shape)
        target.view(rows, -1)[:, :length] = part.arrange(stored).reshape(rows, length)


def _lengths(shape: tuple[int, int, int], chunk_size: int) -> Int[Tensor, " chunks"]:
    """Returns the number of real entries of every chunk of a part."""
    rows, length = _rows(*shape)
    return (length - torch.arange(0, length, chunk_size)).clamp(max=chunk_size).repeat(rows)
