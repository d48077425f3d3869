"""Train on plain networks, rank residual ones."""

from collections.abc import Mapping

from sne.lab.studies.declared.parts import compared, design, image_zoo, names_of
from sne.lab.studies.study import SCALES, Design, HeldOut, Study, StudyTask

TOO_SLOW = "too slow at this scale"
LEFT_OUT: Mapping[str, Mapping[str, str]] = {
    "ci": {"sne_paper": TOO_SLOW},
    "cpu": dict.fromkeys(("sne_paper", "graph_transformer"), TOO_SLOW),
    "gpu": {},
}

HAS_SKIP = ("config.skips", "1")
"""Skip connections need two layers of equal width, which a third of the networks do not have."""


def _design(scale: str) -> Design:
    plain = image_zoo(scale, "wild_cnn", variant="plain", changes={"skip_rate": 0.0})
    skipping = image_zoo(scale, "wild_cnn", variant="skipping", changes={"skip_rate": 1.0}, seed=1)
    resnets = image_zoo(scale, "residual_cnn")
    task = StudyTask(
        "plain",
        names_of([plain]),
        (
            HeldOut("plain CNNs", names_of([plain]), "as trained on"),
            HeldOut("CNNs with skips", names_of([skipping]), "residual", piece="all", where=HAS_SKIP),
            HeldOut("small ResNets", names_of([resnets]), "residual", piece="all"),
        ),
    )
    return design(
        scale,
        zoos=(plain, skipping, resnets),
        tasks=(task,),
        methods=compared(scale, without=LEFT_OUT[scale], is_pooled=True),
        left_out=LEFT_OUT[scale],
        estimate={"ci": "2 min", "cpu": "60 min", "gpu": "1 day"}[scale],
    )


RESIDUAL = Study(
    name="residual",
    title="From plain to residual networks",
    question=(
        "Does a predictor that was trained on plain CNNs rank CNNs with skip connections, and ResNets with batch norm?"
    ),
    designs={scale: _design(scale) for scale in SCALES},
)
