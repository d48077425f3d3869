"""Transformer layouts against the modules of transformers, and against timm's names."""

from unittest.mock import patch

import pytest
import torch
import transformers
from by_name_proof import prove
from small_transformer import DIM, Transformer
from torch import nn

from sne.checkpoints.read import read_network
from sne.making.families.vit import VisionTransformer
from sne.networks import TensorInfo
from sne.symmetry import SymmetryError, apply, sample, symmetry_by_name

SMALL = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12)
TOKENS = torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(1))


class Logits(nn.Module):
    """A module of transformers, giving its first output; names as without the wrapper."""

    def __init__(self, inner, **inputs):
        super().__init__()
        self.inner, self.inputs = [inner], inputs
        for name, child in inner.named_children():
            self.add_module(name, child)
        for name, parameter in inner.named_parameters(recurse=False):
            self.register_parameter(name, parameter)

    def forward(self, x):
        # Llama's norms and angles are computed in float32, whatever the module's own precision
        with patch.object(torch, "float32", torch.float64), patch.object(torch.Tensor, "float", torch.Tensor.double):
            return self._first(x)

    def _first(self, x):
        return self.inner[0].eval()(x, **self.inputs, return_dict=True)[0]


def vit():
    config = transformers.ViTConfig(**SMALL, image_size=8, patch_size=4, num_labels=3)
    return Logits(transformers.ViTForImageClassification(config)), torch.randn(2, 3, 8, 8, dtype=torch.float64)


def bert(kind="BertForSequenceClassification", **more):
    config = transformers.BertConfig(**SMALL, vocab_size=20, max_position_embeddings=10, num_labels=3, **more)
    return Logits(getattr(transformers, kind)(config)), TOKENS


def roberta(kind="RobertaForSequenceClassification"):
    config = transformers.RobertaConfig(**SMALL, vocab_size=20, max_position_embeddings=12, num_labels=3)
    return Logits(getattr(transformers, kind)(config)), TOKENS


def gpt2(kind="GPT2LMHeadModel", **more):
    config = transformers.GPT2Config(
        n_embd=8, n_layer=2, n_head=2, vocab_size=20, n_positions=10, bos_token_id=0, eos_token_id=0, **more
    )
    return Logits(getattr(transformers, kind)(config), use_cache=False), TOKENS


def llama(kind="LlamaForCausalLM", **more):
    config = getattr(transformers, kind.removesuffix("ForCausalLM").removesuffix("Model") + "Config")(
        **{**SMALL, "hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4},
        vocab_size=20,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        **more,
    )
    return Logits(getattr(transformers, kind)(config), use_cache=False), TOKENS


def t5(**more):
    config = transformers.T5Config(d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, vocab_size=20, **more)
    return Logits(transformers.T5ForConditionalGeneration(config), decoder_input_ids=TOKENS, use_cache=False), TOKENS


HIDDEN = {"hidden.0": 12, "hidden.1": 12}
BODY = {"stream": 8, **HIDDEN}
CHANNELS = {f"attention.{n}.{h}.{part}": 4 for n in (0, 1) for h in (0, 1) for part in ("key", "value")}
HEADS = {f"attention.{n}.heads": 2 for n in (0, 1)}


@pytest.mark.parametrize(
    ("case", "body"),
    [
        (vit, BODY),
        (bert, BODY),
        (lambda: bert("BertForMaskedLM"), BODY),
        (lambda: bert("BertForTokenClassification"), BODY),
        (lambda: bert("BertModel"), HIDDEN),
        (roberta, BODY),
        (lambda: roberta("RobertaForMaskedLM"), BODY),
        (gpt2, {"stream": 8, "hidden.0": 32, "hidden.1": 32}),
        (lambda: gpt2(tie_word_embeddings=False), {"stream": 8, "hidden.0": 32, "hidden.1": 32}),
        (lambda: gpt2("GPT2Model"), {"hidden.0": 32, "hidden.1": 32}),
    ],
)
def test_blocks(case, body):
    module, inputs = case()
    assert prove(module, inputs) == body
    assert prove(module, inputs, heads=2) == {**body, **CHANNELS, **HEADS}
    assert prove(module, inputs, config={"num_attention_heads": 2}) == {**body, **CHANNELS, **HEADS}


@pytest.mark.parametrize("kind", ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "GemmaForCausalLM"])
def test_grouped_queries_and_rotary_positions(kind):
    module, inputs = llama(kind)
    body = {"stream": 16, **HIDDEN}
    assert prove(module, inputs) == body
    expected = {**body, **{f"attention.{n}.{h}.value": 4 for n in (0, 1) for h in (0, 1)}}
    expected |= {f"attention.{n}.{h}.queries": 2 for n in (0, 1) for h in (0, 1)}
    expected |= {f"attention.{n}.heads": 2 for n in (0, 1)}
    assert prove(module, inputs, heads=4) == expected


