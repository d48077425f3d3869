"""Llama and the many decoders with its names: Mistral, Qwen2, Gemma, Granite, StableLM."""

from sne.symmetry.by_name.tables import Heads, Layout, On, linear, norm

_STREAM = On("stream")
_LAYER = "(model.)?layers.{}"
_ATTENTION = _LAYER + ".self_attn"

LLAMA = Layout(
    name="Llama",
    rows=(
        ("(model.)?embed_tokens.weight", ("token", _STREAM)),
        *norm(f"((model.)?norm|{_LAYER}.input_layernorm|{_LAYER}.post_attention_layernorm)", _STREAM),
        *(
            row
            for part in ("query", "key", "value")
            for row in linear(f"{_ATTENTION}.{part[0]}_proj", Heads("attention.{0}", (part,)), _STREAM)
        ),
        *linear(f"{_ATTENTION}.o_proj", _STREAM, Heads("attention.{0}", ("out",))),
        (f"((model.)?|{_ATTENTION}.)rotary_emb.inv_freq", ("frequency",)),
        *linear(f"{_LAYER}.mlp.gate_proj", On("hidden.{0}"), _STREAM),
        *linear(f"{_LAYER}.mlp.up_proj", On("hidden.{0}", 1, is_gated=True), _STREAM),
        *linear(f"{_LAYER}.mlp.down_proj", _STREAM, On("hidden.{0}", -1)),
        *linear("(lm_head|score)", "output", _STREAM),
    ),
    needed=(
        "(model.)?embed_tokens.weight",
        f"{_ATTENTION}.q_proj.weight",
        f"{_LAYER}.mlp.gate_proj.weight",
        f"{_LAYER}.input_layernorm.weight",
    ),
    readers=("(lm_head|score).weight",),
    embedding="(model.)?embed_tokens.weight",
    is_rotary=True,
)
