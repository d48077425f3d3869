"""What changes over a run: the learning rate, and the weight of the invariance term."""

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


def invariance_weight(settings: TrainingSettings, step: int, steps: int) -> float:
    """The weight of the invariance term in one optimiser step.

    The term holds outputs together from the first step on, when they say nothing yet; at full weight that slows the
    task down.

    Args:
        settings: weight and ramp.
        step: number of the step, from 0.
        steps: steps in the whole run.

    Returns:
        A linear rise over the ramp, then the weight.
    """
    ramp = math.ceil(settings.invariance_ramp * steps)
    return settings.invariance * min(1.0, (step + 1) / (ramp + 1))
