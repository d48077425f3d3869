"""Families that are left out of training: what experts are worth on networks unlike those that they know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from sne.predictors import EXPERTS, Property
from sne.predictors.experts import Examples, FitContext, Fold, Prepared
from sne.predictors.experts.contract import spaced
from sne.predictors.experts.state import StateStore
from sne.predictors.figures import Figures, decide, scores
from sne.predictors.intervals import Interval, conformal_half_width
from sne.predictors.properties import num_outputs, output_slices
from sne.training.plan import Plan
from sne.training.start import ADAPTED
from sne.training.weighing import weigh

LEAST_IN_A_FAMILY = 20
"""Number of labels from which on a family is left out to see what is lost on unseen families."""

MOST_PARTS = 6
"""Largest number of parts into which families are dealt; of more families, several are left out together."""

MOST_NETWORKS = 4000
"""Largest number of networks that experts learn from here; of more, so many are taken at equal distances."""

MOST_TREES = 60
"""Largest number of trees per forest here."""


@dataclass(frozen=True)
class LeftOut:
    """What families that were left out of training say about the experts.

    Args:
        weights: Weight of each kind of expert of the plan for each property, outside the known domain; None where that
            is not known: the zoo has fewer than two families with enough labels, no expert reads descriptions, or one
            of them is "adapted", whose start may know the families.
        intervals: Intervals outside the known domain of each property that is a number; None likewise.
        figures: Figures of each kind of expert, and of "all", by family that was left out and by property.
    """

    weights: Float[np.ndarray, "kinds properties"] | None
    intervals: dict[str, Interval | None]
    figures: dict[str, dict[str, dict[str, Figures]]]


def judge_left_out(plan: Plan, examples: Examples, on_progress: Callable[[int, int, str], None]) -> LeftOut:
    """Trains the experts that read descriptions without some families, and lets them predict these.

    Neural experts take no part: to train them once per family takes too long, and on left-out families they rank worse
    than the others (docs/default-encoder.md).

    Args:
        plan: The training run.
        examples: Its networks, with descriptions.
        on_progress: Called with steps done, number of steps, and the kind of expert.
    """
    numbers = {prop.name: None for prop in plan.properties if prop.kind != "class"}
    kinds = [kind for kind in plan.kinds if EXPERTS[kind].reads_description and kind != ADAPTED]
    parts = _parts(plan, examples)
    if not kinds or examples.prepared.description is None or len(np.unique(parts[parts >= 0])) < 2:
        return LeftOut(None, {**numbers}, {})
    found = []
    for number, kind in enumerate(kinds):

        def report(done: int, of_kind: int, number: int = number, kind: str = kind) -> None:
            on_progress(number * of_kind + done, len(kinds) * of_kind, kind)

        found.append(_predict_left_out(plan, examples, kind, parts, report))
    predictions = np.stack(found)
    judged = np.flatnonzero(parts >= 0)
    predictions, parts = predictions[:, judged], parts[judged]
    targets = examples.targets.double().numpy()[judged]
    weights = weigh(plan.properties, targets, list(predictions), parts, by_part=True)
    counts = [prop.num_outputs for prop in plan.properties]
    values = (predictions * np.repeat(weights, counts, axis=1)[:, None]).sum(0)
    intervals = {
        prop.name: _interval(targets[:, column], values[:, where.start], parts)
        for column, (prop, where) in enumerate(zip(plan.properties, output_slices(plan.properties), strict=True))
        if prop.kind != "class"
    }
    figures = {"all": _figures(plan, judged, values)}
    figures |= {kind: _figures(plan, judged, own) for kind, own in zip(kinds, predictions, strict=True)}
    if ADAPTED in plan.kinds:  # its start may know the families left out, so that it cannot be judged here
        return LeftOut(None, {**numbers}, figures)
    of_all_kinds = np.zeros((len(plan.kinds), len(plan.properties)))
    of_all_kinds[[list(plan.kinds).index(kind) for kind in kinds]] = weights
    return LeftOut(of_all_kinds, intervals, figures)


def _parts(plan: Plan, examples: Examples) -> Int[np.ndarray, " networks"]:
    """Deals families with enough labels into parts; networks of other families have part -1."""
    families = np.array([plan.zoo.families[row] for row in plan.rows])
    has_label = ~examples.targets.isnan().all(1).numpy()
    names, counts = np.unique(families[has_label], return_counts=True)
    part_of = {name: n % MOST_PARTS for n, name in enumerate(names[counts >= LEAST_IN_A_FAMILY])}
    return np.array(
        [part_of.get(name, -1) if labelled else -1 for name, labelled in zip(families, has_label, strict=True)]
    )


def _predict_left_out(
    plan: Plan,
    examples: Examples,
    kind: str,
    parts: Int[np.ndarray, " networks"],
    report: Callable[[int, int], None],
) -> Float[np.ndarray, "networks outputs"]:
    """Predicts each part by an expert that has learned from the other networks; reports parts done, of all."""
    values = np.zeros((len(parts), num_outputs(plan.properties)))
    settings = replace(plan.settings, trees=min(plan.settings.trees, MOST_TREES))
    numbers = np.unique(parts[parts >= 0])
    for done, part in enumerate(numbers, start=1):
        inside, left_out = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        inside = inside[spaced(len(inside), MOST_NETWORKS)]
        expert = EXPERTS[kind].create(plan.make_encoder, _known_to(plan.properties, examples, inside), settings)
        context = FitContext(
            name=f"{kind}-without-{part}",
            seed=(plan.settings.seed, "left out", int(part)),
            device=torch.device("cpu"),
            store=StateStore(None, {}),
        )
        expert.fit(examples, Fold(inside, left_out), context)
        prepared = Prepared([None] * len(left_out), examples.take(left_out).prepared.description)
        values[left_out] = expert.predict(prepared).values.double().numpy()
        report(done, len(numbers))
    return values


def _known_to(properties: Sequence[Property], examples: Examples, inside: np.ndarray) -> list[Property]:
    """Returns the properties with the ranks that they have without the families that are left out."""
    found = []
    for column, prop in enumerate(properties):
        labels = examples.targets[inside, column].double().numpy()
        labels = labels[~np.isnan(labels)]
        known = prop.kind != "class" and len(labels)
        found.append(replace(Property.infer(prop.name, labels), kind=prop.kind) if known else prop)
    return found


def _interval(
    labels: Float[np.ndarray, " judged"], values: Float[np.ndarray, " judged"], parts: Int[np.ndarray, " judged"]
) -> Interval | None:
    """Returns intervals that hold 90% of the labels in each part, the least predictable one included."""
    found = [conformal_half_width(labels[parts == part], values[parts == part]) for part in np.unique(parts)]
    widths = [width for width in found if width is not None]
    return Interval(0.0, 0.0, max(widths)) if len(widths) > 1 else None


def _figures(
    plan: Plan, judged: np.ndarray, values: Float[np.ndarray, "judged outputs"]
) -> dict[str, dict[str, Figures]]:
    """Computes the figures of each family and property."""
    families = np.array([plan.zoo.families[row] for row in plan.rows])[judged]
    found: dict[str, dict[str, Figures]] = {family: {} for family in sorted(set(families.tolist()))}
    for prop, where in zip(plan.properties, output_slices(plan.properties), strict=True):
        own = values[:, where] if prop.kind == "class" else values[:, where.start]
        measured, decided = plan.labels[prop.name][judged], decide(prop, own)
        for family, figures in found.items():
            mine = families == family
            figures[prop.name] = scores(prop, measured[mine], decided[mine])
    return found
