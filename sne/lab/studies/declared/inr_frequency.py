"""The frequency of a sine wave, read from the weights of the network that represents it."""

from sne.lab.studies.declared.parts import compared, design, sine_zoo
from sne.lab.studies.study import SCALES, Design, HeldOut, Study, StudyTask


def _design(scale: str) -> Design:
    zoo = sine_zoo(scale)
    held_out = HeldOut("sine waves", (zoo.name,))
    return design(
        scale,
        zoos=(zoo,),
        tasks=(StudyTask("frequency", (zoo.name,), (held_out,), target="frequency", metric="mse"),),
        methods=compared(scale),
        estimate={"ci": "1 min", "cpu": "15 min", "gpu": "2 h"}[scale],
    )


INR_FREQUENCY = Study(
    name="inr-frequency",
    title="Frequency of sine waves from the weights of implicit networks",
    question="Can the frequency of a sine wave be read from the weights of the small network that represents it?",
    paper="table 1",
    designs={scale: _design(scale) for scale in SCALES},
)
