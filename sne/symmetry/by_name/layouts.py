"""Transformers and ConvNeXt as tables of names: one `Layout` per architecture and naming scheme.

Source of the small transformers: Tran et al., "Equivariant Neural Functional Networks for Transformers",
arXiv 2410.04209, its zoo.
Differs: the stream moves as one; without stored positions, channels of queries and keys stay.
"""

from collections.abc import Mapping

from sne.symmetry.by_name.tables import AxisRule, Heads, Layout, On, Row, linear, norm

_STREAM = On("stream")
_HIDDEN, _READ = On("hidden.{0}", 1), On("hidden.{0}", -1)
_PATCHES = (_STREAM, "input", "kernel position", "kernel position")
_TOKEN = ("one entry", "position", _STREAM)


def _heads(*parts: str) -> Heads:
    return Heads("attention.{0}", parts)


def _projections(parts: Mapping[str, str], stream: AxisRule = _STREAM) -> tuple[Row, ...]:
    """Returns rows of the linear layers that make queries, keys and values.

    Args:
        parts: "query", "key" or "value" by the pattern of a layer's path.
        stream: Content that the layers read.
    """
    return tuple(row for path, part in parts.items() for row in linear(path, _heads(part), stream))


# Vision transformers, named as in timm.

TIMM_VIT = Layout(
    name="timm's ViT",
    rows=(
        ("(cls_token|reg_token|dist_token|pos_embed)", _TOKEN),
        ("patch_embed.proj.weight", _PATCHES),
        ("patch_embed.proj.bias", (_STREAM,)),
        *norm("(norm_pre|norm|fc_norm|blocks.{}.norm[12])", _STREAM),
        *linear("blocks.{}.attn.qkv", _heads("query", "key", "value"), _STREAM),
        ("blocks.{}.attn.proj.weight", (_STREAM, _heads("out"))),
        ("blocks.{}.attn.proj.bias", (_STREAM,)),
        *linear("blocks.{}.mlp.fc1", _HIDDEN, _STREAM),
        *linear("blocks.{}.mlp.fc2", _STREAM, _READ),
        ("blocks.{}.ls[12].gamma", (_STREAM,)),
        *linear("(head|head_dist)", "output", _STREAM),
    ),
    needed=("pos_embed", "patch_embed.proj.weight", "blocks.{}.attn.qkv.weight", "blocks.{}.mlp.fc1.weight"),
    readers=("head.weight",),
    needs_bias="blocks.{}.attn.qkv.bias",  # relatives that turn queries and keys keep this bias in other tensors
)

# Vision transformers, named as in transformers, before and after its version 5.

_VIT_LAYER = "(vit.)?(encoder.layer|layers).{}"
_VIT_OLD, _VIT_NEW = "(vit.)?encoder.layer.{}", "(vit.)?layers.{}"

TRANSFORMERS_VIT = Layout(
    name="transformers' ViT",
    rows=(
        ("(vit.)?embeddings.(cls_token|mask_token|position_embeddings)", _TOKEN),
        ("(vit.)?embeddings.patch_embeddings.projection.weight", _PATCHES),
        ("(vit.)?embeddings.patch_embeddings.projection.bias", (_STREAM,)),
        *norm(f"((vit.)?layernorm|{_VIT_LAYER}.layernorm_(before|after))", _STREAM),
        *_projections({f"{_VIT_OLD}.attention.attention.{part}": part for part in ("query", "key", "value")}),
        *_projections({f"{_VIT_NEW}.attention.{part[0]}_proj": part for part in ("query", "key", "value")}),
        *linear(f"({_VIT_OLD}.attention.output.dense|{_VIT_NEW}.attention.o_proj)", _STREAM, _heads("out")),
        *linear(f"({_VIT_OLD}.intermediate.dense|{_VIT_NEW}.mlp.fc1)", _HIDDEN, _STREAM),
        *linear(f"({_VIT_OLD}.output.dense|{_VIT_NEW}.mlp.fc2)", _STREAM, _READ),
        *linear("(vit.)?pooler.dense", "output", _STREAM),
        *linear("classifier", "output", _STREAM),
    ),
    needed=(
        "(vit.)?embeddings.position_embeddings",
        "(vit.)?embeddings.patch_embeddings.projection.weight",
        f"{_VIT_LAYER}.layernorm_before.weight",
    ),
    readers=("classifier.weight",),
)

