"""What training trains and a predictor averages over: an encoder with its heads, and trees beside them."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sne.encoders import NetworkEncoder
from sne.predictors.forest import Forest
from sne.predictors.heads import PropertyHeads


class Member(nn.Module):
    """An encoder and the heads that read its embeddings; perhaps a forest for each property beside them.

    A forest reads `encoder.summarize` in place of the embedding: trees see in the same description of a network what
    attention does not, and the other way round. A property's value is the weighted mean of what its head and its forest
    say.

    Args:
        encoder: networks to embeddings.
        heads: embeddings to properties.
        forests: one a property, in order; none where heads speak alone.
    """

    forest_shares: Tensor

    def __init__(self, encoder: NetworkEncoder, heads: PropertyHeads, forests: Sequence[Forest] = ()):
        super().__init__()
        self.encoder = encoder
        self.heads = heads
        self.forests = nn.ModuleList()
        if forests:
            self.plant(forests, [0.5] * len(forests))

    def plant(self, forests: Sequence[Forest], shares: Sequence[float]) -> None:
        """Puts forests beside the heads.

        Args:
            forests: one a property, in order.
            shares: what each has in its property's value, in [0, 1].
        """
        if not len(forests) == len(shares) == len(self.heads.properties):
            raise ValueError(f"{len(forests)} forests, {len(shares)} shares, {len(self.heads.properties)} properties")
        self.forests = nn.ModuleList(forests)
        self.register_buffer("forest_shares", torch.tensor(shares, dtype=torch.float64))

    def forward(self, batch: Any) -> Float[Tensor, "networks outputs"]:
        """Raw outputs of the heads for a batch that the encoder's `collate` made."""
        return self.heads(self.encoder(batch))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @torch.inference_mode()
    def embed(self, prepared: Sequence[Any]) -> Float[Tensor, "networks dim"]:
        """Embeddings of prepared networks, as one batch, on the CPU; dropout is off."""
        return self._evaluate(prepared)[0]

    @torch.inference_mode()
    def values(self, prepared: Sequence[Any]) -> Float[Tensor, "networks outputs"]:
        """Properties of prepared networks in their own units, as one batch, on the CPU; dropout is off."""
        return self.values_and_logits(prepared)[0]

    @torch.inference_mode()
    def values_and_logits(
        self, prepared: Sequence[Any], rows: Float[Tensor, "networks features"] | None = None
    ) -> tuple[Float[Tensor, "networks outputs"], Float[Tensor, "networks outputs"]]:
        """Values as `values` gives them, and what the heads put out before sigmoid, softmax or scale.

        Args:
            prepared: the networks.
            rows: what `summarize` says of them, where that is known already.
        """
        logits = self._evaluate(prepared)[1]
        values = self.heads.values(logits)
        if not self.forests:
            return values, logits
        rows = self.summarize(prepared) if rows is None else rows
        assert rows is not None
        shares = torch.cat(
            [share.expand(p.num_outputs) for share, p in zip(self.forest_shares, self.heads.properties, strict=True)]
        )
        return torch.lerp(values.double(), self.forest_values(rows).double(), shares.cpu()), logits

    def summarize(self, prepared: Sequence[Any]) -> Float[Tensor, "networks features"] | None:
        """What the forests read of prepared networks; None where there are no forests.

        Raises:
            ValueError: there are, and the encoder has no summaries.
        """
        if not self.forests:
            return None
        rows = self.encoder.summarize(prepared)
        if rows is None:
            raise ValueError(f"{type(self.encoder).__name__} gives no summaries for trees to read")
        return rows

    @torch.inference_mode()
    def forest_values(self, rows: Float[Tensor, "networks features"]) -> Float[Tensor, "networks outputs"]:
        """Properties of networks as the forests alone see them, on the CPU."""
        columns = []
        for prop, forest in zip(self.heads.properties, self.forests, strict=True):
            outputs = forest(rows).cpu()
            columns.append(outputs if prop.kind == "class" else prop.at_ranks(outputs))
        return torch.cat(columns, dim=1)

    def _evaluate(self, prepared: Sequence[Any]) -> tuple[Tensor, Tensor]:
        was_training = self.training
        self.eval()
        try:
            embedding = self.encoder(self.encoder.collate(prepared).to(self.device)).float()
            return embedding.cpu(), self.heads(embedding)[:, : self.heads.num_outputs].float().cpu()
        finally:
            self.train(was_training)
