"""The paper's encoder with textbook modules: keys, values, logits and softmax of every token written out."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sne.encoders.set_encoder import SetEncoder
from sne.encoders.set_functions import ChunkEncoder, VectorSetEncoder


def attention(queries: Tensor, keys: Tensor, values: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """Multihead attention; the mask is True on real tokens."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if mask is not None:
        logits = logits.masked_fill(~mask[:, None, None], -torch.inf)
    return (logits.softmax(-1) @ v).transpose(1, 2).flatten(-2)


def mab(block: nn.Module, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
    """MAB(X, Y) = H + rFF(H), H = X W_q + Multihead(X, Y, Y); `block` has the parameters of any attention block."""
    queries = F.linear(x, block.query.weight, block.query.bias)
    end = block.end
    hidden = end.norm_in(queries + attention(queries, block.key(y), block.value(y), block.heads, mask))
    return end.norm_out(hidden + end.feedforward.linear(hidden).relu())


def pma(block: nn.Module, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """PMA(Z) = MAB(S, rFF(Z)), one seed."""
    seeds = block.seed.expand(len(x), -1, -1)
    return mab(block, seeds, block.feedforward.linear(x).relu(), mask).squeeze(1)


class TextbookChunkEncoder(nn.Module):
    """SAB, SAB, encodings, PMA with the parameters of a `ChunkEncoder`, in slices of 8,192 scalars."""

    def __init__(self, stage: ChunkEncoder) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor, encodings: Tensor) -> Tensor:
        """Computes the same values as the equations state them."""
        size = max(1, 8192 // x.shape[1])
        results = []
        for some, added in zip(x.unsqueeze(2).split(size), encodings.unsqueeze(1).split(size), strict=True):
            for block in (self.stage.first, self.stage.second.block):
                some = mab(block, some, some)
            results.append(pma(self.stage.pool, some + added))
        return torch.cat(results)


class TextbookVectorSetEncoder(nn.Module):
    """SAB or ISAB, twice, encodings, PMA with the parameters of a `VectorSetEncoder`."""

    def __init__(self, stage: VectorSetEncoder) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor, encodings: Tensor, mask: Tensor | None) -> Tensor:
        """Computes the same values as the equations state them."""
        for block in (self.stage.first, self.stage.second):
            if hasattr(block, "block"):
                x = mab(block.block, x, x, mask)
            elif x.shape[1] <= block.full_up_to:
                x = mab(block.outer, x, x, mask)
            else:
                points = block.points.expand(len(x), -1, -1)
                x = mab(block.outer, x, mab(block.inner, points, x, mask))
        return pma(self.stage.pool, x + encodings, mask)


def textbook(encoder: SetEncoder) -> SetEncoder:
    """Returns an encoder with the same weights whose stages are textbook modules."""
    other = copy.deepcopy(encoder)
    other.chunk_encoder = TextbookChunkEncoder(other.chunk_encoder)
    other.network_encoder = TextbookVectorSetEncoder(other.network_encoder)
    if other.layer_encoder is not None:
        other.layer_encoder = TextbookVectorSetEncoder(other.layer_encoder)
    return other
