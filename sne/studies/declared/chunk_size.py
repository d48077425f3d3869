"""How large the chunks of the paper's encoder should be."""

from dataclasses import replace

from sne.studies.declared.parts import design, sine_zoo
from sne.studies.methods import SNE_PAPER
from sne.studies.study import SCALES, Design, HeldOut, Study, Task

SIZES = {"ci": (8, 32), "cpu": (2, 4, 8, 16, 32), "gpu": (2, 4, 8, 16, 32)}
"""Rows of the networks have 32 weights: larger chunks would be padding."""


def _design(scale: str) -> Design:
    zoo = sine_zoo(scale)
    return design(
        scale,
        zoos=(zoo,),
        tasks=(
            Task("frequency", (zoo.name,), (HeldOut("sine waves", (zoo.name,)),), target="frequency", metric="mse"),
        ),
        methods=tuple(
            replace(
                SNE_PAPER, name=f"chunk_{size}", label=f"chunks of {size}", options={"chunk_size": size}, x=float(size)
            )
            for size in SIZES[scale]
        ),
        estimate={"ci": "1 min", "cpu": "30 min", "gpu": "4 h"}[scale],
    )


CHUNK_SIZE = Study(
    name="chunk-size",
    title="Size of chunks",
    question="How does the number of weights in a chunk change what the paper's encoder predicts, and what it costs?",
    paper="table 7",
    designs={scale: _design(scale) for scale in SCALES},
    curve="weights in a chunk",
)
