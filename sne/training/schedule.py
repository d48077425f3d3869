"""The learning rate over a run."""

import math

from sne.training.settings import TrainingSettings


def learning_rate(settings: TrainingSettings, step: int, steps: int) -> float:
    """The learning rate of one optimiser step.

    Args:
        settings: peak, warm-up and schedule.
        step: number of the step, from 0.
        steps: steps in the whole run.

    Returns:
        A linear rise over the warm-up, then the schedule.
    """
    warmup = math.ceil(settings.warmup * steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / (warmup + 1)
    if settings.schedule == "constant":
        return settings.learning_rate
    done = (step - warmup) / max(steps - warmup, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
