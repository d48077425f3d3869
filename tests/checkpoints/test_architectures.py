"""Modules of the common libraries: typed and ordered alike with their classes at hand or by names alone."""

import pytest
import torch
import transformers
from network_modules import order, timm_vit, torchvision_resnet
from torch import nn

from sne.checkpoints import read_network
from sne.networks import LayerType, Network

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
T = transformers
MAKERS = {
    "resnet": lambda: T.ResNetForImageClassification(
        T.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[2, 2], layer_type="bottleneck")
    ),
    "convnext": lambda: T.ConvNextForImageClassification(
        T.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1])
    ),
    "mobilenet": lambda: T.MobileNetV2ForImageClassification(T.MobileNetV2Config(depth_multiplier=0.1)),
    "vit": lambda: T.ViTForImageClassification(T.ViTConfig(image_size=16, patch_size=4, **SMALL)),
    "bert": lambda: T.BertForMaskedLM(T.BertConfig(vocab_size=50, **SMALL)),
    "gpt2": lambda: T.GPT2LMHeadModel(
        T.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=50, n_positions=20, bos_token_id=0, eos_token_id=0)
    ),
    "llama": lambda: T.LlamaForCausalLM(T.LlamaConfig(vocab_size=50, num_key_value_heads=2, **SMALL)),
    "t5": lambda: T.T5ForConditionalGeneration(
        T.T5Config(vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    ),
    "torchvision resnet": torchvision_resnet,
    "timm vit": timm_vit,
    "torch encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False),
    "gru": lambda: nn.Sequential(nn.GRU(4, 8, 2, bidirectional=True), nn.Linear(16, 2)),
}


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MAKERS[name]().eval()


def count(network: Network, kind: LayerType) -> int:
    return sum(layer.type is kind for layer in network.layers)


@pytest.mark.parametrize("name", MAKERS)
def test_module_reads_like_its_state_dict(name):
    module = make(name)
    with_classes, by_names = read_network(module), read_network(module.state_dict())
    assert with_classes.layers == by_names.layers
    assert not [note for note in by_names.notes if "guess" in note.reason]
    # Every value is read exactly once.
    parameters = {p.data_ptr(): p.numel() for p in module.parameters()}
    buffers = sum(b.numel() for n, b in module.named_buffers() if n.endswith(("running_mean", "running_var")))
    assert by_names.num_weights == sum(parameters.values()) + buffers
    assert {layer.level for layer in by_names.layers} == set(range(by_names.num_levels))


ATTENTION = (LayerType.ATTENTION_QUERY, LayerType.ATTENTION_KEY, LayerType.ATTENTION_VALUE, LayerType.ATTENTION_OUT)
COUNTS = {
    "resnet": {LayerType.CONV2D: 1 + 4 * 3 + 1, LayerType.BATCH_NORM: 1 + 4 * 3 + 1, LayerType.LINEAR: 1},
    "convnext": {
        LayerType.CONV2D: 1 + 5 + 3,
        LayerType.LAYER_NORM: 1 + 5 + 3 + 1,
        LayerType.LINEAR: 5 * 2 + 1,
        LayerType.OTHER: 5,
    },
    "vit": {
        **dict.fromkeys(ATTENTION, 2),
        LayerType.CONV2D: 1,
        LayerType.LINEAR: 5,
        LayerType.LAYER_NORM: 5,
        LayerType.POSITION: 1,
        LayerType.EMBEDDING: 1,
    },
    "bert": {
        **dict.fromkeys(ATTENTION, 2),
        LayerType.EMBEDDING: 2,
        LayerType.POSITION: 1,
        LayerType.LAYER_NORM: 6,
        LayerType.LINEAR: 5,
    },
    "gpt2": {
        **dict.fromkeys(ATTENTION, 2),
        LayerType.EMBEDDING: 1,
        LayerType.POSITION: 1,
        LayerType.LINEAR: 4,
        LayerType.LAYER_NORM: 5,
    },
    "llama": {**dict.fromkeys(ATTENTION, 2), LayerType.EMBEDDING: 1, LayerType.RMS_NORM: 5, LayerType.LINEAR: 7},
    "t5": {
        **dict.fromkeys(ATTENTION, 6),
        LayerType.EMBEDDING: 1,
        LayerType.RMS_NORM: 12,
        LayerType.LINEAR: 8,
        LayerType.POSITION: 2,
    },
    "torch encoder": {**dict.fromkeys(ATTENTION, 2), LayerType.LINEAR: 4, LayerType.LAYER_NORM: 4},
    "gru": {LayerType.GRU: 12, LayerType.LINEAR: 1},
}


