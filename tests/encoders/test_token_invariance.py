"""Tokens do not change when hidden neurons are permuted, in networks with residual sums and heads too."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, ResNetConfig, ResNetModel

from sne import read_network
from sne.encoders.tensor_tokens import tokenize
from sne.making import FAMILIES
from sne.symmetry import apply, sample, trace


def family_module(name):
    family, shape = FAMILIES[name], (1, 28, 28)
    drawn = family.sample(np.random.default_rng(3))
    return family.build(drawn, shape, 10, torch.Generator().manual_seed(0)), (torch.randn(2, *shape),)


def hub_module(name):
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = (torch.randint(0, 20, (2, 5)),)
    if name == "resnet":
        config = ResNetConfig(num_channels=3, embedding_size=8, hidden_sizes=[8, 16], depths=[2, 1], layer_type="basic")
        return ResNetModel(config), (torch.randn(2, 3, 32, 32),)
    if name == "bert":
        return BertModel(BertConfig(vocab_size=20, max_position_embeddings=8, **small)), ids
    return LlamaModel(LlamaConfig(vocab_size=20, num_key_value_heads=2, use_cache=False, **small)), ids


def as_after_training(module):
    """Norms, biases and running statistics are no longer what they were at first."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.2 * torch.rand(tensor.shape, generator=generator))
    return module.eval()


@pytest.mark.parametrize("name", ["small_cnn", "cnn_s", "mlp", "gru", "residual_cnn", "wild_cnn", "vit"])
def test_families(name):
    assert_tokens_stay(*family_module(name))


@pytest.mark.parametrize("name", ["resnet", "bert", "llama"])
def test_networks_of_the_hub(name):
    torch.manual_seed(0)
    assert_tokens_stay(*hub_module(name))


def assert_tokens_stay(module, inputs):
    state = as_after_training(module).state_dict()
    symmetry = trace(module, inputs)
    assert symmetry.groups
    copies = [apply(sample(symmetry, seed), state) for seed in range(3)]
    assert all(any(not torch.equal(copy[key], state[key]) for key in state) for copy in copies)
    before, *rest = tokenize([read_network(one) for one in (state, *copies)])
    for after in rest:
        torch.testing.assert_close(after.features, before.features, rtol=1e-3, atol=2e-3)
        torch.testing.assert_close(after.outputs, before.outputs, rtol=1e-3, atol=2e-3)
