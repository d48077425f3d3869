"""ConvNeXt, named as in transformers."""

from sne.symmetry.by_name.tables import Layout, On, linear, norm

_BODY = "(convnext.)?"
_LAYER = _BODY + "encoder.stages.{}.layers.{}"
_DOWN = _BODY + "encoder.stages.{}.downsampling_layer"
_STREAM, _FIRST = On("stream.{0}"), On("stream.0")

_ROWS = (
    (f"{_BODY}embeddings.patch_embeddings.weight", (_FIRST, "input", "kernel position", "kernel position")),
    (f"{_BODY}embeddings.patch_embeddings.bias", (_FIRST,)),
    *norm(f"{_BODY}embeddings.layernorm", _FIRST),
    *norm(f"{_DOWN}.0", On("stream.{p0}")),
    (f"{_DOWN}.1.weight", (_STREAM, On("stream.{p0}"), "kernel position", "kernel position")),
    (f"{_DOWN}.1.bias", (_STREAM,)),
    (f"{_LAYER}.dwconv.weight", (_STREAM, "one entry", "kernel position", "kernel position")),
    (f"{_LAYER}.dwconv.bias", (_STREAM,)),
    *norm(f"{_LAYER}.layernorm", _STREAM),
    *linear(f"{_LAYER}.pwconv1", On("hidden.{0}.{1}", 1), _STREAM),
    *linear(f"{_LAYER}.pwconv2", _STREAM, On("hidden.{0}.{1}", -1)),
    (f"{_LAYER}.layer_scale_parameter", (_STREAM,)),
)


def convnext(stages: int) -> Layout:
    """The layout of so many stages: the head reads the last one.

    Args:
        stages: how many.
    """
    last = On(f"stream.{stages - 1}")
    return Layout(
        name="ConvNeXt",
        rows=(*_ROWS, *norm(f"{_BODY}layernorm", last), *linear("classifier", "output", last)),
        needed=(f"{_BODY}embeddings.patch_embeddings.weight", f"{_LAYER}.dwconv.weight", f"{_LAYER}.pwconv1.weight"),
        readers=("classifier.weight",),
    )
