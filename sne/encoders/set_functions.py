"""Set functions of `SetEncoder`, with attention or with means, and the encodings of type and level added inside."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import TypeAlias, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sne.encoders.chunking import ROLES, KindTable
from sne.errors import SneError
from sne.nn import (
    FoldedBlocks,
    InducedSetAttentionBlock,
    PoolingByAttention,
    RunningMeans,
    ScalarSetAttentionBlock,
    SetAttentionBlock,
    compiled_kernel,
    encode_scalar_sets,
    fold_blocks,
    pool_slices,
    summarize_slices,
)
from sne.nn.attention import SMALL_SET

SLICE_TOKENS = 8192
"""Number of scalars processed at once on the CPU: a few tensors with so many rows fit a core's cache."""

Slices: TypeAlias = Callable[[], Iterator[tuple[Float[Tensor, "_ dim"], Float[Tensor, "_ dim"]]]]
"""A function that yields the vectors of a set in slices, with the encoding that is added to each."""


def sinusoids(levels: Int[Tensor, " parts"], dim: int) -> Float[Tensor, "parts dim"]:
    """Encodes levels by sinusoids, which are defined and distinct for networks deeper than any seen in training.

    Args:
        levels: Positions in depth, from 0.
        dim: Width of the encoding; even.

    Returns:
        The sines, in order of falling frequency, then the cosines.

    Source: Vaswani et al., arXiv 1706.03762, section 3.5.
    Differs: sines and cosines are not interleaved.
    """
    steps = torch.arange(dim // 2, device=levels.device, dtype=torch.float32)
    angles = levels[:, None].float() * torch.exp(steps * (-math.log(1e4) / max(dim // 2, 1)))
    return torch.cat((angles.sin(), angles.cos()), dim=1)


@final
class TypeLevelEncoding(nn.Module):
    """Sum of the encodings of a part's type (learned) and level (sinusoidal).

    The type of a part is its pair of layer type and role: the bias of a convolution has a vector of its own.

    Args:
        dim: Width of the encoding; even.

    Source: Andreis et al., arXiv 2305.16625, section 3; method.md, section 1.
    Differs: learned or sinusoidal is OPEN. Types are learned, from small initial values. Levels are sinusoidal times a
        learned gain, so that they are defined beyond the depths seen in training and do not drown the weights.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 2:
            raise SneError(f"dim must be even for sines and cosines, got {dim}")
        self.dim = dim
        self.types = KindTable(dim)
        nn.init.normal_(self.types.weight, std=0.1)
        self.gain = nn.Parameter(torch.tensor(0.1, dtype=torch.float32))

    def forward(
        self,
        layer_types: Int[Tensor, " parts"],
        roles: Int[Tensor, " parts"],
        levels: Int[Tensor, " parts"],
    ) -> Float[Tensor, "parts dim"]:
        """Encodes parts by the numbers of their layer type and role and by their level."""
        types = self.types(len(ROLES) * layer_types + roles)
        return types + self.gain * sinusoids(levels, self.dim).to(types.dtype)


@final
class ChunkEncoder(nn.Module):
    """Maps a set of scalars to one vector: Phi1, the encodings, Psi2.

    Args:
        dim: Width of the result.
        heads: Number of attention heads; must divide dim.
        has_norm: Whether the set blocks have layer norms.

    Source: Andreis et al., arXiv 2305.16625, section 3; method.md, section 1.
    Differs: nothing.
    """

    def __init__(self, dim: int, *, heads: int, has_norm: bool) -> None:
        super().__init__()
        self.has_norm = has_norm
        self.first = ScalarSetAttentionBlock(dim, heads=heads, has_norm=has_norm)
        self.second = SetAttentionBlock(dim, heads=heads, has_norm=has_norm)
        self.pool = PoolingByAttention(dim, heads=heads, has_norm=has_norm)

    def forward(
        self, x: Float[Tensor, "sets tokens"], encodings: Float[Tensor, "sets dim"]
    ) -> Float[Tensor, "sets dim"]:
        """Encodes sets of equal size, all of whose entries are real."""
        encode = self._fast_form(x, encodings)
        if encode is None:
            return _encode_slices(self._encode, x, encodings)
        with torch.autocast(x.device.type, enabled=False):
            return encode(x, encodings, fold_blocks(self.first, self.second, self.pool))

    def _fast_form(self, x: Tensor, encodings: Tensor) -> Callable[[Tensor, Tensor, FoldedBlocks], Tensor] | None:
        """Returns a function that encodes many small sets at once, where there is one."""
        if self.has_norm or x.requires_grad or x.shape[1] > SMALL_SET:
            return None
        if x.device.type == "cpu":
            return partial(encode_scalar_sets, kernel=compiled_kernel(x, encodings, heads=self.first.heads))
        if x.device.type != "cuda" or torch.is_grad_enabled() or find_spec("triton") is None:
            return None
        from sne.nn import triton_sets  # Triton comes with torch's builds for CUDA on Linux

        return triton_sets.encode_sets if triton_sets.can_encode(x, encodings, heads=self.first.heads) else None

    def _encode(self, x: Tensor, encodings: Tensor) -> Tensor:
        return self.pool(self.second(self.first(x)) + encodings.unsqueeze(1))


def _encode_slices(encode: Callable[[Tensor, Tensor], Tensor], x: Tensor, encodings: Tensor) -> Tensor:
    """Encodes sets of equal size, on the CPU a few at a time."""
    size = max(1, SLICE_TOKENS // x.shape[1])
    if x.device.type != "cpu" or len(x) <= size:
        return encode(x, encodings)
    return torch.cat([encode(*some) for some in zip(x.split(size), encodings.split(size), strict=True)])


@final
class VectorSetEncoder(nn.Module):
    """Maps a set of vectors to one vector: Phi, the encodings, Psi.

    It is the layer encoder (Phi3, Psi4) and the network encoder (Phi5, Psi6).

    Args:
        dim: Width of a vector, in and out.
        heads: Number of attention heads; must divide dim.
        inducing_points: Number of learned points of the induced attention within large sets; 0 for full attention only.
        full_up_to: Size of the largest set that attends to itself.
        has_norm: Whether the set blocks have layer norms.

    Source: Andreis et al., arXiv 2305.16625, section 3; method.md, sections 1 and 5.
    Differs: sets above `full_up_to` pass ISAB rather than SAB, with the same outer block.
    """

    def __init__(self, dim: int, *, heads: int, inducing_points: int, full_up_to: int, has_norm: bool) -> None:
        super().__init__()
        blocks = (
            InducedSetAttentionBlock(
                dim, heads=heads, inducing_points=inducing_points, full_up_to=full_up_to, has_norm=has_norm
            )
            if inducing_points
            else SetAttentionBlock(dim, heads=heads, has_norm=has_norm)
            for _ in range(2)
        )
        self.first, self.second = blocks
        self.pool = PoolingByAttention(dim, heads=heads, has_norm=has_norm)

    def forward(
        self,
        x: Float[Tensor, "sets tokens dim"],
        encodings: Float[Tensor, "sets #tokens dim"],
        mask: Bool[Tensor, "sets tokens"] | None,
    ) -> Float[Tensor, "sets dim"]:
        """Encodes one bucket of sets; `encodings` has one row per token, or one row per set."""
        return self.pool(self.second(self.first(x, mask), mask) + encodings, mask)

    def encode_slices(self, slices: Slices) -> Float[Tensor, " dim"]:
        """Encodes one set of more than `full_up_to` vectors, which are read three times.

        Args:
            slices: The vectors and the encodings of the set.

        Returns:
            The set's vector, equal to the result of `forward` up to rounding.

        Raises:
            SneError: If the set functions have no inducing points.
        """
        first, second = self.first, self.second
        if not isinstance(first, InducedSetAttentionBlock) or not isinstance(second, InducedSetAttentionBlock):
            raise SneError("a set that arrives in slices needs inducing points, got inducing_points=0")
        summary = summarize_slices(first.inner, first.points, (x for x, _ in slices())).unsqueeze(0)

        def after_first() -> Iterator[tuple[Tensor, Tensor]]:
            return ((first.outer(x.unsqueeze(0), summary), added) for x, added in slices())

        last = summarize_slices(second.inner, second.points, (x[0] for x, _ in after_first())).unsqueeze(0)
        return pool_slices(self.pool, (second.outer(x, last)[0] + added for x, added in after_first()))


@final
class MeanChunkEncoder(nn.Module):
    """Maps a set of scalars to one vector: each scalar is mapped on its own, then the mean is taken.

    Args:
        dim: Width of the result.

    Source: Zaheer et al., "Deep Sets", arXiv 1703.06114, section 3.1; as in the ablation of arXiv 2305.16625.
    Differs: two layers before the mean and one after it; encodings are added at the same place as in `ChunkEncoder`.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(1, dim)
        self.second = nn.Linear(dim, dim)
        self.last = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "sets tokens"], encodings: Float[Tensor, "sets dim"]
    ) -> Float[Tensor, "sets dim"]:
        """Encodes sets of equal size, all of whose entries are real."""
        return _encode_slices(self._encode, x, encodings)

    def _encode(self, x: Tensor, encodings: Tensor) -> Tensor:
        mapped = self.second(self.first(x.unsqueeze(2)).relu()) + encodings.unsqueeze(1)
        return self.last(mapped.relu().mean(1))


@final
class MeanVectorSetEncoder(nn.Module):
    """Maps a set of vectors to one vector: each vector is mapped on its own, then the mean is taken.

    Args:
        dim: Width of a vector, in and out.

    Source: as `MeanChunkEncoder`.
    Differs: as `MeanChunkEncoder`.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(dim, dim)
        self.second = nn.Linear(dim, dim)
        self.last = nn.Linear(dim, dim)

    def forward(
        self,
        x: Float[Tensor, "sets tokens dim"],
        encodings: Float[Tensor, "sets #tokens dim"],
        mask: Bool[Tensor, "sets tokens"] | None,
    ) -> Float[Tensor, "sets dim"]:
        """Encodes one bucket of sets; `encodings` has one row per token, or one row per set."""
        mapped = (self.second(self.first(x).relu()) + encodings).relu()
        if mask is None:
            return self.last(mapped.mean(1))
        total = torch.where(mask.unsqueeze(2), mapped, 0.0).sum(1)
        return self.last(total / mask.sum(1, keepdim=True).clamp(min=1))

    def encode_slices(self, slices: Slices) -> Float[Tensor, " dim"]:
        """Encodes one set of vectors, which are read once; equal to the result of `forward` up to rounding."""
        means = RunningMeans()
        for x, added in slices():
            mapped = (self.second(self.first(x).relu()) + added).relu()
            means.add(mapped.new_zeros(1, len(mapped)), mapped)  # equal weights
        return self.last(means.result()[0])
