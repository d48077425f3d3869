"""One line that says what a network is."""

import numpy as np
import pytest
import torch
from torch import nn

from sne import read_network
from sne.making.families import FAMILIES
from sne.networks import summarise


def said(state):
    return summarise(read_network(state))


FAMILY = {
    "small_cnn": "convolutional network, 3 convolutions, width 16, 1 input channel, 1 linear layer, 10 outputs; "
    "4,970 weights",
    "gru": "recurrent network (GRU), 1 recurrent layer, width 32, 28 inputs, 10 outputs; 6,282 weights",
    "vit": "vision transformer, 2 blocks, width 32, patches of 4 x 4; 19,594 weights",
    "gpt": "transformer decoder, 2 blocks, width 24, vocabulary 16; 16,056 weights",
    "resnet": "residual convolutional network, 15 convolutions, widths 16 to 64, 1 input channel, "
    "1 linear layer, 10 outputs; 176,090 weights",
    "sine_inr": "multilayer perceptron, 3 layers, 1-32-32-1; 1,153 weights",
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILY)
def test_families(name):
    family = FAMILIES[name]
    settings = family.sample(np.random.default_rng(1))
    module = family.build(settings, (1, 28, 28), 10, torch.Generator().manual_seed(1))
    assert said(module.state_dict()) == FAMILY[name]


def bert(blocks, width, vocabulary):
    state = {
        "embeddings.word_embeddings.weight": torch.zeros(vocabulary, width),
        "embeddings.position_embeddings.weight": torch.zeros(16, width),
        "embeddings.token_type_embeddings.weight": torch.zeros(2, width),
    }
    for block in range(blocks):
        path = f"encoder.layer.{block}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            state[f"{path}.{name}.weight"] = torch.zeros(width, width)
        state[f"{path}.intermediate.dense.weight"] = torch.zeros(2 * width, width)
        state[f"{path}.output.dense.weight"] = torch.zeros(width, 2 * width)
    return state


def test_an_encoder():
    assert said(bert(3, 64, 500)).startswith("transformer encoder, 3 blocks, width 64, vocabulary 500; ")


def test_encoder_and_decoder_of_t5():
    state = {"shared.weight": torch.zeros(300, 32)}
    for side, inner in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"])):
        for block in range(2):
            for number, name in enumerate(inner):
                for part in "qkvo":
                    state[f"{side}.block.{block}.layer.{number}.{name}.{part}.weight"] = torch.zeros(32, 32)
            path = f"{side}.block.{block}.layer.{len(inner)}.DenseReluDense"
            state[f"{path}.wi.weight"] = torch.zeros(64, 32)
            state[f"{path}.wo.weight"] = torch.zeros(32, 64)
    expected = "transformer with encoder and decoder, 2 + 2 blocks, width 32, vocabulary 300; "
    assert said(state).startswith(expected)


def test_recurrent_layers_in_both_directions():
    network = nn.ModuleDict(
        {
            "embedding": nn.Embedding(90, 12),
            "rnn": nn.LSTM(12, 8, num_layers=2, bidirectional=True),
            "fc": nn.Linear(16, 3),
        }
    )
    assert said(network) == (
        "recurrent network (LSTM), 2 recurrent layers in both directions, width 8, vocabulary 90, 3 outputs; "
        "4,203 weights"
    )


def test_an_adapter():
    state = {}
    for block in range(2):
        for name in ("q_proj", "v_proj"):
            path = f"base_model.model.layers.{block}.self_attn.{name}"
            state |= {f"{path}.lora_A.weight": torch.zeros(4, 32), f"{path}.lora_B.weight": torch.zeros(32, 4)}
    assert said(state) == "adapter of 4 layers: q_proj, v_proj; 1,024 weights"


def test_a_state_space_network():
    state = {"embeddings.weight": torch.zeros(60, 8), "norm_f.weight": torch.zeros(8)}
    for block in range(2):
        path = f"layers.{block}.mixer"
        state |= {f"{path}.A_log": torch.zeros(16, 4), f"{path}.D": torch.zeros(16)}
        state |= {f"{path}.conv1d.weight": torch.zeros(16, 1, 4), f"{path}.out_proj.weight": torch.zeros(8, 16)}
    assert said(state).startswith("state-space network (Mamba), 2 blocks, vocabulary 60; ")


def test_it_says_less_rather_than_guess():
    state = {"a.weight": torch.zeros(3, 4), "b.weight": torch.zeros(7, 9)}
    assert said(state) == "network of 2 linear layers; 75 weights"
    assert said({"tau": torch.zeros(5)}).startswith("network of no known kind, 1 unknown layer; ")
    assert said({"wte.weight": torch.zeros(100, 8)}) == "embedding table, 100 x 8; 800 weights"
    assert said({"fc.weight": torch.zeros(1, 1).half()}) == "linear layer, 1-1; 1 weight in float16"
