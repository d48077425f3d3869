"""Train on shallow and narrow networks, rank deep and wide ones."""

from collections.abc import Mapping
from typing import Any

from sne.lab.studies.declared.parts import compared, design, image_zoo, names_of
from sne.lab.studies.study import SCALES, Design, HeldOut, Study, StudyTask

SMALL: Mapping[str, Mapping[str, Any]] = {
    "wild_cnn": {"depth": [2, 3, 4], "widest": 16},
    "mlp": {"depth": [1, 2], "width": {"log_uniform": [16, 40], "whole": True}},
}
LARGE: Mapping[str, Mapping[str, Any]] = {
    "wild_cnn": {"depth": [6, 7, 8], "widest": 48},
    "mlp": {"depth": [3, 4], "width": {"log_uniform": [64, 128], "whole": True}, "taper": [0.75, 1.0]},
}

TOO_SLOW = "too slow at this scale"
LEFT_OUT: Mapping[str, Mapping[str, str]] = {
    "ci": {"sne_paper": TOO_SLOW},
    "cpu": dict.fromkeys(("sne_paper", "graph_transformer"), TOO_SLOW),
    "gpu": {},
}
"""Methods left out at each scale.

The first layer of a perceptron has 12,000 to 31,000 weights. Judging by times on CNNs, the paper's encoder would need
100 ms per network and epoch, and the graph transformer 300 ms."""


def _design(scale: str) -> Design:
    pairs = {
        family: tuple(
            image_zoo(scale, family, variant=variant, changes=changes[family], seed=seed)
            for seed, (variant, changes) in enumerate((("shallow", SMALL), ("deep", LARGE)))
        )
        for family in SMALL
    }
    tasks = tuple(
        StudyTask(
            family,
            names_of([small]),
            (
                HeldOut("shallow and narrow", names_of([small]), "as trained on"),
                HeldOut("deep and wide", names_of([large]), "deeper and wider", piece="all"),
            ),
        )
        for family, (small, large) in pairs.items()
    )
    return design(
        scale,
        zoos=tuple(zoo for pair in pairs.values() for zoo in pair),
        tasks=tasks,
        methods=compared(scale, without=LEFT_OUT[scale], is_pooled=True),
        left_out=LEFT_OUT[scale],
        estimate={"ci": "2 min", "cpu": "85 min", "gpu": "1 day"}[scale],
    )


DEPTH_WIDTH = Study(
    name="depth-width",
    title="From shallow and narrow to deep and wide",
    question="Does a predictor that was trained on small networks rank deeper and wider networks?",
    designs={scale: _design(scale) for scale in SCALES},
)
