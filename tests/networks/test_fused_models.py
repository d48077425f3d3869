"""Fused attentions of real models: the pieces are the queries, keys and values that the model computes with."""

import pytest
import torch
import transformers
from network_modules import Held

from sne.checkpoints.configuration import heads_of
from sne.networks import LayerType, TensorInfo, build_network, recognise
from sne.networks.fusion import FUSIONS, OPEN_HEADS, OPEN_LAYOUT

SMALL = {"vocab_size": 17, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
TEXT = {**SMALL, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MODELS = {
    "gpt2": ("GPT2Config", TEXT),
    "gpt-neox": ("GPTNeoXConfig", TEXT),
    "gpt-neox japanese": ("GPTNeoXJapaneseConfig", TEXT),
    "bloom": ("BloomConfig", TEXT),
    "falcon 7b": ("FalconConfig", TEXT),
    "falcon without multi-query": ("FalconConfig", {**TEXT, "multi_query": False}),
    "falcon 40b": ("FalconConfig", {**TEXT, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "starcoder": ("GPTBigCodeConfig", TEXT),
    "bigcode with heads": ("GPTBigCodeConfig", {**TEXT, "multi_query": False}),
    "codegen": ("CodeGenConfig", {**TEXT, "rotary_dim": 4}),
    "persimmon": ("PersimmonConfig", {**TEXT, "qk_layernorm": False}),
    "phi3": ("Phi3Config", {**TEXT, "num_key_value_heads": 2}),
    "mpt": ("MptConfig", {"vocab_size": 17, "d_model": 32, "n_layers": 1, "n_heads": 4}),
}
PIECES = (LayerType.ATTENTION_QUERY, LayerType.ATTENTION_KEY, LayerType.ATTENTION_VALUE)


def fused_parts(network):
    """Parts of the weight and of the bias, if there is one, of each piece of the only fused tensor."""
    return {layer.type: layer.parts for layer in network.layers if layer.type in PIECES}


@pytest.mark.parametrize("case", MODELS)
@torch.no_grad()
def test_pieces_are_what_the_model_computes_with(case):
    torch.manual_seed(0)
    name, settings = MODELS[case]
    config = getattr(transformers, name)(**settings)
    model = transformers.AutoModel.from_config(config).eval()
    for parameter in model.parameters():  # biases start as zeros
        parameter.add_(0.1 * torch.randn(parameter.shape))
    network = build_network("a model", Held(model.state_dict()), heads=heads_of(config.to_dict()))
    parts = fused_parts(network)
    fused = parts[PIECES[0]][0].tensor.rpartition(".")[0]
    seen = []
    model.get_submodule(fused).register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].flatten()))
    # The rotation of the first position is the identity, so that the cache holds what the layer computes.
    cache = model(torch.tensor([[3]]), use_cache=True).past_key_values
    for kind, expected in ((PIECES[1], cache.layers[0].keys), (PIECES[2], cache.layers[0].values)):
        weight, *biases = (network.read(part)[..., 0] for part in parts[kind])
        ours = weight @ seen[0] + sum(bias[:, 0] for bias in biases)
        heads = expected[0, :, 0]
        heads = heads[:: len(heads) * 8 // len(ours)]  # Falcon repeats each key for its queries
        assert torch.allclose(ours, heads.flatten(), atol=1e-5)
    axis = parts[PIECES[0]][0].axis
    rows = [index for kind in PIECES for index in parts[kind][0].indices]
    assert sorted(rows) == list(range(network.source.infos[f"{fused}.weight"].shape[axis]))
    assert parts[PIECES[0]][0].indices == tuple(sorted(parts[PIECES[0]][0].indices))


def cut_of(name, shape, config=None, **others):
    """The pieces of a fused tensor as (start, run, step, length), or the reason why it is not cut."""
    infos = {name: TensorInfo(name, shape, "float32")}
    infos |= {key: TensorInfo(key, size, "float32") for key, size in others.items()}
    layers, notes = recognise(infos, heads=heads_of(config or {}))
    found = {layer.type: layer.parts[0] for layer in layers if layer.parts[0].tensor == name}
    if set(found) == {LayerType.LINEAR}:
        return next(note.reason for note in notes if note.tensor == name)
    return [(p.start, p.run, p.step, p.shape[0]) for p in (found.get(kind) for kind in PIECES) if p is not None]


def thirds(size):
    return [(0, 0, 0, size), (size, 0, 0, size), (2 * size, 0, 0, size)]


INTERNLM2 = "model.layers.0.attention.wqkv.weight"
GLM = "transformer.encoder.layers.0.self_attention.query_key_value.weight"
NEOX = "gpt_neox.layers.0.attention.query_key_value.weight"
CODEGEN = "transformer.h.0.attn.qkv_proj.weight"
TINY_VIT = "stages.1.blocks.0.attn.qkv.weight"


def test_layouts_of_architectures_with_code_of_their_own():
    """Expected rows: reshape of the fused rows in the modelling code of InternLM2, ChatGLM, CodeGen2 and TinyViT."""
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    internlm2 = cut_of(INTERNLM2, (64, 32), heads | {"model_type": "internlm2"})
    assert internlm2 == [(0, 16, 32, 32), (16, 8, 32, 16), (24, 8, 32, 16)]
    out = {GLM.replace("query_key_value", "dense"): (32, 32)}
    glm = {"num_attention_heads": 4, "model_type": "chatglm"}
    assert cut_of(GLM, (64, 32), glm, **out) == [(0, 0, 0, 32), (32, 0, 0, 16), (48, 0, 0, 16)]
    assert cut_of(GLM, (96, 32), glm, **out) == [(0, 8, 24, 32), (8, 8, 24, 32), (16, 8, 24, 32)]
    assert cut_of("transformer.layers.0.attention.query_key_value.weight", (96, 32), glm) == cut_of(GLM, (96, 32), glm)
    codegen2 = cut_of(CODEGEN, (6144, 2048), {"n_head": 16, "head_dim": 128, "model_type": "codegen"})
    assert codegen2 == [(0, 256, 768, 2048), (512, 256, 768, 2048), (256, 256, 768, 2048)]
    beside = {"stages.1.blocks.0.attn.attention_biases": (4, 49), "stages.1.blocks.0.attn.proj.weight": (32, 32)}
    assert cut_of(TINY_VIT, (64, 32), **beside) == [(0, 4, 16, 16), (4, 4, 16, 16), (8, 8, 16, 32)]


def test_concatenated_pieces():
    assert cut_of("layers.0.self_attn.W_pack.weight", (96, 32)) == thirds(32)
    assert cut_of("blocks.0.att_proj.weight", (96, 32)) == thirds(32)
    grouped = cut_of("h.0.attn.Wqkv.weight", (64, 32), **{"h.0.attn.out_proj.weight": (32, 32)})
    assert grouped == [(0, 0, 0, 32), (32, 0, 0, 16), (48, 0, 0, 16)]
    pair = cut_of("attn.kv.weight", (64, 32), **{"attn.q.weight": (32, 32)})
    assert pair == [(0, 0, 0, 32), (32, 0, 0, 32)]
    cross = cut_of("h.0.crossattention.c_attn.weight", (32, 64), **{"h.0.crossattention.q_attn.weight": (32, 32)})
    assert len(cross) == 2


@pytest.mark.parametrize(
    ("name", "shape", "config", "reason"),
    [
        (NEOX, (96, 32), None, OPEN_HEADS),
        (NEOX, (96, 32), {"n_head": 5, "model_type": "gpt_neox"}, OPEN_HEADS),  # no number of heads of this width
        ("encoder.layers.0.self_attention.query_key_value.weight", (96, 32), {"n_head": 4}, OPEN_LAYOUT),
        (INTERNLM2, (64, 32), None, OPEN_HEADS),
        ("layers.0.attention.wqkv.weight", (64, 32), {"n_head": 4}, OPEN_LAYOUT),
        (CODEGEN, (6144, 2048), None, OPEN_LAYOUT),  # four blocks or eight
        ("decoder.layers.0.self_attention.linear_qkv.weight", (96, 32), None, OPEN_HEADS),
        ("stages.0.blocks.0.attn_grid.attn.qkv.weight", (96, 32), None, OPEN_HEADS),
        ("attn.qkv.weight", (66, 32), None, OPEN_LAYOUT),
        ("attn.qkv.weight", (65, 32), None, OPEN_LAYOUT),
    ],
)
def test_what_is_open_is_one_layer_with_a_note(name, shape, config, reason):
    assert cut_of(name, shape, config) == reason


@pytest.mark.parametrize("relative", [{}, {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}])
def test_deberta_by_head_with_biases_of_queries_and_values(relative):
    config = transformers.DebertaConfig(**SMALL, **relative)
    model = transformers.DebertaModel(config)
    layer = model.encoder.layer[0].attention.self
    network = build_network("a model", Held(model.state_dict()), heads=heads_of(config.to_dict()))
    parts = fused_parts(network)
    blocks = layer.in_proj.weight.chunk(12)
    for index, kind in enumerate(PIECES):
        assert torch.equal(network.read(parts[kind][0])[..., 0], torch.cat(blocks[index::3]))
    assert [[part.tensor.rpartition(".")[2] for part in parts[kind]] for kind in PIECES] == [
        ["weight", "q_bias"],
        ["weight"],
        ["weight", "v_bias"],
    ]
    alone, notes = recognise({info.name: info for info in network.source.infos.values()})
    assert any(part.tensor.endswith("in_proj.weight") and part.axis is None for one in alone for part in one.parts)
    assert any(note.reason == OPEN_HEADS for note in notes)


def test_the_last_row_of_the_layouts_matches_every_name():
    assert FUSIONS[-1].pattern == "" and all(row.pattern.endswith("$") for row in FUSIONS[:-1])
