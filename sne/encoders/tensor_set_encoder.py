"""The default encoder: a set of tensors, each described by named features, read by attention."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sne.encoders.chunking import KindTable
from sne.encoders.contract import NetworkEncoder
from sne.encoders.input_scale import InputScale
from sne.encoders.limits import Limits
from sne.encoders.sampled import num_read
from sne.encoders.signals import MAX_OUTPUTS, OUTPUT_NAMES
from sne.encoders.tensor_tokens import SUMMARY_NAMES, TOKEN_NAMES, TensorTokens, summarize, tokenize
from sne.encoders.token_places import DEPTH_NAMES, TokenPlaces
from sne.errors import SneError
from sne.networks import Network
from sne.nn import PreNormBlock, in_float32, softmax_over_set


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
    shares_scale = True

    @in_float32()
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
        places = TokenPlaces(batch)
        pooled = [self._pool(sets, mask) for sets, mask in self._read(places)]
        return self.embedding(torch.cat(pooled)[places.buckets.position])

    def attention(self, batch: TensorTokens) -> list[Float[Tensor, " tokens"]]:
        """Computes how much the pooling attends to each tensor, as a mean over seeds and heads.

        The blocks before the pooling mix the tokens, so that a token also holds what others say: attention shows where
        the encoder collects what it has read, and not what a tensor contributes by itself.

        Args:
            batch: Batch that `collate` returned.

        Returns:
            One row per network, of sum 1: the share of each part in order, then that of the outputs if it has any.
        """
        places = TokenPlaces(batch)
        rows = [row for sets, mask in self._read(places) for row in self._pooling_weights(sets, mask).mean(1)]
        lengths = (batch.lengths + places.has_outputs.long()).tolist()
        order = places.buckets.position.tolist()
        return [rows[place][:length] for place, length in zip(order, lengths, strict=True)]

    def seed_vectors(self) -> Float[Tensor, "heads_seeds dim"]:
        """Returns one vector per head and seed, whose products with the tokens are logits of attention, heads first.

        A seed times the key of a token is the token times such a vector, up to a number that cancels in the softmax.
        """
        keys = self.keys_values.weight[: self.dim].unflatten(0, (self.heads, -1))
        seeds = self.seeds.unflatten(1, (self.heads, -1)).transpose(0, 1)
        return torch.bmm(seeds, keys).flatten(0, 1) * keys.shape[1] ** -0.5

    def _tokens(self, places: TokenPlaces) -> Float[Tensor, "parts dim"]:
        first, activation, dropout, second = self.token_input
        tokens = second(dropout(activation(self.token_scale(places.features, first, noise=self._noise))))
        shift, gain = self.kind_shift(places.kinds), self.kind_gain(places.kinds)
        if self.training and self.type_dropout:
            kept = (torch.rand(len(shift), 1, device=shift.device) >= self.type_dropout).to(shift.dtype)
            shift, gain = shift * kept, gain * kept
        return tokens * (1 + gain) + shift + self.depth(places.depths)

    def _answers(self, places: TokenPlaces) -> Float[Tensor, "networks dim"]:
        """Returns one vector per network for the outputs of its last layer; zeros for a network without outputs."""
        first, activation, second = self.output_input
        rows = second(activation(self.output_scale([places.outputs], first, noise=self._noise)))
        shift, gain = self.output_shift(places.output_index), self.output_gain(places.output_index)
        rows = (rows * (1 + gain) + shift).float()
        total = rows.new_zeros(places.num_networks, self.dim).index_add(0, places.output_owners, rows)
        return (total / places.output_counts).to(shift.dtype)

    @property
    def _noise(self) -> float:
        return self.noise if self.training else 0.0

    def _read(self, places: TokenPlaces) -> Iterator[tuple[Float[Tensor, "sets tokens dim"], Tensor | None]]:
        """Yields sets of tokens that the attention blocks have read, with their masks, bucket by bucket."""
        joined = torch.cat([self._tokens(places), self._answers(places)])
        for bucket, sets in zip(places.buckets.buckets, places.buckets.gather(joined, places.ragged), strict=True):
            for block in self.blocks:
                sets = block(sets, bucket.mask)
            yield self.norm(sets), bucket.mask

    def _pooling_weights(
        self, sets: Float[Tensor, "sets tokens dim"], mask: Bool[Tensor, "sets tokens"] | None
    ) -> Float[Tensor, "sets heads_seeds tokens"]:
        """Returns the weights with which the seeds attend to the tokens of every set; see also `seed_vectors`."""
        return softmax_over_set((sets @ self.seed_vectors().T).transpose(1, 2), mask)

    def _pool(self, sets: Float[Tensor, "sets tokens dim"], mask: Bool[Tensor, "sets tokens"] | None) -> Tensor:
        """Lets the seeds attend to the tokens of every set. Keys and values of single tokens are not computed.

        The mean of values is the value of the mean.
        """
        means = torch.bmm(self._pooling_weights(sets, mask), sets).unflatten(1, (self.heads, -1))
        values = self.keys_values.weight[self.dim :].unflatten(0, (self.heads, -1))
        return (torch.einsum("nhsd,hwd->nshw", means, values).flatten(2) + self.keys_values.bias[self.dim :]).flatten(1)
