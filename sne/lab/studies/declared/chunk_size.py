"""How large should the chunks of the paper's encoder be?"""

from dataclasses import replace

from sne.lab.studies.declared.parts import design, two_tasks
from sne.lab.studies.methods import SNE_PAPER
from sne.lab.studies.study import SCALES, Design, Study

SIZES = {"ci": (8, 32), "cpu": (2, 4, 8, 16, 32), "gpu": (2, 4, 8, 16, 32)}
"""Chunk sizes by scale. Rows of the sine waves' networks have 32 weights, kernels of the small CNNs have 9."""


def _design(scale: str) -> Design:
    return design(
        scale,
        **two_tasks(scale),
        methods=tuple(
            replace(
                SNE_PAPER, name=f"chunk_{size}", label=f"chunks of {size}", options={"chunk_size": size}, x=float(size)
            )
            for size in SIZES[scale]
        ),
        estimate={"ci": "1 min", "cpu": "50 min", "gpu": "4 h"}[scale],
    )


CHUNK_SIZE = Study(
    name="chunk-size",
    title="Size of chunks",
    question="How does the number of weights per chunk change the accuracy and the cost of the paper's encoder?",
    paper="table 7",
    designs={scale: _design(scale) for scale in SCALES},
    curve="weights per chunk",
)
