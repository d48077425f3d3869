"""Train on networks of one data set, rank networks of another: all ordered pairs."""

from sne.lab.studies.declared.parts import IMAGES, compared, design, image_zoo, names_of
from sne.lab.studies.study import SCALES, Design, HeldOut, Study, StudyTask


def _design(scale: str) -> Design:
    zoos = {images: image_zoo(scale, "small_cnn", images) for images in IMAGES[scale]}
    tasks = tuple(
        StudyTask(
            images,
            names_of([zoos[images]]),
            tuple(
                HeldOut(other, names_of([zoos[other]]), "same data set" if other == images else "another data set")
                for other in IMAGES[scale]
            ),
        )
        for images in IMAGES[scale]
    )
    return design(
        scale,
        zoos=tuple(zoos.values()),
        tasks=tasks,
        methods=compared(scale),
        estimate={"ci": "1 min", "cpu": "75 min", "gpu": "1 day"}[scale],
    )


CROSS_DATASET = Study(
    name="cross-dataset",
    title="Accuracy across data sets",
    question=(
        "Does a predictor that was trained on networks of one data set rank the networks of another? All ordered pairs "
        "of data sets, with one architecture, the small CNN."
    ),
    paper="tables 5 and 8",
    designs={scale: _design(scale) for scale in SCALES},
)
