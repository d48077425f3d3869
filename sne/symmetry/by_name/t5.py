"""T5, named as in transformers. Its heads share one table of relative positions over all layers, and stay."""

from sne.symmetry.by_name.tables import Layout, On, norm

_STREAM = On("stream")
_LAYER = "(encoder|decoder).block.{}.layer.{}"
_HEADS = "heads, which share one table of relative positions over all layers"


def _side(side: str) -> tuple:
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
        *norm(f"({_LAYER}.layer_norm|(encoder|decoder).final_layer_norm)", _STREAM),
        (f"{_LAYER}.(SelfAttention|EncDecAttention).[qkv].weight", (_HEADS, _STREAM)),
        (f"{_LAYER}.(SelfAttention|EncDecAttention).o.weight", (_STREAM, _HEADS)),
        (f"{_LAYER}.(SelfAttention|EncDecAttention).relative_attention_bias.weight", ("position", _HEADS)),
        *_side("encoder"),
        *_side("decoder"),
        ("lm_head.weight", ("output", _STREAM)),
    ),
    needed=("shared.weight", f"{_LAYER}.SelfAttention.q.weight", f"{_LAYER}.DenseReluDense.wo.weight"),
    readers=("lm_head.weight",),
    embedding="decoder.final_layer_norm.weight",  # an encoder alone has no predictions of words
)
