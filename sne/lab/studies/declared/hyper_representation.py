"""From networks of SVHN to networks of other data sets, within CNN-s and from another architecture to CNN-s."""

from sne.lab.studies.declared.parts import IMAGES, compared, design, image_zoo, names_of
from sne.lab.studies.study import SCALES, Design, HeldOut, Study, StudyTask


def _design(scale: str) -> Design:
    chosen = IMAGES["ci"] if scale == "ci" else ("svhn_crops_gs", "mnist", "cifar10_gs")
    own, other = image_zoo(scale, "cnn_s", chosen[0]), image_zoo(scale, "small_cnn", chosen[0])
    judged = {images: image_zoo(scale, "cnn_s", images) for images in chosen}
    tasks = tuple(
        StudyTask(
            zoo.families[0],
            names_of([zoo]),
            tuple(HeldOut(f"cnn_s, {images}", names_of([judged[images]]), group) for images in chosen),
        )
        for zoo, group in ((own, "from cnn_s"), (other, "from small_cnn"))
    )
    return design(
        scale,
        zoos=(*judged.values(), other),
        tasks=tasks,
        methods=compared(scale, is_pooled=True),
        estimate={"ci": "1 min", "cpu": "40 min", "gpu": "1 day"}[scale],
    )


HYPER_REPRESENTATION = Study(
    name="hyper-representation",
    title="Zoos of CNN-s: from one data set to others",
    question=(
        "How well does a predictor that was trained on networks of SVHN rank the CNN-s networks of SVHN, MNIST and "
        "CIFAR10: if it was trained on CNN-s, as hyper-representations must be, and if it was trained on another "
        "architecture only?"
    ),
    paper="table 3",
    designs={scale: _design(scale) for scale in SCALES},
)
