"""The verdict on a checkpoint: one word for its state, and the sentences that it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch

from sne.health import HealthReport, Severity
from sne.networks import Network
from sne.predictors import Predictor
from sne.predictors.prediction import Prediction

HARDLY_ABOVE_CHANCE = 1.5
"""Accuracy, in units of that of guessing, below which nothing has been learned that is worth a mention."""

GOOD_RANK = 2 / 3
"""Share of the networks that a predictor has learned from that a good network exceeds."""

UNTRAINED = "untrained-network"
"""Code of the finding that the weights are those of an initialisation."""


class State(StrEnum):
    """What a checkpoint is at a glance."""

    BROKEN = "broken"
    """An error was found: it cannot work as it is stored."""
    UNTRAINED = "untrained"
    """The weights are those of an initialisation, or predict an accuracy that is hardly above chance."""
    DOUBTFUL = "doubtful"
    """Warnings were found."""
    MIDDLING = "middling"
    """Nothing is wrong, and the predicted value is not among the best third of those the predictor knows."""
    GOOD = "good"
    """Nothing is wrong, and the predicted value is among the best third."""
    HEALTHY = "healthy"
    """Nothing is wrong, but how good it is cannot be said: it is outside the known domain, or nothing is predicted."""


@dataclass(frozen=True)
class Judgement:
    """The verdict on a checkpoint.

    Args:
        state: Its state.
        headline: The state in a few words.
        reasons: Sentences that it rests on, the most important one first.
        share: Predicted fraction that the state rests on, from 0 to 1; None where the state does not rest on one.
    """

    state: State
    headline: str
    reasons: tuple[str, ...]
    share: float | None = None


def judge(
    health: HealthReport, network: Network, predictor: Predictor | None, predictions: Sequence[Prediction]
) -> Judgement:
    """Gives the verdict on a checkpoint.

    Health decides first. The value of the predictor's first property counts where that is a fraction, such as test
    accuracy, and the network is not outside the known domain.

    Args:
        health: The health of the network.
        network: The network.
        predictor: What has predicted its properties; None if nothing has.
        predictions: The predictions, one per property.
    """
    worst = [found for found in health.findings if found.severity is Severity.ERROR]
    if worst:
        lines = [f"{found.location}: {found.message}" for found in worst]
        return Judgement(State.BROKEN, "Broken", tuple(_shortened(lines)))
    main = _main(predictor, predictions)
    warnings = [found for found in health.findings if found.severity is Severity.WARNING]
    whole = [found.message for found in warnings if found.code == UNTRAINED]
    lines = _shortened([f"{found.location}: {found.message}" for found in warnings])
    if main is None:
        reason = _no_quality(predictor, predictions)
        if health.is_adapter:
            reason = "An adapter is no whole network: it is judged alone, without its base, and nothing is predicted."
        if whole:
            return Judgement(State.UNTRAINED, "Untrained", tuple(whole), 0.0)
        if warnings:
            return Judgement(State.DOUBTFUL, "Doubtful", (*lines, reason))
        return Judgement(State.HEALTHY, "Nothing wrong found; quality unknown", (reason,))
    prediction, rank = main
    share = float(prediction.value)
    said = f"Predicted {plain(prediction.property)}: {share:.2f}{interval(prediction)}"
    guessing = _chance(network) if "accuracy" in prediction.property else None
    if guessing is not None and share < HARDLY_ABOVE_CHANCE * guessing:
        reason = f"{said}; guessing among {round(1 / guessing):,} classes gives {guessing:.2f}."
        headline = "Untrained" if whole else "Untrained, or hardly"
        return Judgement(State.UNTRAINED, headline, (*whole, reason, *([] if whole else lines)), share)
    said += f", above {rank:.0%} of the networks that the predictor has learned from." if rank is not None else "."
    if whole and not _is_above(prediction, guessing):
        return Judgement(State.UNTRAINED, "Untrained", tuple(whole), 0.0)
    if warnings:  # also where the health says that nothing was trained, and the prediction that much was
        return Judgement(State.DOUBTFUL, "Doubtful", (*lines, said), share)
    headline = f"Nothing wrong found; predicted {plain(prediction.property)} {share:.2f}"
    state = State.GOOD if rank is not None and rank >= GOOD_RANK else State.MIDDLING
    return Judgement(state, headline, (said,), share)


def plain(name: str) -> str:
    """Returns the name of a property in words.

    Example:
        >>> plain("config.learning_rate")
        'learning rate'
    """
    return name.removeprefix("config.").replace("_", " ")


def interval(prediction: Prediction) -> str:
    """Returns the 90% interval of a prediction in words, empty if there is none."""
    if prediction.low is None or prediction.high is None:
        return ""
    return f" (90%: {prediction.low:.3g} to {prediction.high:.3g})"


def _is_above(prediction: Prediction, guessing: float | None) -> bool:
    """Whether all of the interval of an accuracy is above that of guessing."""
    return guessing is not None and prediction.low is not None and prediction.low > HARDLY_ABOVE_CHANCE * guessing


def _main(predictor: Predictor | None, predictions: Sequence[Prediction]) -> tuple[Prediction, float | None] | None:
    """Returns the prediction of the first property and its rank; None where it says nothing about quality."""
    if predictor is None or not predictions or predictions[0].in_domain is False:
        return None
    known = predictor.find_property(predictions[0].property)
    if known.kind != "fraction":
        return None
    value = torch.tensor([float(predictions[0].value)], dtype=torch.float32)
    return predictions[0], float(known.ranks(value)[0]) if known.knots else None


def _no_quality(predictor: Predictor | None, predictions: Sequence[Prediction]) -> str:
    if predictor is None or not predictions:
        return "No property was predicted."
    if predictions[0].in_domain is False:
        return "Outside the known domain of the predictor: it has learned from no network like this one."
    return f"The predictor's first property, {plain(predictions[0].property)}, is not a measure of quality."


def _chance(network: Network) -> float | None:
    """Returns the accuracy of guessing, from the number of outputs of the last layer; None if that is not known."""
    last = next((part for layer in reversed(network.layers) for part in layer.parts if part.in_axis is not None), None)
    outputs = 0 if last is None else last.arranged_shape[0]
    return 1 / outputs if 2 <= outputs <= 1000 else None


def _shortened(lines: list[str], most: int = 3) -> list[str]:
    more = [f"{len(lines) - most:,} more findings of this severity."] if len(lines) > most else []
    return lines[:most] + more