def test_a_gate_lets_scales_pass_and_an_activation_only_where_it_is_told():
    module, inputs = llama()
    groups = symmetry_by_name(read_network(module)).groups
    assert {group.name: group.kinds for group in groups} == {
        "stream": ("permutation",),
        "hidden.0": ("permutation", "scaling", "sign"),
        "hidden.1": ("permutation", "scaling", "sign"),
    }
    module, inputs = bert(hidden_act="relu")
    prove(module, inputs, activation="relu")
    kinds = {group.name: group.kinds for group in symmetry_by_name(read_network(module), activation="relu").groups}
    assert kinds["hidden.0"] == ("permutation", "scaling") and kinds["stream"] == ("permutation",)
    assert all(group.kinds == ("permutation",) for group in symmetry_by_name(read_network(module)).groups)


@pytest.mark.parametrize("projection", ["relu", "gated-gelu"])
def test_t5_keeps_its_heads(projection):
    module, inputs = t5(feed_forward_proj=projection)
    hidden = {f"hidden.{side}.{n}": 12 for side in ("encoder", "decoder") for n in (0, 1)}
    assert prove(module, inputs, heads=2) == {"stream": 8, **hidden}


def test_convnext():
    config = transformers.ConvNextConfig(hidden_sizes=[4, 6], depths=[2, 1], num_stages=2, patch_size=2, num_labels=3)
    module = Logits(transformers.ConvNextForImageClassification(config))
    sizes = prove(module, torch.randn(2, 3, 8, 8, dtype=torch.float64))
    assert sizes == {"stream.0": 4, "stream.1": 6, "hidden.0.0": 16, "hidden.0.1": 16, "hidden.1.0": 24}


@pytest.mark.parametrize("residual", [True, False])
def test_timm_names(residual):
    module = VisionTransformer((1, 8, 8), 3, 0.0, dim=8, residual=residual)
    body = {"stream": 8, "hidden.0": 16, "hidden.1": 16}
    assert prove(module, torch.randn(2, 1, 8, 8, dtype=torch.float64)) == body
    assert prove(module, torch.randn(2, 1, 8, 8, dtype=torch.float64), heads=2) == {**body, **CHANNELS, **HEADS}


@pytest.mark.parametrize("has_skips", [False, True])
def test_small_transformers_with_and_without_skips(has_skips):
    """Names do not tell which; those of texts do not store what they embed, so the stream stays there."""
    hidden = {"hidden.0": 16, "hidden.1": 16, "hidden.classifier": 8}
    images, words = torch.randn(2, 1, 28, 28, dtype=torch.float64), torch.randn(2, 6, DIM, dtype=torch.float64)
    vision, text = Transformer(True, 2, has_skips), Transformer(False, 2, has_skips)
    assert prove(vision, images) == {"stream": 8, **hidden} and prove(text, words) == hidden
    values = {name: size for name, size in CHANNELS.items() if name.endswith("value")}
    assert prove(vision, images, heads=2, activation="relu") == {"stream": 8, **hidden, **CHANNELS, **HEADS}
    assert prove(text, words, heads=2, activation="relu") == {**hidden, **values, **HEADS}


