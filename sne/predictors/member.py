"""One encoder with its heads: what training trains and a predictor averages over."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sne.encoders import NetworkEncoder
from sne.predictors.heads import PropertyHeads


class Member(nn.Module):
    """An encoder and the heads that read its embeddings.

    Args:
        encoder: networks to embeddings.
        heads: embeddings to properties.
    """

    def __init__(self, encoder: NetworkEncoder, heads: PropertyHeads):
        super().__init__()
        self.encoder = encoder
        self.heads = heads

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
        return self.heads.values(self._evaluate(prepared)[1])

    @torch.inference_mode()
    def logits(self, prepared: Sequence[Any]) -> Float[Tensor, "networks outputs"]:
        """What the heads put out before sigmoid, softmax or scale, as one batch, on the CPU; dropout is off."""
        return self._evaluate(prepared)[1]

    def _evaluate(self, prepared: Sequence[Any]) -> tuple[Tensor, Tensor]:
        was_training = self.training
        self.eval()
        try:
            embedding = self.encoder(self.encoder.collate(prepared).to(self.device)).float()
            return embedding.cpu(), self.heads(embedding)[:, : self.heads.num_outputs].float().cpu()
        finally:
            self.train(was_training)
