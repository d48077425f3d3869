"""The default encoder: a set of tensors, each described by named features, read by attention."""

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sne.encoders.chunking import ROLES, KindTable
from sne.encoders.contract import NetworkEncoder
from sne.encoders.input_scale import InputScale
from sne.encoders.limits import Limits
from sne.encoders.sampled import num_read
from sne.encoders.signals import MAX_OUTPUTS, OUTPUT_NAMES
from sne.encoders.tensor_tokens import SUMMARY_NAMES, TOKEN_NAMES, TensorTokens, summarize, tokenize
from sne.errors import SneError
from sne.networks import Network
from sne.nn import PreNormBlock, bucket_sets, softmax_over_set

DEPTH_NAMES = ("relative_position", "log_levels_below", "log_levels_above", "is_first", "is_last", "log_depth")
"""Names of the values of `depth_features`."""


def depth_features(levels: Int[Tensor, " parts"], heights: Int[Tensor, " parts"]) -> Float[Tensor, "parts features"]:
    """Describes the place of a part in the depth of its network, in numbers that stay bounded for any depth.

    Args:
        levels: Number of levels below the part.
        heights: Number of levels above the part.

    Returns:
        The relative position from -1 to 1, the distances to both ends as logarithms, whether the part is at an end,
        and the log depth; named by `DEPTH_NAMES`.
    """
    low, high = levels.float(), heights.float()
    total = (low + high).clamp_min(1)
    return torch.stack(
        [2 * low / total - 1, low.log1p(), high.log1p(), (low == 0).float(), (high == 0).float(), total.log()], -1
    )


