"""Which parts of the paper's encoder matter?"""

from dataclasses import replace

from sne.lab.studies.declared.parts import design, two_tasks
from sne.lab.studies.methods import PROTOCOL, SNE_PAPER, Method
from sne.lab.studies.study import SCALES, Design, Study

INVARIANCE = {"invariance": 10.0, "invariance_kinds": ("permutation", "scaling", "sign")}
"""Chunks contain whole rows here, so the encoder already ignores permutations; the term acts on scaling and sign."""

VARIANTS: tuple[Method, ...] = (
    replace(SNE_PAPER, name="whole", label="sne paper"),
    replace(SNE_PAPER, name="no_levels", label="without level encoding", options={"has_levels": False}),
    replace(SNE_PAPER, name="no_types", label="without type encoding", options={"has_types": False}),
    replace(SNE_PAPER, name="no_set_functions", label="means for set functions", options={"set_functions": "mean"}),
    replace(SNE_PAPER, name="flat", label="without the hierarchy", options={"is_hierarchical": False}),
    replace(SNE_PAPER, name="invariance", label="with the invariance term", training={**PROTOCOL, **INVARIANCE}),
)


def _design(scale: str) -> Design:
    return design(
        scale,
        **two_tasks(scale),
        methods=VARIANTS,
        estimate={"ci": "1 min", "cpu": "35 min", "gpu": "4 h"}[scale],
    )


ABLATION = Study(
    name="ablation",
    title="Parts of the paper's encoder",
    question=(
        "What do level encoding, type encoding, set functions, the hierarchy and the logit-invariance term each add to "
        "the paper's encoder?"
    ),
    paper="table 6",
    designs={scale: _design(scale) for scale in SCALES},
)
