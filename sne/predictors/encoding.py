"""`sne.encode`: networks to vectors in one call."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from sne.encoders import NetworkEncoder
from sne.predictors.predictor import Predictor
from sne.predictors.sources import Source, blocks, read_sources


def encode(
    sources: Source | Iterable[Source],
    *,
    encoder: Predictor | NetworkEncoder | str | Path,
    batch_size: int = 64,
) -> Float[np.ndarray, "networks dim"]:
    """Encodes networks as vectors.

    Args:
        sources: whatever `sne.read_network` takes, or networks already read; one or several.
        encoder: a predictor, a predictor's folder, or an encoder.
        batch_size: networks a forward pass; it changes speed and memory alone.

    Returns:
        float32 [networks, dim], rows in the order given.

    Raises:
        sne.CheckpointError: a source that cannot be read whole.
        PredictorError: a folder that is no predictor.
    """
    if isinstance(encoder, str | Path):
        encoder = Predictor.load(encoder)
    if isinstance(encoder, Predictor):
        return encoder.embed(sources, batch_size=batch_size)
    was_training = encoder.training
    device = next(encoder.parameters()).device
    encoder.eval()
    try:
        with torch.inference_mode():
            rows = [
                encoder(encoder.collate(encoder.prepare(block)).to(device)).float().cpu().numpy()
                for block in blocks(read_sources(sources), batch_size)
            ]
    finally:
        encoder.train(was_training)
    return np.concatenate(rows) if rows else np.zeros((0, encoder.dim), dtype=np.float32)
