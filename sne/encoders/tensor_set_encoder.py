"""The default encoder: a set of tensors, each described and followed, read by attention."""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sne.encoders.chunking import LAYER_TYPES, ROLES
from sne.encoders.contract import NetworkEncoder
from sne.encoders.signals import MAX_OUTPUTS, OUTPUT_SIZE
from sne.encoders.tensor_tokens import TOKEN_SIZE, TensorTokens, summary, tokenize
from sne.networks import Network
from sne.nn import PreNormBlock, attend, bucket_sets
from sne.symmetry import canonicalize

DEPTH_SIZE = 6
SMALLEST_SPREAD = 1e-4
SMALLEST_BIN = 1e-3
LARGEST = 6.0


def depth_features(levels: Int[Tensor, " parts"], heights: Int[Tensor, " parts"]) -> Float[Tensor, "parts 6"]:
    """Where in the depth of its network a part stands, in numbers that stay bounded for any depth.

    Args:
        levels: levels below.
        heights: levels above.

    Returns:
        The relative position, distances to both ends as logarithms, whether it is an end, and the log depth.
    """
    low, high = levels.float(), heights.float()
    total = (low + high).clamp_min(1)
    return torch.stack(
        [2 * low / total - 1, low.log1p(), high.log1p(), (low == 0).float(), (high == 0).float(), total.log()], -1
    )


