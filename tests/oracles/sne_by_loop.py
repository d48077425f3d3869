"""The paper's encoder as nested loops over layers and chunks, from section 1 of the method."""

import torch
from oracles import set_blocks as loops
from oracles.pad_and_chunk import chunks_of
from torch import Tensor

from sne.encoders.chunking import LAYER_TYPES, ROLES
from sne.encoders.set_encoder import SetEncoder
from sne.networks import Network


def embedding(encoder: SetEncoder, network: Network) -> Tensor:
    """The embedding of one network; the encoder in float64."""

    def added(stage: int, layer, part) -> Tensor:
        numbers = ([LAYER_TYPES[layer.type]], [ROLES[part.role]], [layer.level])
        return encoder.encodings[stage](*(torch.tensor(n) for n in numbers))[0]

    tokens, places = [], []
    for layer, part in network.parts():
        vectors = []
        for weights in chunks_of(network.read(part), encoder.chunk_size):
            scalars = list(torch.tensor(weights, dtype=torch.float64) / encoder.input_std)
            stage = encoder.chunk_encoder
            x = loops.sab(stage.second.block, loops.scalar_sab(stage.first, scalars))
            vectors.append(loops.pma(stage.pool, [v + added(0, layer, part) for v in x]))
        stage, x = encoder.layer_encoder, vectors
        for block in (stage.first, stage.second):
            x = loops.mab(block.outer, x, x) if len(x) <= block.full_up_to else loops.isab(block, x)
        tokens.append(loops.pma(stage.pool, [v + added(1, layer, part) for v in x]))
        places.append((layer, part))
    stage = encoder.network_encoder
    x = loops.sab(stage.second.block, loops.sab(stage.first.block, tokens))
    return loops.pma(stage.pool, [v + added(2, *place) for v, place in zip(x, places, strict=True)])