@final
class TensorSetEncoder(NetworkEncoder):
    """Encodes a network as the set of its tensors.

    Every tensor is one token: its descriptor (`sne.encoders.descriptors`), the response of its layer to uniform inputs
    (`sne.encoders.signals`), its layer type, role and place in depth. The outputs of the last layer, which no symmetry
    exchanges, form one more token. Attention blocks let the tokens read each other, and a few learned seeds pool them.
    In plain stacks of layers, permuting neurons changes the embedding by rounding only. Where branches meet (residual
    sums, heads), some signals follow one branch alone and change a little; `sne evaluate` prints how much predictions
    do.

    Args:
        dim: Length of the embedding, and width of a token; a multiple of heads.
        heads: Number of attention heads.
        blocks: Number of attention blocks.
        seeds: Number of pooled vectors that the embedding is computed from.
        dropout: Share of entries that are dropped during training.
        noise: Standard deviation of the noise added to scaled features during training.
        type_dropout: Share of tokens that lose their layer type during training, so that unseen types can be read.
        bins: Number of quantile bins per feature (`InputScale`).
        canonical: Whether networks are read at the canonical point of their orbit under scalings and sign flips, if
            their symmetry is known (`sne.symmetry.canonicalize`).

    Example:
        >>> from sne import read_network
        >>> encoder = TensorSetEncoder()
        >>> prepared = encoder.prepare([read_network(nn.Linear(3, 2)), read_network(nn.Conv2d(1, 4, 3))])
        >>> encoder(encoder.collate(prepared)).shape
        torch.Size([2, 96])
        >>> encoder.feature_names[0], prepared[0].features.shape[1] == len(encoder.feature_names)
        ('distribution/log_rms', True)

    Source: Andreis et al., arXiv 2305.16625, section 3 (layer vectors with type and level encodings, pooled by
        attention); seeds after Lee et al., arXiv 1810.00825.
    Differs: a tensor is described by statistics, spectrum and signals rather than by a learned encoding of its chunks;
        with few networks this makes the difference (docs/default-encoder.md).
    """

    rounding = 5e-4  # spectra and narrow quantile bins amplify rounding

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
        if heads < 1 or dim % heads:
            raise SneError(f"dim {dim} is not a multiple of heads {heads}")
        for name, share in (("dropout", dropout), ("type_dropout", type_dropout)):
            if not 0 <= share < 1:
                raise SneError(f"{name} is {share}, expected 0 or more and below 1")
        if not 0 <= noise < math.inf:
            raise SneError(f"noise is {noise}, expected 0 or more")
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
        self._settings |= {"canonical": True} if canonical else {}
        self.canonical = canonical
        self.token_scale = InputScale(2, len(TOKEN_NAMES), bins=bins)
        self.output_scale = InputScale(1, len(OUTPUT_NAMES), bins=bins)
        self.token_input = nn.Sequential(
            nn.Linear(self.token_scale.out_size, dim), nn.SiLU(), nn.Dropout(dropout), nn.Linear(dim, dim)
        )
        self.kind_shift = KindTable(dim)
        self.kind_gain = KindTable(dim)
        self.depth = nn.Linear(len(DEPTH_NAMES), dim)
        self.output_input = nn.Sequential(nn.Linear(self.output_scale.out_size, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.output_shift = nn.Embedding(MAX_OUTPUTS, dim)
        self.output_gain = nn.Embedding(MAX_OUTPUTS, dim)
        for table in (self.kind_gain, self.output_gain):
            nn.init.zeros_(table.weight)
        for table in (self.kind_shift, self.output_shift):
            nn.init.normal_(table.weight, std=0.3)
        self.blocks = nn.ModuleList(PreNormBlock(dim, heads=heads, dropout=dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)
        self.seeds = nn.Parameter(nn.init.normal_(torch.empty(seeds, dim), std=0.3))
        self.keys_values = nn.Linear(dim, 2 * dim)
        self.embedding = nn.Sequential(nn.Linear(seeds * dim, dim), nn.SiLU())

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features of a tensor's token ("row_norms/deviation"), in order."""
        return TOKEN_NAMES

    @property
    def summary_names(self) -> tuple[str, ...]:
        """Names of the numbers that `summarize` returns ("matrices/last/row_norms/deviation"), in order."""
        return SUMMARY_NAMES

    def settings(self) -> dict[str, Any]:
        """Returns the constructor's keyword arguments."""
        return dict(self._settings)

    def prepare(self, networks: Sequence[Network], *, limits: Limits = Limits()) -> list[TensorTokens]:
        """Computes the features of every tensor (`sne.encoders.tensor_tokens.tokenize`)."""
        if self.canonical:
            from sne.symmetry import canonicalize  # many modules, which other encoders do not need

            networks = [canonicalize(network) for network in networks]
        return tokenize(networks, limits=limits)

    def num_read(self, network: Network, limits: Limits) -> int:
        """Returns the number of weights that `prepare` reads of a network within limits."""
        return num_read(network, limits)

    def summarize(self, prepared: Sequence[TensorTokens]) -> Float[Tensor, "networks features"]:
        """Returns ends, means and spreads of the features, one row per network, named by `summary_names`."""
        return summarize(prepared)

    def fit_scale(self, prepared: Sequence[TensorTokens]) -> None:
        """Sets the scale of every feature from the training networks, separately for matrices and vectors."""
        batch = self.collate(prepared)
        self.token_scale.fit(batch.features, batch.is_matrix.long())
        self.output_scale.fit(batch.outputs, torch.zeros_like(batch.output_index))

    def collate(self, prepared: Sequence[TensorTokens]) -> TensorTokens:
        """Joins prepared networks into one batch without padding."""
        return TensorTokens.concat(prepared)

    def forward(self, batch: TensorTokens) -> Float[Tensor, "networks dim"]:
        """Encodes a batch."""
        tokens = self._read(batch.features, batch.is_matrix.long(), self.token_scale, self.token_input)
        kinds = len(ROLES) * batch.types + batch.roles
        shift, gain = self.kind_shift(kinds), self.kind_gain(kinds)
        if self.training and self.type_dropout:
            kept = (torch.rand(len(kinds), 1, device=shift.device) >= self.type_dropout).to(shift.dtype)
            shift, gain = shift * kept, gain * kept
        tokens = tokens * (1 + gain) + shift
        tokens = tokens + self.depth(depth_features(batch.levels, batch.heights))
        answers, has_outputs = self._outputs(batch)
        # The output token follows the tensors of its network.
        places = torch.repeat_interleave(torch.arange(batch.num_networks, device=tokens.device), batch.lengths)
        order = torch.argsort(
            torch.cat([places, torch.arange(batch.num_networks, device=tokens.device)[has_outputs]]), stable=True
        )
        joined = torch.cat([tokens, answers[has_outputs].to(tokens.dtype)])
        buckets = bucket_sets(batch.lengths + has_outputs.long(), max_waste=1.0)
        pooled = []
        for bucket, sets in zip(buckets.buckets, buckets.gather(joined, order), strict=True):
            for block in self.blocks:
                sets = block(sets, bucket.mask)
            pooled.append(self._pool(self.norm(sets), bucket.mask))
        return self.embedding(torch.cat(pooled)[buckets.position])

    def _pool(self, sets: Tensor, mask: Tensor | None) -> Tensor:
        """Lets the seeds attend to the tokens of every set. Keys and values of single tokens are not computed.

        A seed times the key of a token is the token times a vector, up to a number that cancels in the softmax; and the
        mean of values is the value of the mean.
        """
        keys, values = self.keys_values.weight.unflatten(0, (2, self.heads, -1))
        seeds = self.seeds.unflatten(1, (self.heads, -1))
        vectors = torch.einsum("shw,hwd->hsd", seeds, keys).flatten(0, 1) * keys.shape[1] ** -0.5
        weights = softmax_over_set((sets @ vectors.T).transpose(1, 2), mask)
        means = torch.bmm(weights, sets).unflatten(1, (self.heads, -1))
        return (torch.einsum("nhsd,hwd->nshw", means, values).flatten(2) + self.keys_values.bias[self.dim :]).flatten(1)

    def _outputs(self, batch: TensorTokens) -> tuple[Tensor, Tensor]:
        """Returns one vector per network for the outputs of its last layer, and whether each network has outputs."""
        owner = torch.repeat_interleave(
            torch.arange(batch.num_networks, device=batch.outputs.device), batch.output_lengths
        )
        rows = self._read(batch.outputs, torch.zeros_like(batch.output_index), self.output_scale, self.output_input)
        rows = rows * (1 + self.output_gain(batch.output_index))
        rows = (rows + self.output_shift(batch.output_index)).float()
        total = rows.new_zeros(batch.num_networks, self.dim).index_add(0, owner, rows)
        return total / batch.output_lengths.clamp_min(1)[:, None], batch.output_lengths > 0

    def _read(self, rows: Tensor, groups: Tensor, scale: InputScale, layers: nn.Sequential) -> Tensor:
        first = layers[0]
        assert isinstance(first, nn.Linear)
        return layers[1:](scale(rows, groups, first, noise=self.noise if self.training else 0.0))