# BERT and RoBERTa, named as in transformers. The pooler and the transform before the predictions of words are as wide
# as the stream. Their outputs move with it: older classifiers of tokens store a pooler that they do not read, and
# predictions of words read with the word embeddings.

_BERT = "((bert|roberta).)?"
_BERT_LAYER = _BERT + "encoder.layer.{}"

BERT = Layout(
    name="BERT",
    rows=(
        (f"{_BERT}embeddings.(word|position|token_type)_embeddings.weight", ("token", _STREAM)),
        (f"{_BERT}embeddings.(position|token_type)_ids", ("batch", "position")),
        *norm(f"({_BERT}embeddings|{_BERT_LAYER}.attention.output|{_BERT_LAYER}.output).LayerNorm", _STREAM),
        *_projections({f"{_BERT_LAYER}.attention.self.{part}": part for part in ("query", "key", "value")}),
        *linear(f"{_BERT_LAYER}.attention.output.dense", _STREAM, _heads("out")),
        *linear(f"{_BERT_LAYER}.intermediate.dense", _HIDDEN, _STREAM),
        *linear(f"{_BERT_LAYER}.output.dense", _STREAM, _READ),
        *linear(f"{_BERT}pooler.dense", _STREAM, _STREAM),
        *linear("(cls.predictions.transform|lm_head|classifier).dense", _STREAM, _STREAM),
        *norm("(cls.predictions.transform.LayerNorm|lm_head.layer_norm)", _STREAM),
        *linear("(cls.predictions.decoder|lm_head.decoder|cls.seq_relationship)", "output", _STREAM),
        *linear("(classifier|classifier.out_proj|qa_outputs)", "output", _STREAM),
        ("(cls.predictions|lm_head).bias", ("output",)),
    ),
    needed=(
        f"{_BERT}embeddings.word_embeddings.weight",
        f"{_BERT}embeddings.position_embeddings.weight",
        f"{_BERT_LAYER}.attention.self.query.weight",
        f"{_BERT_LAYER}.attention.output.LayerNorm.weight",
    ),
    readers=(
        "(classifier|classifier.out_proj|qa_outputs|cls.seq_relationship).weight",
        "(cls.predictions.transform|lm_head).dense.weight",
    ),
)

# GPT-2, stored [in, out] as in transformers, or [out, in] as in nanoGPT and other rewrites.

_GPT2 = "(transformer.)?"
_GPT2_BLOCK = _GPT2 + "h.{}"


def _gpt2(name: str, is_in_first: bool) -> Layout:
    """Returns the layout with matrices stored [in, out] or [out, in]."""

    def rows(path: str, out: AxisRule, reads: AxisRule) -> tuple[Row, ...]:
        weight = (reads, out) if is_in_first else (out, reads)
        return (f"{path}.weight", weight), (f"{path}.bias", (out,))

    return Layout(
        name=name,
        rows=(
            (f"{_GPT2}wte.weight", ("token", _STREAM)),
            (f"{_GPT2}wpe.weight", ("position", _STREAM)),
            *norm(f"({_GPT2_BLOCK}.ln_[12]|{_GPT2}ln_f)", _STREAM),
            (f"{_GPT2_BLOCK}.attn.(bias|mask)", ("batch", "head", "position", "position")),
            (f"{_GPT2_BLOCK}.attn.masked_bias", ()),
            *rows(f"{_GPT2_BLOCK}.attn.c_attn", _heads("query", "key", "value"), _STREAM),
            *rows(f"{_GPT2_BLOCK}.attn.c_proj", _STREAM, _heads("out")),
            *rows(f"{_GPT2_BLOCK}.mlp.c_fc", _HIDDEN, _STREAM),
            *rows(f"{_GPT2_BLOCK}.mlp.c_proj", _STREAM, _READ),
            *linear("(lm_head|score|classifier)", "output", _STREAM),
        ),
        needed=(
            f"{_GPT2}wte.weight",
            f"{_GPT2}wpe.weight",
            f"{_GPT2_BLOCK}.attn.c_attn.weight",
            f"{_GPT2_BLOCK}.mlp.c_fc.weight",
        ),
        readers=("(lm_head|score|classifier).weight",),
        embedding=f"{_GPT2}wte.weight",
    )


