"""Vision transformers, named as in timm and as in transformers."""

from sne.symmetry.by_name.tables import Heads, Layout, On, linear, norm

_STREAM = On("stream")
_HIDDEN, _READ = On("hidden.{0}", 1), On("hidden.{0}", -1)
_PATCHES = (_STREAM, "input", "kernel position", "kernel position")
_TOKEN = ("one entry", "position", _STREAM)


def _heads(*parts: str) -> Heads:
    return Heads("attention.{0}", parts)


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

_LAYER = "(vit.)?(encoder.layer|layers).{}"
_OLD, _NEW = "(vit.)?encoder.layer.{}", "(vit.)?layers.{}"

TRANSFORMERS_VIT = Layout(
    name="transformers' ViT",
    rows=(
        ("(vit.)?embeddings.(cls_token|mask_token|position_embeddings)", _TOKEN),
        ("(vit.)?embeddings.patch_embeddings.projection.weight", _PATCHES),
        ("(vit.)?embeddings.patch_embeddings.projection.bias", (_STREAM,)),
        *norm(f"((vit.)?layernorm|{_LAYER}.layernorm_(before|after))", _STREAM),
        *(
            row
            for part in ("query", "key", "value")
            for path in (f"{_OLD}.attention.attention.{part}", f"{_NEW}.attention.{part[0]}_proj")
            for row in linear(path, _heads(part), _STREAM)
        ),
        *linear(f"({_OLD}.attention.output.dense|{_NEW}.attention.o_proj)", _STREAM, _heads("out")),
        *linear(f"({_OLD}.intermediate.dense|{_NEW}.mlp.fc1)", _HIDDEN, _STREAM),
        *linear(f"({_OLD}.output.dense|{_NEW}.mlp.fc2)", _STREAM, _READ),
        *linear("(vit.)?pooler.dense", "output", _STREAM),
        *linear("classifier", "output", _STREAM),
    ),
    needed=(
        "(vit.)?embeddings.position_embeddings",
        "(vit.)?embeddings.patch_embeddings.projection.weight",
        f"{_LAYER}.layernorm_before.weight",
    ),
    readers=("classifier.weight",),
)
