"""From convolutional networks to vision transformers."""

from sne.lab.studies.declared.parts import IMAGES, compared, design, image_zoo, names_of
from sne.lab.studies.study import SCALES, Design, HeldOut, Study, StudyTask

CHOSEN = {
    "ci": IMAGES["ci"][:1],
    "cpu": ("mnist", "cifar10_gs"),
    "gpu": ("mnist", "cifar10_gs", "svhn_crops_gs"),
}


def _design(scale: str) -> Design:
    chosen = CHOSEN[scale]
    pairs = {images: (image_zoo(scale, "small_cnn", images), image_zoo(scale, "vit", images)) for images in chosen}
    tasks = tuple(
        StudyTask(images, names_of([cnn]), (HeldOut("vit", names_of([vit]), piece="all"),))
        for images, (cnn, vit) in pairs.items()
    )
    return design(
        scale,
        zoos=tuple(zoo for pair in pairs.values() for zoo in pair),
        tasks=tasks,
        methods=compared(scale, is_pooled=True),
        estimate={"ci": "1 min", "cpu": "45 min", "gpu": "1 day"}[scale],
    )


CNN_TO_TRANSFORMER = Study(
    name="cnn-to-transformer",
    title="From convolutional networks to transformers",
    question="Does a predictor that was trained on small CNNs only rank vision transformers of the same data set?",
    paper="table 4",
    designs={scale: _design(scale) for scale in SCALES},
)
