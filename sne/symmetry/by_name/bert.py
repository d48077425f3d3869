"""BERT and RoBERTa, named as in transformers.

The pooler and the transform before the word predictions are as wide as the stream. Their outputs move with it: older
classifiers of tokens store a pooler that they do not read, and predictions of words read with the word embeddings.
"""

from sne.symmetry.by_name.tables import Heads, Layout, On, linear, norm

_STREAM = On("stream")
_BODY = "((bert|roberta).)?"
_LAYER = _BODY + "encoder.layer.{}"

BERT = Layout(
    name="BERT",
    rows=(
        (f"{_BODY}embeddings.(word|position|token_type)_embeddings.weight", ("token", _STREAM)),
        (f"{_BODY}embeddings.(position|token_type)_ids", ("batch", "position")),
        *norm(f"({_BODY}embeddings|{_LAYER}.attention.output|{_LAYER}.output).LayerNorm", _STREAM),
        *(
            row
            for part in ("query", "key", "value")
            for row in linear(f"{_LAYER}.attention.self.{part}", Heads("attention.{0}", (part,)), _STREAM)
        ),
        *linear(f"{_LAYER}.attention.output.dense", _STREAM, Heads("attention.{0}", ("out",))),
        *linear(f"{_LAYER}.intermediate.dense", On("hidden.{0}", 1), _STREAM),
        *linear(f"{_LAYER}.output.dense", _STREAM, On("hidden.{0}", -1)),
        *linear(f"{_BODY}pooler.dense", _STREAM, _STREAM),
        *linear("(cls.predictions.transform|lm_head|classifier).dense", _STREAM, _STREAM),
        *norm("(cls.predictions.transform.LayerNorm|lm_head.layer_norm)", _STREAM),
        *linear("(cls.predictions.decoder|lm_head.decoder|cls.seq_relationship)", "output", _STREAM),
        *linear("(classifier|classifier.out_proj|qa_outputs)", "output", _STREAM),
        ("(cls.predictions|lm_head).bias", ("output",)),
    ),
    needed=(
        f"{_BODY}embeddings.word_embeddings.weight",
        f"{_BODY}embeddings.position_embeddings.weight",
        f"{_LAYER}.attention.self.query.weight",
        f"{_LAYER}.attention.output.LayerNorm.weight",
    ),
    readers=(
        "(classifier|classifier.out_proj|qa_outputs|cls.seq_relationship).weight",
        "(cls.predictions.transform|lm_head).dense.weight",
    ),
)