GPT2 = _gpt2("GPT-2", is_in_first=True)
NANO_GPT = _gpt2("GPT-2 stored [out, in]", is_in_first=False)

# Llama and the decoders with its names: Mistral, Qwen2, Gemma, Granite, StableLM.

_LLAMA_LAYER = "(model.)?layers.{}"
_LLAMA_ATTENTION = _LLAMA_LAYER + ".self_attn"

LLAMA = Layout(
    name="Llama",
    rows=(
        ("(model.)?embed_tokens.weight", ("token", _STREAM)),
        *norm(f"((model.)?norm|{_LLAMA_LAYER}.input_layernorm|{_LLAMA_LAYER}.post_attention_layernorm)", _STREAM),
        *_projections({f"{_LLAMA_ATTENTION}.{part[0]}_proj": part for part in ("query", "key", "value")}),
        *linear(f"{_LLAMA_ATTENTION}.o_proj", _STREAM, _heads("out")),
        (f"((model.)?|{_LLAMA_ATTENTION}.)rotary_emb.inv_freq", ("frequency",)),
        *linear(f"{_LLAMA_LAYER}.mlp.gate_proj", On("hidden.{0}"), _STREAM),
        *linear(f"{_LLAMA_LAYER}.mlp.up_proj", On("hidden.{0}", 1, is_gated=True), _STREAM),
        *linear(f"{_LLAMA_LAYER}.mlp.down_proj", _STREAM, _READ),
        *linear("(lm_head|score)", "output", _STREAM),
    ),
    needed=(
        "(model.)?embed_tokens.weight",
        f"{_LLAMA_ATTENTION}.q_proj.weight",
        f"{_LLAMA_LAYER}.mlp.gate_proj.weight",
        f"{_LLAMA_LAYER}.input_layernorm.weight",
    ),
    readers=("(lm_head|score).weight",),
    embedding="(model.)?embed_tokens.weight",
    is_rotary=True,
)

# T5, named as in transformers. Its heads share one table of relative positions over all layers and stay fixed.

_T5_LAYER = "(encoder|decoder).block.{}.layer.{}"
_T5_HEADS = "heads, which share one table of relative positions over all layers"


def _t5_mlp(side: str) -> tuple[Row, ...]:
    """Returns rows of the feed-forward parts of the encoder or the decoder, plain or gated."""
    hidden = f"hidden.{side}.{{0}}"
    layer = f"{side}.block.{{}}.layer.{{}}"
    return (
        (f"{layer}.DenseReluDense.wi.weight", (On(hidden, 1), _STREAM)),
        (f"{layer}.DenseReluDense.wi_0.weight", (On(hidden), _STREAM)),
        (f"{layer}.DenseReluDense.wi_1.weight", (On(hidden, 1, is_gated=True), _STREAM)),
        (f"{layer}.DenseReluDense.wo.weight", (_STREAM, On(hidden, -1))),
    )


T5 = Layout(
    name="T5",
    rows=(
        ("(shared|(encoder|decoder).embed_tokens).weight", ("token", _STREAM)),
        *norm(f"({_T5_LAYER}.layer_norm|(encoder|decoder).final_layer_norm)", _STREAM),
        (f"{_T5_LAYER}.(SelfAttention|EncDecAttention).[qkv].weight", (_T5_HEADS, _STREAM)),
        (f"{_T5_LAYER}.(SelfAttention|EncDecAttention).o.weight", (_STREAM, _T5_HEADS)),
        (f"{_T5_LAYER}.(SelfAttention|EncDecAttention).relative_attention_bias.weight", ("position", _T5_HEADS)),
        *_t5_mlp("encoder"),
        *_t5_mlp("decoder"),
        ("lm_head.weight", ("output", _STREAM)),
    ),
    needed=("shared.weight", f"{_T5_LAYER}.SelfAttention.q.weight", f"{_T5_LAYER}.DenseReluDense.wo.weight"),
    readers=("lm_head.weight",),
    embedding="decoder.final_layer_norm.weight",  # an encoder alone has no predictions of words
)

# ConvNeXt, named as in transformers.

_CONVNEXT = "(convnext.)?"
_CONVNEXT_LAYER = _CONVNEXT + "encoder.stages.{}.layers.{}"
_CONVNEXT_DOWN = _CONVNEXT + "encoder.stages.{}.downsampling_layer"
_STAGE, _FIRST = On("stream.{0}"), On("stream.0")

