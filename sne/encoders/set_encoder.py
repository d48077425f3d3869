"""SNE, the encoder of the paper: chunks, layers and networks, each read as a set."""

from collections.abc import Iterator, Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sne.encoders.chunk_stream import MixedNetworks, StreamedNetwork, join, prepare_chunks
from sne.encoders.chunking import ChunkedNetworks, num_chunks
from sne.encoders.contract import NetworkEncoder
from sne.encoders.limits import LEAST_SPARE, Limits
from sne.encoders.set_functions import (
    ChunkEncoder,
    MeanChunkEncoder,
    MeanVectorSetEncoder,
    TypeLevelEncoding,
    VectorSetEncoder,
)
from sne.encoders.vector_store import VectorStore
from sne.errors import SneError
from sne.networks import Network
from sne.nn import SetBuckets, bucket_sets, in_float32

CHUNK_TOKENS = 1 << 20
"""Number of weights that the chunk encoder receives at once on the CPU; it divides them into slices."""

VECTOR_TOKENS = 1 << 12
"""Number of vectors that the other stages process at once on the CPU, so that their tensors fit a core's cache."""

BUCKET_TOKENS = 1 << 15
"""Number of tokens processed at once on a GPU, whose kernels take at most 65,535 sets."""

THREAD_MEMORY = 1 << 24
"""Number of bytes that a thread of the chunk encoder takes at the default width."""

RESIDENT_CHUNKS = 1 << 17
"""Number of chunk vectors kept at once. A network with more chunks is streamed: see `sne.encoders.chunk_stream`."""

MAX_CHUNK = 1 << 16
"""Largest number of weights per chunk; every chunk takes the memory of a whole one."""

SET_FUNCTIONS = ("attention", "mean")


