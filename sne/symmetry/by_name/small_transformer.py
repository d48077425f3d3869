"""The transformers of the Small Transformer Zoo, for images and for texts.

Their norms have no weights, and names do not tell whether blocks have skips. All places between blocks move together,
which holds either way. Those of texts do not store the embedding that they share, so that nothing moves there.

Source: Tran et al., "Equivariant Neural Functional Networks for Transformers", arXiv 2410.04209, its zoo.
Differs: the stream moves as one; without stored positions, channels of queries and keys stay.
"""

from sne.symmetry.by_name.tables import AxisRule, Heads, Layout, On, Row, linear

_BLOCK = "encoder.{}"
_NEEDED = (
    f"{_BLOCK}.attention.queries.weight",
    f"{_BLOCK}.attention.out_projection.weight",
    f"{_BLOCK}.fc1.weight",
    "classifier.fc1.weight",
    "classifier.fc2.weight",
)


def _rows(stream: AxisRule) -> tuple[Row, ...]:
    projections = (("queries", "query"), ("keys", "key"), ("values", "value"))
    return (
        *(
            row
            for name, part in projections
            for row in linear(f"{_BLOCK}.attention.{name}", Heads("attention.{0}", (part,)), stream)
        ),
        *linear(f"{_BLOCK}.attention.out_projection", stream, Heads("attention.{0}", ("out",))),
        *linear(f"{_BLOCK}.fc1", On("hidden.{0}", 1), stream),
        *linear(f"{_BLOCK}.fc2", stream, On("hidden.{0}", -1)),
        *linear("classifier.fc1", On("hidden.classifier", 1), stream),
        *linear("classifier.fc2", "output", On("hidden.classifier", -1)),
    )


SMALL_VISION = Layout(
    name="the small vision transformer",
    rows=(
        ("embedding.conv1.weight", (On("stream"), "input", "kernel position", "kernel position")),
        ("embedding.conv1.bias", (On("stream"),)),
        ("embedding.pos_embedding", ("position", On("stream"))),
        *_rows(On("stream")),
    ),
    needed=("embedding.conv1.weight", "embedding.pos_embedding", *_NEEDED),
    readers=("classifier.fc1.weight",),
)
SMALL_TEXT = Layout(
    name="the small text transformer",
    rows=_rows("input, or what may be added to it"),
    needed=_NEEDED,
    needs_bias="embedding.pos_embedding",
)