_CONVNEXT_ROWS = (
    (f"{_CONVNEXT}embeddings.patch_embeddings.weight", (_FIRST, "input", "kernel position", "kernel position")),
    (f"{_CONVNEXT}embeddings.patch_embeddings.bias", (_FIRST,)),
    *norm(f"{_CONVNEXT}embeddings.layernorm", _FIRST),
    *norm(f"{_CONVNEXT_DOWN}.0", On("stream.{p0}")),
    (f"{_CONVNEXT_DOWN}.1.weight", (_STAGE, On("stream.{p0}"), "kernel position", "kernel position")),
    (f"{_CONVNEXT_DOWN}.1.bias", (_STAGE,)),
    (f"{_CONVNEXT_LAYER}.dwconv.weight", (_STAGE, "one entry", "kernel position", "kernel position")),
    (f"{_CONVNEXT_LAYER}.dwconv.bias", (_STAGE,)),
    *norm(f"{_CONVNEXT_LAYER}.layernorm", _STAGE),
    *linear(f"{_CONVNEXT_LAYER}.pwconv1", On("hidden.{0}.{1}", 1), _STAGE),
    *linear(f"{_CONVNEXT_LAYER}.pwconv2", _STAGE, On("hidden.{0}.{1}", -1)),
    (f"{_CONVNEXT_LAYER}.layer_scale_parameter", (_STAGE,)),
)


def convnext(stages: int) -> Layout:
    """Returns the layout of a network with some number of stages, whose head reads the last one."""
    last = On(f"stream.{stages - 1}")
    return Layout(
        name="ConvNeXt",
        rows=(*_CONVNEXT_ROWS, *norm(f"{_CONVNEXT}layernorm", last), *linear("classifier", "output", last)),
        needed=(
            f"{_CONVNEXT}embeddings.patch_embeddings.weight",
            f"{_CONVNEXT_LAYER}.dwconv.weight",
            f"{_CONVNEXT_LAYER}.pwconv1.weight",
        ),
        readers=("classifier.weight",),
    )


# The transformers of the Small Transformer Zoo, for images and for texts. Their norms have no weights, and names do not
# tell whether blocks have skips. All places between blocks move together, which holds either way. Those for texts do
# not store the embedding that they share, so that nothing moves there.

_SMALL_BLOCK = "encoder.{}"
_SMALL_NEEDED = (
    f"{_SMALL_BLOCK}.attention.queries.weight",
    f"{_SMALL_BLOCK}.attention.out_projection.weight",
    f"{_SMALL_BLOCK}.fc1.weight",
    "classifier.fc1.weight",
    "classifier.fc2.weight",
)


def _small(stream: AxisRule) -> tuple[Row, ...]:
    """Returns rows of the encoder and the classifier.

    Args:
        stream: Content that passes between the blocks.
    """
    parts = {"queries": "query", "keys": "key", "values": "value"}
    return (
        *_projections({f"{_SMALL_BLOCK}.attention.{name}": part for name, part in parts.items()}, stream),
        *linear(f"{_SMALL_BLOCK}.attention.out_projection", stream, _heads("out")),
        *linear(f"{_SMALL_BLOCK}.fc1", _HIDDEN, stream),
        *linear(f"{_SMALL_BLOCK}.fc2", stream, _READ),
        *linear("classifier.fc1", On("hidden.classifier", 1), stream),
        *linear("classifier.fc2", "output", On("hidden.classifier", -1)),
    )


SMALL_VISION = Layout(
    name="the small vision transformer",
    rows=(
        ("embedding.conv1.weight", (_STREAM, "input", "kernel position", "kernel position")),
        ("embedding.conv1.bias", (_STREAM,)),
        ("embedding.pos_embedding", ("position", _STREAM)),
        *_small(_STREAM),
    ),
    needed=("embedding.conv1.weight", "embedding.pos_embedding", *_SMALL_NEEDED),
    readers=("classifier.fc1.weight",),
)
SMALL_TEXT = Layout(
    name="the small text transformer",
    rows=_small("input, or what may be added to it"),
    needed=_SMALL_NEEDED,
    needs_bias="embedding.pos_embedding",
)