@final
class SetEncoder(NetworkEncoder):
    """Set-based Neural network Encoder (SNE), after the paper.

    A network is a set of parts, a part a set of chunks, a chunk a set of weights. Each set passes two set attention
    blocks, receives the encodings of type and level, and is pooled by attention. An embedding therefore depends neither
    on the order of the weights in a chunk, nor on the order of the chunks in a part, nor on the order of parts of one
    type and level, nor on the padding.

    Args:
        chunk_size: Largest number of weights per chunk, up to 65,536.
        dim: Width of every vector, and length of the embedding; even, and a multiple of heads.
        heads: Number of attention heads.
        inducing_points: Number of learned points of the induced attention within large parts.
        full_up_to: Number of chunks of the largest part whose chunks attend to each other directly.
        has_norm: Whether the set blocks have layer norms.
        has_levels: Whether the encodings include levels; without, all parts are encoded as of one level.
        has_types: Whether the encodings include types; without, all parts are encoded as of one type.
        set_functions: "attention", or "mean", which replaces all set blocks by maps of single elements and means.
        is_hierarchical: Whether chunks are pooled to parts and parts to a network; without, a network is a set of
            chunks.
        canonical: Whether networks are read at the canonical point of their orbit under scalings and sign flips, if
            their symmetry is known (`sne.symmetry.canonicalize`).

    Example:
        >>> from sne import read_network
        >>> encoder = SetEncoder(dim=16)
        >>> networks = [read_network(nn.Linear(3, 2)), read_network(nn.Conv2d(1, 4, 3))]
        >>> encoder(encoder.collate(encoder.prepare(networks))).shape
        torch.Size([2, 16])

    Source: Andreis et al., arXiv 2305.16625, section 3; method.md, section 1. `has_levels`, `has_types`,
        `set_functions` and `is_hierarchical` are its ablation; `canonical` is ours.
    Differs: the paper leaves several points OPEN. Every tensor, or piece of a fused one, is a layer of the hierarchy
        with a type of its own: layer type and role. Levels are sinusoidal, types are learned. There is no layer norm,
        there are 4 heads, the width is 64, and rFF is one linear layer with a ReLU. Weights are divided by one number,
        the standard deviation over the training zoo, which the first linear map could absorb. Running variances enter
        as standard deviations, because a single variance may be a hundred times as large as every weight. Parts of
        more than `full_up_to` chunks pass ISAB, which is linear in the number of chunks, with SAB's own parameters as
        outer block; the threshold is low so that a predictor is trained on both forms even in a zoo of small networks.
    """

    input_std: Tensor

    @in_float32()
    def __init__(
        self,
        *,
        chunk_size: int = 32,
        dim: int = 64,
        heads: int = 4,
        inducing_points: int = 16,
        full_up_to: int = 128,
        has_norm: bool = False,
        has_levels: bool = True,
        has_types: bool = True,
        set_functions: str = "attention",
        is_hierarchical: bool = True,
        canonical: bool = False,
    ) -> None:
        super().__init__()
        if set_functions not in SET_FUNCTIONS:
            raise SneError(f"set_functions is {set_functions!r}, expected one of {', '.join(SET_FUNCTIONS)}")
        if not 1 <= chunk_size <= MAX_CHUNK:
            raise SneError(f"chunk_size is {chunk_size}, expected 1 to {MAX_CHUNK}")
        if inducing_points < 1:
            raise SneError(f"inducing_points must be at least 1, got {inducing_points}")
        self.chunk_size = chunk_size
        self.dim = dim
        self._settings = {
            "chunk_size": chunk_size,
            "dim": dim,
            "heads": heads,
            "inducing_points": inducing_points,
            "full_up_to": full_up_to,
            "has_norm": has_norm,
        }
        ablated = {
            "has_levels": has_levels,
            "has_types": has_types,
            "set_functions": set_functions,
            "is_hierarchical": is_hierarchical,
        }
        # Only what differs from the whole encoder.
        self._settings |= {name: value for name, value in ablated.items() if value not in (True, "attention")}
        self._settings |= {"canonical": True} if canonical else {}
        self.canonical = canonical
        self.has_levels, self.has_types, self.is_hierarchical = has_levels, has_types, is_hierarchical
        self.full_up_to = full_up_to

        def vectors(points: int) -> VectorSetEncoder | MeanVectorSetEncoder:
            if set_functions == "mean":
                return MeanVectorSetEncoder(dim)
            most = full_up_to if points else 0
            return VectorSetEncoder(dim, heads=heads, inducing_points=points, full_up_to=most, has_norm=has_norm)

        is_mean = set_functions == "mean"
        self.chunk_encoder = MeanChunkEncoder(dim) if is_mean else ChunkEncoder(dim, heads=heads, has_norm=has_norm)
        self.layer_encoder = vectors(inducing_points) if is_hierarchical else None
        self.network_encoder = vectors(0 if is_hierarchical else inducing_points)
        self.encodings = nn.ModuleList(TypeLevelEncoding(dim) for _ in range(3 if is_hierarchical else 2))
        self.register_buffer("input_std", torch.ones((), dtype=torch.float32))

    def settings(self) -> dict[str, Any]:
        """Returns the constructor's keyword arguments as plain JSON values."""
        return dict(self._settings)

    def prepare(
        self, networks: Sequence[Network], *, limits: Limits = Limits()
    ) -> list[ChunkedNetworks | StreamedNetwork]:
        """Reads networks and cuts them into chunks.

        Args:
            networks: Networks of any architectures.
            limits: Limits on memory and on the number of weights that are read of a network.

        Returns:
            One batch of one network per network, in order. A network of more than `RESIDENT_CHUNKS` chunks, or of
            which a sample is read, is read while it is encoded.
        """
        if self.canonical:
            from sne.symmetry import canonicalize  # many modules, which other encoders do not need

            networks = [canonicalize(network) for network in networks]
        is_large = [
            (limits.budget is not None and network.num_weights > limits.budget)
            or _has_more_chunks(network, self.chunk_size, RESIDENT_CHUNKS)
            for network in networks
        ]
        small = iter(
            prepare_chunks([n for n, large in zip(networks, is_large, strict=True) if not large], self.chunk_size)
        )
        return [
            StreamedNetwork(network, self.chunk_size, limits) if large else next(small)
            for network, large in zip(networks, is_large, strict=True)
        ]

    def num_read(self, network: Network, limits: Limits) -> int:
        """Returns the number of weights that `prepare` reads of a network: at most the budget, and a chunk per part."""
        return StreamedNetwork(network, self.chunk_size, limits).num_read

    def fit_scale(self, prepared: Sequence[ChunkedNetworks | StreamedNetwork]) -> None:
        """Sets the number that weights are divided by: the standard deviation of all real entries.

        Raises:
            SneError: If the weights are all equal, or not finite.
        """
        sums = torch.tensor([item.sums() for item in prepared], dtype=torch.float64)
        count, total, squares = sums.sum(0).tolist() if len(sums) else (0, 0.0, 0.0)
        variance = squares / max(count, 1) - (total / max(count, 1)) ** 2
        if not 0 < variance < float("inf"):
            raise SneError(f"expected finite weights that differ, got {count:.0f} of variance {variance}")
        self.input_std.fill_(variance**0.5)

    def collate(
        self, prepared: Sequence[ChunkedNetworks | StreamedNetwork]
    ) -> ChunkedNetworks | StreamedNetwork | MixedNetworks:
        """Joins prepared networks into one ragged batch."""
        return join(prepared)

    def forward(self, batch: ChunkedNetworks | StreamedNetwork | MixedNetworks) -> Float[Tensor, "networks dim"]:
        """Encodes a batch.

        Without gradients, memory depends on `RESIDENT_CHUNKS` and on the limit that was given to `prepare`, not on the
        size of the networks. Where gradients are recorded, the chunks of large networks are read into memory.
        """
        if isinstance(batch, MixedNetworks):
            return torch.cat([self(one) for one in batch.batches])
        if isinstance(batch, ChunkedNetworks):
            return self._encode_resident(batch)
        if torch.is_grad_enabled():
            return self._encode_resident(batch.resident())
        return self._encode_streamed(batch).unsqueeze(0)

    def _encode_resident(self, batch: ChunkedNetworks) -> Float[Tensor, "networks dim"]:
        """Encodes networks whose chunks are in memory."""
        places = self._places(batch)
        of_chunks, *of_layers, of_networks = (encoding(*places) for encoding in self.encodings)
        most = BUCKET_TOKENS if batch.chunks.is_cuda else VECTOR_TOKENS
        elements = []
        first_part = first_chunk = 0
        for num_parts, count in _groups(batch.part_chunks.tolist(), RESIDENT_CHUNKS):
            parts = slice(first_part, first_part + num_parts)
            chunks = slice(first_chunk, first_chunk + count)
            counts = batch.part_chunks[parts]
            vectors, position = self._encode_chunks(
                batch.chunks[chunks], batch.lengths[chunks], of_chunks[parts], counts
            )
            first_part, first_chunk = parts.stop, chunks.stop
            if self.layer_encoder is None:
                elements.append(vectors[position])
                continue
            plan = bucket_sets(counts, boundary=self.full_up_to, max_tokens=most)
            added = [rows.unsqueeze(1) for rows in plan.rows(of_layers[0][parts])]
            elements.append(_encode_sets(self.layer_encoder, plan, plan.gather(vectors, position), added))
        if self.layer_encoder is not None:
            plan = bucket_sets(batch.network_parts, max_tokens=most)
        else:
            plan = bucket_sets(_network_chunks(batch), boundary=self.full_up_to, max_tokens=most)
            of_networks = of_networks.repeat_interleave(batch.part_chunks, dim=0)
        return _encode_sets(self.network_encoder, plan, plan.gather(torch.cat(elements)), plan.gather(of_networks))

    def _encode_streamed(self, network: StreamedNetwork) -> Float[Tensor, " dim"]:
        """Encodes a network part by part; the vectors of a part's chunks are kept, its chunks are not."""
        of_chunks, *of_layers, of_networks = (encoding(*self._places(network)) for encoding in self.encodings)
        counts = network.part_chunks
        with self._store(network, sum(counts) if self.layer_encoder is None else max(counts)) as store:
            if self.layer_encoder is None:
                ends = [self._store_part(store, network, place, row) for place, row in enumerate(of_chunks)]
                return self._encode_stored(self.network_encoder, store, of_networks, ends, sum(counts))
            vectors = []
            for place, count in enumerate(counts):
                store.clear()
                end = self._store_part(store, network, place, of_chunks[place])
                added = of_layers[0][place : place + 1]
                vectors.append(self._encode_stored(self.layer_encoder, store, added, [end], count))
        return self.network_encoder(torch.stack(vectors).unsqueeze(0), of_networks.unsqueeze(0), None)[0]

    def _store(self, network: StreamedNetwork, most: int) -> VectorStore:
        """Returns a store for chunk vectors, of which as many are kept in memory as its limit allows."""
        like = self.input_std.new_empty(self.dim)
        if not like.is_cuda:  # on a GPU they take no memory of the process
            workspaces = torch.get_num_threads() * THREAD_MEMORY
            spare = max(0, network.limits.spare_memory() - LEAST_SPARE - workspaces)
            most = min(most, spare // (self.dim * like.element_size()))
        return VectorStore(like, in_memory=most)

    def _store_part(
        self, store: VectorStore, network: StreamedNetwork, place: int, encoding: Float[Tensor, " dim"]
    ) -> int:
        """Adds the vectors of a part's chunks to a store; returns the number of vectors that it then holds."""
        for chunks in network.read_chunks(place):
            scaled = chunks.to(self.input_std.dtype) / self.input_std
            tokens = BUCKET_TOKENS if chunks.is_cuda else CHUNK_TOKENS
            for some in scaled.split(max(1, tokens // chunks.shape[1])):
                store.append(self.chunk_encoder(some, encoding.expand(len(some), -1)))
        return len(store)

    def _encode_stored(
        self,
        encoder: VectorSetEncoder | MeanVectorSetEncoder,
        store: VectorStore,
        rows: Float[Tensor, "parts dim"],
        ends: Sequence[int],
        count: int,
    ) -> Float[Tensor, " dim"]:
        """Encodes the stored vectors as one set.

        Args:
            encoder: Encoder of sets of vectors.
            store: The vectors.
            rows: Encoding of each part.
            ends: Number of stored vectors up to the end of each part.
            count: Number of vectors in the whole set, of which the stored ones may be a sample.
        """
        bounds = torch.tensor(ends, device=rows.device)

        def slices() -> Iterator[tuple[Tensor, Tensor]]:
            first = 0
            for vectors in store.slices():
                index = torch.arange(first, first + len(vectors), device=rows.device)
                yield vectors, rows[torch.bucketize(index, bounds, right=True)]
                first += len(vectors)

        if count > self.full_up_to:
            return encoder.encode_slices(slices)
        vectors, added = (torch.cat(column).unsqueeze(0) for column in zip(*slices(), strict=True))
        return encoder(vectors, added, None)[0]

    def _places(self, batch: ChunkedNetworks | StreamedNetwork) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the layer type, role and level of every part; zeros for those that the encodings leave out."""
        types, roles, levels = batch.part_layer_types, batch.part_roles, batch.part_levels
        if not self.has_types:
            types, roles = torch.zeros_like(types), torch.zeros_like(roles)
        return types, roles, levels if self.has_levels else torch.zeros_like(levels)

    def _encode_chunks(
        self,
        chunks: Float[Tensor, "chunks chunk_size"],
        lengths: Int[Tensor, " chunks"],
        encodings: Float[Tensor, "parts dim"],
        part_chunks: Int[Tensor, " parts"],
    ) -> tuple[Float[Tensor, "chunks dim"], Int[Tensor, " chunks"]]:
        """Returns the vectors of chunks, ordered by their buckets, and the row of each chunk's vector."""
        plan = bucket_sets(lengths, max_waste=0.0, max_tokens=BUCKET_TOKENS if chunks.is_cuda else CHUNK_TOKENS)
        parts = torch.arange(len(part_chunks), device=part_chunks.device).repeat_interleave(part_chunks)
        scaled = chunks / self.input_std
        results = [
            self.chunk_encoder(scaled[bucket.sets, : bucket.tokens.shape[1]], rows)
            for bucket, rows in zip(plan.buckets, plan.rows(encodings, parts), strict=True)
        ]
        return torch.cat(results), plan.position


def _network_chunks(batch: ChunkedNetworks) -> Int[Tensor, " networks"]:
    """Number of chunks of each network."""
    networks = torch.arange(len(batch.network_parts), device=batch.part_chunks.device)
    owners = networks.repeat_interleave(batch.network_parts)
    return torch.zeros_like(batch.network_parts).index_add(0, owners, batch.part_chunks.to(batch.network_parts.dtype))


def _has_more_chunks(network: Network, chunk_size: int, most: int) -> bool:
    """Whether a network has more chunks; each has at least one weight."""
    return network.num_weights > most and sum(num_chunks(part, chunk_size) for _, part in network.parts()) > most


def _encode_sets(
    encoder: nn.Module, plan: SetBuckets, tokens: list[Tensor], encodings: list[Tensor]
) -> Float[Tensor, "sets dim"]:
    """Returns one vector per set, in the order of the sets."""
    results = [encoder(x, added, bucket.mask) for bucket, x, added in zip(plan.buckets, tokens, encodings, strict=True)]
    return torch.cat(results)[plan.position]


def _groups(part_chunks: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Groups consecutive parts; returns (parts, chunks) of groups with at most `most` chunks, or a single part."""
    groups: list[tuple[int, int]] = []
    for count in part_chunks:
        if groups and groups[-1][1] + count <= most:
            groups[-1] = (groups[-1][0] + 1, groups[-1][1] + count)
        else:
            groups.append((1, count))
    return groups
