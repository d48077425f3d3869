"""One predictor for all families, and families that are left out of its training."""

from collections.abc import Mapping
from typing import Any

from sne.lab.studies.declared.parts import compared, design, image_zoo, names_of
from sne.lab.studies.study import SCALES, Design, HeldOut, Study, StudyTask, ZooNeed

FAMILIES = {
    "ci": ("mlp", "small_cnn", "cnn_s"),
    "cpu": ("mlp", "small_cnn", "cnn_s", "gru", "residual_cnn", "vit"),
    "gpu": ("mlp", "small_cnn", "cnn_s", "gru", "residual_cnn", "vit", "wild_cnn"),
}
LEFT_OUT = {"ci": ("cnn_s",), "cpu": ("cnn_s", "vit"), "gpu": FAMILIES["gpu"]}
"""Families that are left out of the training, one at a time."""

NARROW: Mapping[str, Mapping[str, Any]] = {"mlp": {"width": {"log_uniform": [8, 32], "whole": True}}}
"""At the scale cpu, perceptrons have 15,000 weights instead of 49,000, which take the graph network 150 ms each."""

TOO_SLOW = "too slow at this scale"
NOT_COMPARED: Mapping[str, Mapping[str, str]] = {
    "ci": {"sne_paper": TOO_SLOW},
    "cpu": dict.fromkeys(("sne_paper", "sne_canonical", "graph_transformer", "hyper_rep"), TOO_SLOW),
    "gpu": {},
}


def _zoo(scale: str, family: str) -> ZooNeed:
    if scale != "cpu":
        return image_zoo(scale, family)
    if family in NARROW:
        return image_zoo(scale, family, variant="narrow", changes=NARROW[family], networks=40)
    return image_zoo(scale, family, networks=40)


def _design(scale: str) -> Design:
    zoos = {family: _zoo(scale, family) for family in FAMILIES[scale]}
    everything = StudyTask(
        "all families",
        names_of(list(zoos.values())),
        tuple(HeldOut(family, names_of([zoo]), "family seen") for family, zoo in zoos.items()),
    )
    others = tuple(
        StudyTask(
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
        estimate={"ci": "2 min", "cpu": "90 min", "gpu": "1 day"}[scale],
    )


MIXED = Study(
    name="mixed",
    title="One predictor for all families",
    question=(
        "How well does one predictor rank networks of each family that it was trained on, and of a family that it was "
        "not trained on?"
    ),
    designs={scale: _design(scale) for scale in SCALES},
)
