"""How many training networks does a method need?"""

from sne.lab.studies.declared.parts import design, sine_zoo
from sne.lab.studies.methods import METHODS
from sne.lab.studies.study import SCALES, Design, HeldOut, Study, StudyTask

FRACTIONS = {"ci": (0.5, 1.0), "cpu": (0.1, 0.25, 0.5, 1.0), "gpu": (0.05, 0.1, 0.25, 0.5, 1.0)}
NAMES = {
    "ci": ("sne", "deep_sets", "statistics_boosting"),
    "cpu": (
        "sne",
        "sne_paper",
        "statistics_boosting",
        "deep_sets",
        "dwsnet",
        "nfn_np",
        "nft",
        "graph_network",
        "graph_transformer",
    ),
    "gpu": tuple(METHODS),
}


def _design(scale: str) -> Design:
    zoo = sine_zoo(scale)
    tasks = tuple(
        StudyTask(
            f"{round(100 * fraction)} %",
            (zoo.name,),
            (HeldOut(f"trained on {round(100 * fraction)} %", (zoo.name,), f"{round(100 * fraction)} %"),),
            target="frequency",
            metric="mse",
            fraction=fraction,
            x=100 * fraction,
        )
        for fraction in FRACTIONS[scale]
    )
    return design(
        scale,
        zoos=(zoo,),
        tasks=tasks,
        methods=tuple(METHODS[name] for name in NAMES[scale]),
        left_out=dict.fromkeys(
            (name for name in METHODS if name not in NAMES[scale]), "the curve shows one method of each kind"
        ),
        estimate={"ci": "1 min", "cpu": "20 min", "gpu": "6 h"}[scale],
    )


DATA_EFFICIENCY = Study(
    name="data-efficiency",
    title="Error against the amount of training data",
    question="How many training networks does a method need to read the frequency of a sine wave from weights?",
    paper="figure 3",
    designs={scale: _design(scale) for scale in SCALES},
    curve="share of the training networks, %",
    has_scatter=False,
)
