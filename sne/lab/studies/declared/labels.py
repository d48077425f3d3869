"""What else can be read from weights?"""

from collections.abc import Mapping

from sne.lab.studies.declared.parts import IMAGES, compared, design, image_zoo, names_of
from sne.lab.studies.study import SCALES, Design, HeldOut, Study, StudyTask

TARGETS = {
    "data set": ("dataset", "accuracy"),
    "optimiser": ("config.optimizer", "accuracy"),
    "activation": ("config.activation", "accuracy"),
    "learning rate": ("config.learning_rate", "kendall_tau"),
    "step": ("step", "kendall_tau"),
    "generalisation gap": ("generalization_gap", "kendall_tau"),
}
TELLS = {"sne_canonical": "it reads the symmetry and with it the activation function, which is one of the targets"}
TOO_SLOW = "too slow at this scale, with six targets on the networks of all data sets"
SLOW = ("sne_paper", "nfn_np", "nfn_hnp", "nft", "dwsnet", "graph_transformer", "hyper_rep", "probing", "sne_probing")
LEFT_OUT: Mapping[str, Mapping[str, str]] = {
    "ci": {"sne_paper": TOO_SLOW},
    "cpu": {**dict.fromkeys(SLOW, TOO_SLOW), **TELLS},
    "gpu": TELLS,
}


def _design(scale: str) -> Design:
    needs = [image_zoo(scale, "small_cnn", images) for images in IMAGES[scale]]
    zoos = names_of(needs)
    tasks = tuple(
        StudyTask(name, zoos, (HeldOut("small CNNs", zoos, name),), target=target, metric=metric)
        for name, (target, metric) in TARGETS.items()
    )
    return design(
        scale,
        zoos=tuple(needs),
        tasks=tasks,
        methods=compared(scale, without=LEFT_OUT[scale]),
        left_out=LEFT_OUT[scale],
        estimate={"ci": "2 min", "cpu": "85 min", "gpu": "1 day"}[scale],
    )


LABELS = Study(
    name="labels",
    title="What else can be read from weights",
    question=(
        "How well can a network's data set, optimiser, activation function, learning rate, number of training steps "
        "and generalisation gap be read from its weights?"
    ),
    designs={scale: _design(scale) for scale in SCALES},
    has_scatter=False,
)
