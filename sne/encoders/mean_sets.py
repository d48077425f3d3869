"""Means in place of attention: what the set functions of `SetEncoder` are compared with."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class MeanChunkEncoder(nn.Module):
    """A set of scalars becomes one vector: every scalar is mapped by itself, then the mean is taken.

    Args:
        dim: width of the result.

    Source: Zaheer et al., "Deep Sets", arXiv 1703.06114, section 3.1; as in the ablation of arXiv 2305.16625.
    Differs: two layers before the mean and one after it; encodings are added where `ChunkEncoder` adds them.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(1, dim)
        self.second = nn.Linear(dim, dim)
        self.last = nn.Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "sets tokens"], encodings: Float[Tensor, "sets dim"]
    ) -> Float[Tensor, "sets dim"]:
        """Encodes sets of equal size, all entries real."""
        mapped = self.second(self.first(x.unsqueeze(2)).relu()) + encodings.unsqueeze(1)
        return self.last(mapped.relu().mean(1))


class MeanVectorSetEncoder(nn.Module):
    """A set of vectors becomes one: every vector is mapped by itself, then the mean is taken.

    Args:
        dim: width of a vector, in and out.

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
        """Encodes one bucket of sets; `encodings` holds one row for every token, or one for all of a set."""
        mapped = (self.second(self.first(x).relu()) + encodings).relu()
        if mask is None:
            return self.last(mapped.mean(1))
        total = torch.where(mask.unsqueeze(2), mapped, 0.0).sum(1)
        return self.last(total / mask.sum(1, keepdim=True).clamp(min=1))