class InputScale(nn.Module):
    """Puts features on the scale of the training networks: standardised and bounded, and cut into quantile bins.

    A feature that does not vary among the training networks is left out: nothing can be learned from it, and its
    weight would meet other values later.

    Args:
        groups: kinds of rows with scales of their own.
        size: number of features.
        bins: number of bins between quantiles of the training networks; each gives one more number, which rises from
            -1/2 to 1/2 across its bin. 0 for none.

    Source: piecewise linear encoding of Gorishniy et al., arXiv 2203.05556, section 3.2.
    Differs: the standardised feature stands beside its bins, so that values outside all quantiles still differ.
    """

    shift: Tensor
    gain: Tensor
    knots: Tensor

    def __init__(self, groups: int, size: int, *, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.out_size = size * (1 + bins)
        self.register_buffer("shift", torch.zeros(groups, size))
        self.register_buffer("gain", torch.ones(groups, size))
        self.register_buffer("knots", torch.linspace(-1, 1, bins + 1)[None, :, None].repeat(groups, 1, size))

    def fit(self, rows: Float[Tensor, "rows size"], groups: Int[Tensor, " rows"]) -> None:
        """Takes the scales from the rows of the training networks; a group without rows keeps its own."""
        for group in range(len(self.shift)):
            some = rows[groups == group].double()
            if len(some) == 0:
                continue
            spread = some.std(0, unbiased=False)
            self.shift[group] = some.mean(0).float()
            self.gain[group] = torch.where(spread > SMALLEST_SPREAD, 1 / spread.clamp_min(SMALLEST_SPREAD), 0.0).float()
            places = torch.linspace(0, len(some) - 1, self.bins + 1).round().long()
            self.knots[group] = some.sort(0).values[places].float()

    def forward(self, rows: Float[Tensor, "rows size"], groups: Int[Tensor, " rows"]) -> Float[Tensor, "rows scaled"]:
        """Standardised features, within plus and minus 6, then the bins."""
        gain = self.gain[groups]
        scaled = (rows - self.shift[groups]) * gain
        scaled = scaled / (1 + (scaled / LARGEST).square()).sqrt()
        if not self.bins:
            return scaled
        knots = self.knots[groups]
        low, width = knots[:, :-1], knots.diff(dim=1)
        filled = ((rows[:, None] - low) / (width + SMALLEST_BIN)).clamp(0, 1) - 0.5
        return torch.cat([scaled, (filled * (gain > 0)[:, None]).flatten(1)], 1)


@final
class TensorSetEncoder(NetworkEncoder):
    """Encodes a network as the set of its tensors.

    Every tensor is one token: its descriptor (`sne.encoders.descriptors`), what uniform inputs do in its layer
    (`sne.encoders.signals`), its layer type, role and place in depth. The outputs of the last layer, which no symmetry
    exchanges, form one more token. Two attention blocks let the tokens read each other; a few learned seeds pool them.
    In plain stacks neurons may be permuted without any effect but rounding. Where branches meet (residual sums, heads)
    some signals follow one branch alone and move a little: `sne evaluate` states how far predictions do.

    Args:
        dim: length of the embedding and width of a token.
        heads: attention heads.
        blocks: attention blocks.
        seeds: pooled vectors that the embedding is made of.
        dropout: share of entries dropped while training.
        noise: standard deviation of the noise added to scaled features while training.
        type_dropout: share of tokens that lose their layer type while training, so that unseen types can be read.
        bins: quantile bins of every feature, see `InputScale`.
        canonical: whether networks are read at the canonical point of their orbit under scalings and sign flips, see
            `sne.symmetry.canonicalize`.

    Source: Andreis et al., arXiv 2305.16625, section 3 (layer vectors with type and level encodings, pooled by
        attention); seeds after Lee et al., arXiv 1810.00825.
    Differs: a tensor is described by statistics, spectrum and signals in place of a learned encoding of its chunks;
        with few networks this decides (docs/default-encoder.md). The order of neurons hardly enters.
    """

    rounding = 5e-4  # spectra and narrow quantile bins lose digits

    def __init__(
        self,
        *,
        dim: int = 96,
        heads: int = 4,
        blocks: int = 2,
        seeds: int = 4,
        dropout: float = 0.2,
        noise: float = 0.1,
        type_dropout: float = 0.0,
        bins: int = 16,
        canonical: bool = False,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.dim, self.heads, self.noise, self.type_dropout = dim, heads, noise, type_dropout
        self._settings = {
            "dim": dim,
            "heads": heads,
            "blocks": blocks,
            "seeds": seeds,
            "dropout": dropout,
            "noise": noise,
            "type_dropout": type_dropout,
            "bins": bins,
        }
        self._settings |= {"canonical": True} if canonical else {}  # states of before this switch stay valid
        self.canonical = canonical
        self.token_scale = InputScale(2, TOKEN_SIZE, bins=bins)
        self.output_scale = InputScale(1, OUTPUT_SIZE, bins=bins)
        self.token_input = nn.Sequential(
            nn.Linear(self.token_scale.out_size, dim), nn.SiLU(), nn.Dropout(dropout), nn.Linear(dim, dim)
        )
        num_kinds = len(LAYER_TYPES) * len(ROLES)
        self.kind_shift = nn.Embedding(num_kinds, dim)
        self.kind_gain = nn.Embedding(num_kinds, dim)
        self.depth = nn.Linear(DEPTH_SIZE, dim)
        self.output_input = nn.Sequential(nn.Linear(self.output_scale.out_size, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.output_shift = nn.Embedding(MAX_OUTPUTS, dim)
        self.output_gain = nn.Embedding(MAX_OUTPUTS, dim)
        for table in (self.kind_gain, self.output_gain):
            nn.init.zeros_(table.weight)
        for table in (self.kind_shift, self.output_shift):
            nn.init.normal_(table.weight, std=0.3)
        self.blocks = nn.ModuleList(PreNormBlock(dim, heads=heads, dropout=dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)
        self.seeds = nn.Parameter(0.3 * torch.randn(seeds, dim))
        self.keys_values = nn.Linear(dim, 2 * dim)
        self.embedding = nn.Sequential(nn.Linear(seeds * dim, dim), nn.SiLU())

    def settings(self) -> dict[str, Any]:
        """The constructor's keyword arguments."""
        return dict(self._settings)

    def prepare(self, networks: Sequence[Network]) -> list[TensorTokens]:
        """Describes every tensor; see `sne.encoders.tensor_tokens.tokenize`."""
        return tokenize([canonicalize(network) for network in networks] if self.canonical else networks)

    def summarize(self, prepared: Sequence[TensorTokens]) -> Float[Tensor, "networks features"]:
        """Ends, means and spreads of the features; see `sne.encoders.tensor_tokens.summary`."""
        return torch.stack([summary(item) for item in prepared])

    def fit_scale(self, prepared: Sequence[TensorTokens]) -> None:
        """Takes the scale of every feature from the training networks, for matrices and vectors apart."""
        batch = self.collate(prepared)
        self.token_scale.fit(batch.features, batch.is_matrix.long())
        self.output_scale.fit(batch.outputs, torch.zeros_like(batch.output_index))

    def collate(self, prepared: Sequence[TensorTokens]) -> TensorTokens:
        """Joins prepared networks; no padding."""
        return TensorTokens.concat(prepared)

    def forward(self, batch: TensorTokens) -> Float[Tensor, "networks dim"]:
        """Encodes a batch."""
        tokens = self._noisy(self.token_scale(batch.features, batch.is_matrix.long()))
        kinds = len(ROLES) * batch.types + batch.roles
        shift, gain = self.kind_shift(kinds), self.kind_gain(kinds)
        if self.training and self.type_dropout:
            kept = (torch.rand(len(kinds), 1, device=shift.device) >= self.type_dropout).to(shift.dtype)
            shift, gain = shift * kept, gain * kept
        tokens = self.token_input(tokens) * (1 + gain) + shift
        tokens = tokens + self.depth(depth_features(batch.levels, batch.heights))
        answers, has_outputs = self._outputs(batch)
        # The output token stands behind a network's tensors.
        places = torch.repeat_interleave(torch.arange(batch.num_networks, device=tokens.device), batch.lengths)
        order = torch.argsort(
            torch.cat([places, torch.arange(batch.num_networks, device=tokens.device)[has_outputs]]), stable=True
        )
        joined = torch.cat([tokens, answers[has_outputs].to(tokens.dtype)])[order]
        buckets = bucket_sets(batch.lengths + has_outputs.long(), max_waste=1.0)
        pooled = []
        for bucket, sets in zip(buckets.buckets, buckets.gather(joined), strict=True):
            for block in self.blocks:
                sets = block(sets, bucket.mask)
            keys, values = self.keys_values(self.norm(sets)).chunk(2, -1)
            seeds = self.seeds.to(keys.dtype).expand(len(sets), -1, -1)
            pooled.append(attend(seeds, keys, values, heads=self.heads, mask=bucket.mask).flatten(1))
        return self.embedding(torch.cat(pooled)[buckets.position])

    def _outputs(self, batch: TensorTokens) -> tuple[Tensor, Tensor]:
        """One vector a network for the outputs of its last layer, and which networks have outputs."""
        owner = torch.repeat_interleave(
            torch.arange(batch.num_networks, device=batch.outputs.device), batch.output_lengths
        )
        rows = self._noisy(self.output_scale(batch.outputs, torch.zeros_like(batch.output_index)))
        rows = self.output_input(rows) * (1 + self.output_gain(batch.output_index))
        rows = (rows + self.output_shift(batch.output_index)).float()
        total = rows.new_zeros(batch.num_networks, self.dim).index_add(0, owner, rows)
        return total / batch.output_lengths.clamp_min(1)[:, None], batch.output_lengths > 0

    def _noisy(self, values: Tensor) -> Tensor:
        return values + self.noise * torch.randn_like(values) if self.training and self.noise else values
