"""The predictor that a training run starts from: whether it fits, and what it knows about the new networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sne import metrics
from sne.encoders import NetworkEncoder
from sne.errors import TrainingError
from sne.predictors import Predictor, Property, TrainingSettings
from sne.predictors.experts import Examples, Start, without_memory
from sne.predictors.experts.start import mean_leaves
from sne.predictors.pretrained import DEFAULT, packaged_predictors

PACKAGED_START = "packaged"
"""Name of the packaged predictor as a start."""

ADAPTED = "adapted"
"""The kind of expert that starts from another predictor."""

MOST_LABELS = 1000
"""Number of labels up to which training starts from the packaged predictor unless asked otherwise."""

TOO_FEW_FOR_NEURAL = 300
"""Number of labels up to which the neural expert is not trained beside that expert: it would take most of the time
and hardly any weight."""


@dataclass(frozen=True)
class ChosenStart:
    """What a training run starts from.

    Args:
        start: The forests to start from; None for nothing.
        name: Folder of the predictor, "packaged", or why there is none.
    """

    start: Start | None
    name: str

    def record(self, properties: Sequence[Property]) -> dict[str, object]:
        """Describes the start for the record of the predictor, as plain JSON values."""
        if self.start is None:
            return {"predictor": None, "reason": self.name}
        sources = {prop.name: self.start.source(prop) for prop in properties}
        return {"predictor": self.name, "digest": self.start.digest, "sources": sources}


def choose_start(
    start: str | Path | Predictor | None,
    settings: TrainingSettings,
    preset_experts: Sequence[str],
    make_encoder: Callable[[], NetworkEncoder],
    num_labels: int,
) -> tuple[ChosenStart, TrainingSettings]:
    """Chooses what a training run starts from.

    The packaged predictor is taken if there is one, it reads networks as this run does, the experts are those of the
    preset, and there are at most `MOST_LABELS` labels; or if the expert "adapted" is asked for, whatever the number of
    labels. Any other predictor is taken if it fits.

    Args:
        start: A predictor or its folder, "packaged", or None.
        settings: How to train.
        preset_experts: Kinds of experts of the preset. If these are asked for, "adapted" is added, and with up to
            `TOO_FEW_FOR_NEURAL` networks "neural" is left out.
        make_encoder: Makes an encoder of the run.
        num_labels: Number of networks with a label to learn from.

    Returns:
        The start, and the settings with the expert that uses it.

    Raises:
        TrainingError: A predictor that was asked for does not fit, or the expert "adapted" has no start.
        PredictorError: Its folder cannot be read.
    """
    is_asked = ADAPTED in settings.experts
    uses_start = is_asked or tuple(settings.experts) == tuple(preset_experts)
    is_packaged = isinstance(start, str) and start == PACKAGED_START
    if start is None or is_packaged:
        needed = 0 if is_asked else num_labels  # who asks for the expert wants the start, too
        reason = "none was asked for" if start is None else _why_not_packaged(uses_start, needed, make_encoder)
        if reason and is_asked:
            raise TrainingError(f"the expert {ADAPTED} needs a predictor to start from: {reason}")
        if reason:
            return ChosenStart(None, reason), settings
    elif not uses_start:
        raise TrainingError(
            f"a start is used by the expert {ADAPTED}, which is not among the experts: {', '.join(settings.experts)}"
        )
    name = "a predictor in memory" if isinstance(start, Predictor) else str(start)
    if isinstance(start, Predictor):
        predictor = start
    else:
        predictor = Predictor.from_pretrained() if start is None or is_packaged else Predictor.from_pretrained(start)
    if differences := _differences(predictor.encoder, make_encoder):
        raise TrainingError(f"start {name}: it reads networks in another way than this run: {differences}")
    try:
        found = Start.of(predictor.properties, predictor.experts, predictor.digest())
    except TrainingError as error:
        raise TrainingError(f"start {name}: {error}") from None
    if is_asked:
        return ChosenStart(found, name), settings
    left_out = {"neural"} if num_labels <= TOO_FEW_FOR_NEURAL and not settings.augment else set()
    kinds = [kind for kind in settings.experts if kind not in left_out]
    return ChosenStart(found, name), replace(settings, experts=(*kinds, ADAPTED))


def start_alone(
    start: Start,
    properties: Sequence[Property],
    examples: Examples,
) -> dict[str, float]:
    """Measures how well the start ranks the networks of a run, without having learned from them.

    Args:
        start: The start.
        properties: The properties of the run.
        examples: Its networks.

    Returns:
        Kendall's tau for each property that is a number and starts from the forest of a number, whatever its sign.
    """
    found: dict[str, float] = {}
    for column, prop in enumerate(properties):
        source = start.source(prop)
        labels: Float[np.ndarray, " networks"] = examples.targets[:, column].double().numpy()
        known = np.flatnonzero(~np.isnan(labels))
        if prop.kind == "class" or source not in start.numbers or len(known) < 2:
            continue
        rows = examples.prepared.take(known).description
        assert rows is not None, "the expert reads descriptions"
        found[prop.name] = metrics.kendall_tau(labels[known], mean_leaves(start.forests[source], rows)[:, 0].numpy())
    return found


def _why_not_packaged(uses_start: bool, num_labels: int, make_encoder: Callable[[], NetworkEncoder]) -> str:
    """Returns why a run does not start from the packaged predictor; empty if it does."""
    if not uses_start:
        return "other experts were asked for"
    if not packaged_predictors():
        return "no predictor is part of this installation"
    if num_labels > MOST_LABELS:
        enough = f"{num_labels} labels, more than {MOST_LABELS}, are enough to learn from"
        return f"{enough}; the start {DEFAULT!r} uses it anyway"
    if _differences(Predictor.from_pretrained().encoder, make_encoder):
        return "the packaged predictor reads networks in another way"
    return ""


def _differences(encoder: NetworkEncoder, make_encoder: Callable[[], NetworkEncoder]) -> str:
    """Returns in what the descriptions by the encoder of a start differ from those of the run; empty if in nothing."""
    own = without_memory(make_encoder)
    if type(own) is not type(encoder):
        return f"{type(encoder).__name__}, not {type(own).__name__}"
    if own.canonical != encoder.canonical:
        return f"canonical: {encoder.canonical}, not {own.canonical}"
    if own.summary_names != encoder.summary_names:
        return f"descriptions of {len(encoder.summary_names)} numbers, not {len(own.summary_names)}, or of other ones"
    return ""
