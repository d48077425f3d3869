"""Train on networks of one architecture, rank networks of another, in both directions."""

from sne.lab.studies.declared.parts import IMAGES, compared, design, image_zoo, names_of
from sne.lab.studies.study import SCALES, Design, HeldOut, Study, StudyTask

PAIR = ("small_cnn", "cnn_s")


def _design(scale: str) -> Design:
    chosen = IMAGES["ci"][:1] if scale == "ci" else ("mnist", "cifar10_gs", "svhn_crops_gs")
    zoos = {(family, images): image_zoo(scale, family, images) for images in chosen for family in PAIR}
    tasks = tuple(
        StudyTask(
            f"{family}, {images}",
            names_of([zoos[family, images]]),
            tuple(
                HeldOut(other, names_of([zoos[other, images]]), f"{family} to {other}", piece="all")
                for other in PAIR
                if other != family
            ),
        )
        for images in chosen
        for family in PAIR
    )
    return design(
        scale,
        zoos=tuple(zoos.values()),
        tasks=tasks,
        methods=compared(scale, is_pooled=True),
        estimate={"ci": "1 min", "cpu": "80 min", "gpu": "1 day"}[scale],
    )


CROSS_ARCHITECTURE = Study(
    name="cross-architecture",
    title="Accuracy across architectures",
    question=(
        "Does a predictor that was trained on one architecture rank networks of another? The architectures are the "
        "small CNN of Unterthiner et al. and the CNN-s of Schuerholt et al., in both directions."
    ),
    paper="tables 2 and 9",
    designs={scale: _design(scale) for scale in SCALES},
)
