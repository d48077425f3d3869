"""One predictor for all families, and families that it never saw."""

from collections.abc import Mapping

from sne.studies.declared.parts import compared, design, image_zoo, names_of
from sne.studies.study import SCALES, Design, HeldOut, Study, Task

FAMILIES = {
    "ci": ("mlp", "small_cnn", "cnn_s"),
    "cpu": ("mlp", "small_cnn", "cnn_s", "gru", "residual_cnn", "vit"),
    "gpu": ("mlp", "small_cnn", "cnn_s", "gru", "residual_cnn", "vit", "wild_cnn"),
}
LEFT_OUT = {"ci": ("cnn_s",), "cpu": ("cnn_s", "residual_cnn", "vit"), "gpu": FAMILIES["gpu"]}
"""Families that are left out of the training once each."""

TOO_SLOW = "too slow for this scale"
NOT_COMPARED: Mapping[str, Mapping[str, str]] = {
    "ci": {"sne_paper": TOO_SLOW},
    "cpu": dict.fromkeys(("sne_paper", "graph_transformer", "hyper_rep"), TOO_SLOW),
    "gpu": {},
}
"""A network and epoch of these families take the graph network 28 ms, the graph transformer 48 ms and the paper's
encoder, which has 50,000 weights of a perceptron to read, about 200 ms."""


def _design(scale: str) -> Design:
    zoos = {family: image_zoo(scale, family, networks=40 if scale == "cpu" else None) for family in FAMILIES[scale]}
    everything = Task(
        "all families",
        names_of(list(zoos.values())),
        tuple(HeldOut(family, names_of([zoo]), "family seen") for family, zoo in zoos.items()),
    )
    others = tuple(
        Task(
            f"without {family}",
            names_of([other for other in zoos.values() if other is not zoo]),
            (HeldOut(family, names_of([zoo]), "family never seen", piece="all"),),
        )
        for family, zoo in zoos.items()
        if family in LEFT_OUT[scale]
    )
    return design(
        scale,
        zoos=tuple(zoos.values()),
        tasks=(everything, *others),
        methods=compared(scale, without=NOT_COMPARED[scale], is_pooled=True),
        left_out=NOT_COMPARED[scale],
        estimate={"ci": "2 min", "cpu": "80 min", "gpu": "1 day"}[scale],
    )


MIXED = Study(
    name="mixed",
    title="One predictor for all families",
    question=(
        "How well does one predictor rank networks of every family that it saw, and of a family that it never saw?"
    ),
    designs={scale: _design(scale) for scale in SCALES},
)
