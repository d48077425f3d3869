"""GPT-2, stored [in, out] as in transformers or [out, in] as in nanoGPT and its kin."""

from sne.symmetry.by_name.tables import AxisRule, Heads, Layout, On, Row, linear, norm

_STREAM = On("stream")
_BODY = "(transformer.)?"
_BLOCK = _BODY + "h.{}"


def _layout(name: str, is_in_first: bool) -> Layout:
    def rows(path: str, out: AxisRule, reads: AxisRule) -> tuple[Row, ...]:
        weight = (reads, out) if is_in_first else (out, reads)
        return (f"{path}.weight", weight), (f"{path}.bias", (out,))

    return Layout(
        name=name,
        rows=(
            (f"{_BODY}wte.weight", ("token", _STREAM)),
            (f"{_BODY}wpe.weight", ("position", _STREAM)),
            *norm(f"({_BLOCK}.ln_[12]|{_BODY}ln_f)", _STREAM),
            (f"{_BLOCK}.attn.(bias|mask)", ("batch", "head", "position", "position")),
            (f"{_BLOCK}.attn.masked_bias", ()),
            *rows(f"{_BLOCK}.attn.c_attn", Heads("attention.{0}", ("query", "key", "value")), _STREAM),
            *rows(f"{_BLOCK}.attn.c_proj", _STREAM, Heads("attention.{0}", ("out",))),
            *rows(f"{_BLOCK}.mlp.c_fc", On("hidden.{0}", 1), _STREAM),
            *rows(f"{_BLOCK}.mlp.c_proj", _STREAM, On("hidden.{0}", -1)),
            *linear("(lm_head|score|classifier)", "output", _STREAM),
        ),
        needed=(
            f"{_BODY}wte.weight",
            f"{_BODY}wpe.weight",
            f"{_BLOCK}.attn.c_attn.weight",
            f"{_BLOCK}.mlp.c_fc.weight",
        ),
        readers=("(lm_head|score|classifier).weight",),
        embedding=f"{_BODY}wte.weight",
    )


GPT2 = _layout("GPT-2", is_in_first=True)
NANO_GPT = _layout("GPT-2 stored [out, in]", is_in_first=False)
