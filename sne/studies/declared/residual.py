"""Train on plain networks, judge residual ones."""

from sne.studies.declared.parts import compared, design, image_zoo, names_of
from sne.studies.study import SCALES, Design, HeldOut, Study, Task

TOO_SLOW = {"ci": ("sne_paper",), "cpu": (), "gpu": ()}
"""What is not compared."""


def _design(scale: str) -> Design:
    plain = image_zoo(scale, "wild_cnn", variant="plain", changes={"skip_rate": 0.0})
    skipping = image_zoo(scale, "wild_cnn", variant="skipping", changes={"skip_rate": 1.0})
    resnets = image_zoo(scale, "residual_cnn")
    task = Task(
        "plain",
        names_of([plain]),
        (
            HeldOut("plain CNNs", names_of([plain]), "as trained on"),
            HeldOut("CNNs with skips", names_of([skipping]), "residual", piece="all"),
            HeldOut("small ResNets", names_of([resnets]), "residual", piece="all"),
        ),
    )
    return design(
        scale,
        zoos=(plain, skipping, resnets),
        tasks=(task,),
        methods=compared(scale, without=TOO_SLOW[scale], is_pooled=True),
        estimate={"ci": "2 min", "cpu": "60 min", "gpu": "1 day"}[scale],
    )


RESIDUAL = Study(
    name="residual",
    title="From plain to residual networks",
    question=(
        "Does a predictor that saw plain CNNs alone rank CNNs with connections around layers, and ResNets with batch "
        "norm?"
    ),
    designs={scale: _design(scale) for scale in SCALES},
)