@pytest.mark.parametrize("name", COUNTS)
def test_types(name):
    network = read_network(make(name).state_dict())
    for kind in LayerType:
        if not (kind is LayerType.OTHER and name == "bert"):  # its tied output bias
            assert count(network, kind) == COUNTS[name].get(kind, 0), kind


def test_ties_are_named():
    for name, tied in (
        ("gpt2", "lm_head.weight"),
        ("t5", "lm_head.weight"),
        ("bert", "cls.predictions.decoder.weight"),
    ):
        module = make(name)
        notes = {note.tensor: note.reason for note in read_network(module).notes}
        assert notes[tied].startswith("tied: the same tensor as"), name


def test_order_of_llama():
    attention = "self_attn.k_proj self_attn.q_proj self_attn.v_proj"
    expected = ["model.embed_tokens"]
    for block in range(2):
        path = f"model.layers.{block}."
        stages = [
            "input_layernorm",
            attention,
            "self_attn.o_proj",
            "post_attention_layernorm",
            "mlp.gate_proj mlp.up_proj",
            "mlp.down_proj",
        ]
        expected += [" ".join(path + name for name in stage.split()) for stage in stages]
    assert order(read_network(make("llama").state_dict())) == [*expected, "model.norm", "lm_head"]


def test_order_of_bert():
    levels = {layer.name: layer.level for layer in read_network(make("bert")).layers}
    path = "bert.encoder.layer.0."
    names = [
        "attention.self.query",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    ]
    found = [levels[path + name] for name in names]
    assert found == list(range(found[0], found[0] + 6))
    assert levels["bert.embeddings.LayerNorm"] == 1


def test_order_of_resnet_bottleneck_and_shortcut():
    levels = {layer.name: layer.level for layer in read_network(make("resnet")).layers}
    block = "resnet.encoder.stages.1.layers.0."
    assert levels[block + "shortcut.convolution"] == levels[block + "layer.0.convolution"]
    assert levels[block + "layer.2.normalization"] == levels[block + "layer.0.convolution"] + 5


def test_order_of_mobilenet_and_convnext():
    levels = {layer.name: layer.level for layer in read_network(make("mobilenet")).layers}
    block = [f"mobilenet_v2.layer.3.{name}.convolution" for name in ("expand_1x1", "conv_3x3", "reduce_1x1")]
    assert [levels[name] - levels[block[0]] for name in block] == [0, 2, 4]
    assert levels["mobilenet_v2.conv_1x1.normalization"] == levels["classifier"] - 1
    levels = {layer.name: layer.level for layer in read_network(make("convnext")).layers}
    stage = "convnext.encoder.stages.1."
    names = [
        "downsampling_layer.0",
        "downsampling_layer.1",
        "layers.0.dwconv",
        "layers.0.layernorm",
        "layers.0.pwconv1",
        "layers.0.pwconv2",
    ]
    assert [levels[stage + name] - levels[stage + names[0]] for name in names] == list(range(6))


def test_conv1d_of_gpt2_is_turned():
    module = make("gpt2")
    stored = module.transformer.h[1].mlp.c_fc.weight
    network = read_network(module.state_dict())
    layer = next(layer for layer in network.layers if layer.name == "transformer.h.1.mlp.c_fc")
    assert stored.shape == (32, 128)
    assert torch.equal(network.read(layer.parts[0])[..., 0], stored.T)


def test_classes_tell_what_names_do_not():
    class Strange(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.GroupNorm(2, 4)
            self.b = nn.ConvTranspose1d(4, 4, 3, bias=False)
            self.c = nn.Embedding(9, 4)
            self.d = nn.LayerNorm(4, bias=False)

    module = Strange()
    types = {layer.name: layer.type for layer in read_network(module).layers}
    assert types == {
        "a": LayerType.GROUP_NORM,
        "b": LayerType.CONV_TRANSPOSE1D,
        "c": LayerType.EMBEDDING,
        "d": LayerType.LAYER_NORM,
    }