def infos_of(module, **changes):
    infos = {name: TensorInfo(name, tuple(t.shape), "float32") for name, t in module.state_dict().items()}
    for name, shape in changes.items():
        infos[name] = TensorInfo(name, shape, "float32")
    return infos


def test_an_unknown_tensor_makes_the_layout_fail():
    module = VisionTransformer((1, 8, 8), 3, 0.0, dim=8)
    symmetry = symmetry_by_name(infos_of(module, **{"blocks.0.attn.rel_pos_h": (7, 4)}))
    assert not symmetry.groups and "no tensor blocks.0.attn.rel_pos_h" in symmetry.fixed[0].reason


def test_positions_that_are_not_stored_could_stand_in_the_code():
    infos = infos_of(VisionTransformer((1, 8, 8), 3, 0.0, dim=8))
    del infos["pos_embed"]
    assert not symmetry_by_name(infos).groups


def test_channels_stay_where_queries_may_turn():
    infos = infos_of(VisionTransformer((1, 8, 8), 3, 0.0, dim=8))
    for n in (0, 1):
        del infos[f"blocks.{n}.attn.qkv.bias"]
    names = {group.name for group in symmetry_by_name(infos, heads=2).groups}
    assert "attention.0.0.value" in names and "attention.0.0.key" not in names


def test_the_output_layer_that_is_not_stored_must_be_told():
    infos = infos_of(gpt2()[0])
    del infos["lm_head.weight"]
    assert "stream" not in {group.name for group in symmetry_by_name(infos).groups}
    tied = symmetry_by_name(infos, config={"tie_word_embeddings": True, "n_head": 2})
    assert {"stream", "attention.1.heads"} <= {group.name for group in tied.groups}


def test_tied_tensors_stay_tied():
    module = gpt2()[0]
    network = read_network(module)
    symmetry = symmetry_by_name(network)
    assert symmetry.aliases == {"lm_head.weight": "transformer.wte.weight"}
    changed = apply(sample(symmetry, 0), module.state_dict())
    assert changed["lm_head.weight"] is changed["transformer.wte.weight"]


def test_rows_stored_out_first():
    infos = infos_of(gpt2()[0])
    turned = {
        name: TensorInfo(name, info.shape[::-1] if ".c_" in name else info.shape, "float32")
        for name, info in infos.items()
    }
    one, other = symmetry_by_name(infos, heads=2), symmetry_by_name(turned, heads=2)
    assert [(group.name, group.size) for group in one.groups] == [(group.name, group.size) for group in other.groups]
    spans = {(span.tensor, span.dim) for group in other.groups for span in group.spans if group.name == "hidden.0"}
    assert ("transformer.h.0.mlp.c_fc.weight", 0) in spans


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "does not divide queries of width 8"),
        ({"heads": 0}, "expected an integer of at least 1"),
        ({"heads": 2, "config": {"n_head": 4}}, "the configuration's n_head is 4"),
        ({"activation": "swish"}, "'swish' is not known"),
    ],
)
def test_what_the_caller_says_is_checked(options, message):
    with pytest.raises(SymmetryError, match=message):
        symmetry_by_name(infos_of(VisionTransformer((1, 8, 8), 3, 0.0, dim=8)), **options)


@pytest.mark.parametrize("wrappers", ["module", "_orig_mod", "model", "module.model"])
def test_wrappers(wrappers):
    module, inputs = gpt2()
    alone = symmetry_by_name(read_network(module), heads=2)
    for wrapper in reversed(wrappers.split(".")):
        module = Wrapped(wrapper, module)
    wrapped = symmetry_by_name(read_network(module), heads=2)
    assert prove(module, inputs, heads=2) == {group.name: group.size for group in alone.groups}
    assert wrapped.aliases == {f"{wrappers}.{one}": f"{wrappers}.{other}" for one, other in alone.aliases.items()}


class Wrapped(nn.Module):
    def __init__(self, name, inner):
        super().__init__()
        self.name = name
        self.add_module(name, inner)

    def forward(self, x):
        return getattr(self, self.name)(x)
