"""Training a predictor on a zoo: plan, prepare, train experts out of fold, weigh, calibrate, save."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from sne.encoders import NetworkEncoder
from sne.errors import TrainingError
from sne.predictors import EXPERTS, Expert, Predictor, TrainingSettings, choose_device, scores
from sne.predictors.domain import Domain
from sne.predictors.experts import Examples, FitContext, Fold, Prepared, ProcessGroup, prepare, without_memory
from sne.predictors.experts.process_group import joined_processes
from sne.predictors.experts.state import StateStore, own_randomness
from sne.predictors.figures import Figures, decide
from sne.predictors.intervals import Interval, Ranges, calibrate, coverage_figures, cross_fitted_ends
from sne.predictors.properties import num_outputs, output_slices
from sne.training.copies import TrainingCopies, choose_copies, find_copies
from sne.training.invariance_error import held_out_invariance
from sne.training.known_domain import learn_domain
from sne.training.left_out import LeftOut, judge_left_out
from sne.training.plan import Plan, make_plan
from sne.training.progress import TrainingProgress, training_progress
from sne.training.record import (
    begin_folder,
    fingerprint,
    finish_folder,
    is_finished,
    load_finished,
    training_record,
)
from sne.training.start import ADAPTED, PACKAGED_START, start_alone
from sne.training.weighing import deal_runs, lean, weigh
from sne.zoo import Split, Zoo

BLOCK = 64
"""Number of networks that are prepared, or predicted after training, at a time."""


def fit(
    zoo: Zoo,
    targets: Sequence[str],
    *,
    split: Split | None = None,
    encoder: str | Callable[[], NetworkEncoder] = "default",
    settings: TrainingSettings | None = None,
    start: str | Path | Predictor | None = PACKAGED_START,
    device: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Predictor:
    """Trains a predictor on a zoo.

    Every kind of expert is trained once per fold, without the networks of that fold; some kinds (`is_refitted`)
    are trained once more, on all networks, for the predictor. The predictions for the networks held out choose training
    epochs and the weights of the experts, and give the validation figures (`metrics["validation"]`), the invariance
    error (`metrics["invariance"]`) and the intervals. Experts without any weight are left out of the predictor.
    Networks of test runs are never read.

    In processes that torchrun has started, each of which has to call this function with the same arguments, the neural
    expert is trained by all of them: each computes its share of every batch, and the first one writes `out`. The result
    is that of one process up to rounding, or, with dropout or noise, up to other draws.

    Args:
        zoo: Networks and labels.
        targets: Names of the properties to predict.
        split: Which runs are for training, validation and test; None: the zoo's own split, or one drawn by runs.
        encoder: A name of `sne.encoders.PRESETS`, or a function that makes a fresh encoder.
        settings: How to train; None: as the preset is trained (`sne.training.preset_settings`).
        start: A predictor, or its folder, from which the expert "adapted" starts: with few labels, what it knows about
            other networks is worth more than they are. "packaged": the packaged predictor, if there is one, it reads
            networks as this encoder does, the experts are those of the preset, and there are at most 1,000 labels, or
            if "adapted" is among experts that were asked for. None: no start.
        device: "auto" (CUDA where there is a CUDA device), "cpu" or "cuda".
        out: Folder for the predictor, and for saved states while it is trained; None: nothing is written.
        resume: Continue from the saved states in `out`; the result has the same bits as an uninterrupted run. A
            finished predictor is loaded if it was trained in the same way.
        overwrite: Replace what is in `out`.
        progress: Whether to draw progress bars on stderr; None: where stderr is a terminal.

    Returns:
        The predictor, on the CPU.

    Raises:
        TrainingError: Settings, split or `out` do not allow training, the loss is no longer finite, or the processes
            cannot train together.
        PredictorError: The labels cannot be learned from.
        ZooError: The zoo cannot be read.
    """
    plan = make_plan(zoo, targets, split=split, encoder=encoder, settings=settings, start=start)
    reader = without_memory(plan.make_encoder)
    folder = None if out is None else Path(out)
    with joined_processes(choose_device(device)) as (group, own_device):
        how = {"resume": resume, "overwrite": overwrite, "out": str(out)}
        group.check_equal({**fingerprint(plan, reader, has_copies=False), **how})
        if folder and resume and not overwrite and group.from_first(partial(is_finished, folder)):
            return load_finished(folder, plan, type(reader))
        folder = folder if group.is_first else None
        if folder:
            begin_folder(folder, resume=resume, overwrite=overwrite)
        with training_progress(progress if group.is_first else False) as bars:
            material = _prepare(plan, reader, bars)
            store = StateStore(folder, fingerprint(plan, reader, material.copies is not None))
            trained = _train_experts(plan, material, store, group, own_device, resume, bars)
            left_out = judge_left_out(plan, material.examples, bars.reporter("families left out"))
            domain = learn_domain(plan, material.reader, material.examples, bars.reporter("known domain"))
        judged = _Judged.of(plan, material.examples, trained)
        predictor = _assemble(plan, material, trained, judged, left_out, domain)
        if folder:
            finish_folder(folder, predictor)
        return predictor


@dataclass(frozen=True)
class _Material:
    """What the experts of a run are trained with.

    Args:
        reader: Reads networks for all experts; has no parameters in memory.
        examples: The networks of the plan with their labels.
        copies: Transformed copies to learn from; None for none.
        symmetry_record: What is known about copies, for the predictor's record.
    """

    reader: NetworkEncoder
    examples: Examples
    copies: TrainingCopies | None
    symmetry_record: Mapping[str, Any]


@dataclass(frozen=True)
class _Trained:
    """Experts of one kind.

    Args:
        experts: One expert per fold.
        members: Those that take part in the predictor: the same, or one that has learned from all folds.
        seconds: Time that their training took, in all sittings.
    """

    experts: Sequence[Expert]
    members: Sequence[Expert]
    seconds: float


def _prepare(plan: Plan, reader: NetworkEncoder, bars: TrainingProgress) -> _Material:
    """Reads the networks once, for all experts."""
    blocks: list[Prepared] = []
    for start in range(0, len(plan.rows), BLOCK):
        networks = plan.zoo.networks(plan.rows[start : start + BLOCK])
        try:
            blocks.append(prepare(reader, networks, with_description=plan.reads_description))
        except TrainingError:
            raise
        except ValueError as error:
            raise TrainingError(f"{plan.zoo.path}: {error}") from None
        bars.update("reading", min(start + BLOCK, len(plan.rows)), len(plan.rows), "networks")
    items = [item for block in blocks for item in block.items]
    rows = [block.description for block in blocks if block.description is not None]
    encoded = np.stack([prop.encode(plan.labels[prop.name]) for prop in plan.properties], axis=1)
    targets = torch.tensor(encoded, dtype=torch.float32)
    _, families = np.unique([plan.zoo.families[row] for row in plan.rows], return_inverse=True)
    examples = Examples(Prepared(items, torch.cat(rows) if rows else None), targets, plan.rows.tolist(), families)
    copies, record = _find_copies(plan, items)
    return _Material(reader, examples, copies, record)


def _find_copies(plan: Plan, items: Sequence[Any]) -> tuple[TrainingCopies | None, Mapping[str, Any]]:
    copies = find_copies(plan.zoo, plan.rows, plan.settings)
    if copies is None:
        return None, {}
    with own_randomness(0, torch.device("cpu")):
        encoder = plan.make_encoder()
    encoder.fit_scale(items)
    return choose_copies(copies, plan.rows, encoder, items, plan.settings)


def _train_experts(
    plan: Plan,
    material: _Material,
    store: StateStore,
    group: ProcessGroup,
    device: torch.device,
    resume: bool,
    bars: TrainingProgress,
) -> dict[str, _Trained]:
    """Trains every kind of expert once per fold, and some once more on all networks."""
    trained = {}
    for kind in plan.kinds:
        experts, seconds = [], 0.0
        folds = list(plan.folds)
        is_refitted = EXPERTS[kind].is_refitted and len(folds) > 1
        if is_refitted:
            folds.append(Fold(np.arange(len(plan.rows)), np.arange(0)))
        for number, fold in enumerate(folds):
            name = f"{kind}-{number}"
            context = FitContext(
                name=name,
                seed=(plan.settings.seed, f"member-{number}"),
                device=device,
                store=store,
                resume=resume,
                copies=material.copies,
                start=plan.start.start,
                group=group,
                on_progress=bars.reporter(name),
            )
            started = time.monotonic()
            expert = EXPERTS[kind].create(plan.make_encoder, plan.properties, plan.settings)
            expert.fit(material.examples, fold, context)
            seconds += max(time.monotonic() - started, expert.seconds)
            experts.append(expert)
        of_folds = experts[: len(plan.folds)]
        trained[kind] = _Trained(of_folds, experts[-1:] if is_refitted else of_folds, seconds)
    return trained


@dataclass(frozen=True)
class _Judged:
    """What the networks that were held out say about the experts.

    Args:
        weights: Weight of each kind of expert for each property.
        by_kind: Validation figures of each kind of expert for each property.
        figures: Validation figures of the weighted mean for each property.
        intervals: How the intervals of each property that has some are made.
        coverage: Coverage of each property that has intervals, by family and by decile of the prediction.
    """

    weights: Float[np.ndarray, "kinds properties"]
    by_kind: Mapping[str, Mapping[str, Figures]]
    figures: Mapping[str, Figures]
    intervals: Mapping[str, Interval | None]
    coverage: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, plan: Plan, examples: Examples, trained: Mapping[str, _Trained]) -> "_Judged":
        """Weighs the experts by their predictions for networks that they had not learned from."""
        out_of_fold = {kind: _out_of_fold(plan, examples, one.experts) for kind, one in trained.items()}
        for kind, found in out_of_fold.items():
            if not np.isfinite(found).all():
                raise TrainingError(
                    f"the expert {kind!r} gives predictions that are not finite: try a lower learning rate"
                )
        targets = examples.targets.double().numpy()[plan.judged]
        rows = plan.rows[plan.judged]
        runs, families = ([column[row] for row in rows] for column in (plan.zoo.runs, plan.zoo.families))
        weights = weigh(plan.properties, targets, [values for values, _, _ in out_of_fold.values()], deal_runs(runs))
        if ADAPTED in out_of_fold:
            weights = lean(list(out_of_fold), weights, targets)
        counts = [prop.num_outputs for prop in plan.properties]
        weighted = [own * np.repeat(row, counts) for own, row in zip(out_of_fold.values(), weights, strict=True)]
        mean = np.sum(weighted, axis=0)
        by_kind = {kind: _figures(plan, values) for kind, (values, _, _) in out_of_fold.items()}
        intervals, ends, coverage = {}, {}, {}
        for column, (prop, where) in enumerate(zip(plan.properties, output_slices(plan.properties), strict=True)):
            if prop.kind != "class":
                ranges, labels = Ranges(*mean[:, :, where.start]), targets[:, column]
                intervals[prop.name] = calibrate(prop, labels, ranges, runs)
                ends[prop.name] = cross_fitted_ends(prop, labels, ranges, runs)
                coverage[prop.name] = coverage_figures(labels, ranges.values, ends[prop.name], families)
        return cls(weights, by_kind, _figures(plan, mean[0], ends), intervals, coverage)


def _out_of_fold(plan: Plan, examples: Examples, experts: Sequence[Expert]) -> Float[np.ndarray, "3 judged outputs"]:
    """Predicts the networks of `plan.judged`, each by the expert that had not learned from it: values and ranges."""
    parts = [np.zeros((3, 0, num_outputs(plan.properties)))]
    for expert, fold in zip(experts, plan.folds, strict=True):
        held_out = examples.take(fold.held_out).prepared
        for start in range(0, len(held_out), BLOCK):
            block = held_out.take(range(start, min(start + BLOCK, len(held_out))))
            found = expert.predict(block)
            parts.append(torch.stack((found.values, *found.range())).double().numpy())
    return np.concatenate(parts, axis=1)


def _figures(
    plan: Plan,
    values: Float[np.ndarray, "judged outputs"],
    ends: Mapping[str, tuple[Float[np.ndarray, " judged"], Float[np.ndarray, " judged"]]] = MappingProxyType({}),
) -> dict[str, Figures]:
    found = {}
    for prop, where in zip(plan.properties, output_slices(plan.properties), strict=True):
        own = values[:, where] if prop.kind == "class" else values[:, where.start]
        measured = plan.labels[prop.name][plan.judged]
        found[prop.name] = scores(prop, measured, decide(prop, own), ends.get(prop.name))
    return found


def _assemble(
    plan: Plan,
    material: _Material,
    trained: Mapping[str, _Trained],
    judged: _Judged,
    left_out: LeftOut,
    domain: Domain | None,
) -> Predictor:
    """Makes the predictor of all experts that have a weight, with its record and figures."""
    outside = judged.weights if left_out.weights is None else left_out.weights
    by_kind = list(zip(trained.items(), judged.weights, outside, strict=True))
    members = [
        (expert, inside / len(one.members), outside / len(one.members))
        for (_, one), inside, outside in by_kind
        if inside.any() or outside.any()
        for expert in one.members
    ]
    names = [prop.name for prop in plan.properties]
    metrics = {
        "validation": judged.figures,
        "coverage": judged.coverage,
        "invariance": _held_out_invariance(plan, material, trained, judged),
        **_start_figures(plan, material),
        "experts": {
            kind: {
                "weights": dict(zip(names, inside.tolist(), strict=True)),
                "weights_outside": dict(zip(names, outside.tolist(), strict=True)),
                "validation": judged.by_kind[kind],
                "folds": [expert.history() for expert in one.experts],
            }
            for (kind, one), inside, outside in by_kind
        },
        "left_out": left_out.figures,
    }
    seconds = {kind: one.seconds for kind, one in trained.items()}
    return Predictor(
        material.reader,
        plan.properties,
        [expert for expert, _, _ in members],
        np.stack([inside for _, inside, _ in members]),
        weights_outside=np.stack([outside for _, _, outside in members]),
        intervals=judged.intervals,
        intervals_outside=left_out.intervals,
        domain=domain,
        split=plan.split,
        record=training_record(plan, seconds, material.symmetry_record),
        metrics=metrics,
    )


def _start_figures(plan: Plan, material: _Material) -> dict[str, Any]:
    start = plan.start.start
    return {} if start is None else {"start": start_alone(start, plan.properties, material.examples)}


def _held_out_invariance(
    plan: Plan, material: _Material, trained: Mapping[str, _Trained], judged: _Judged
) -> dict[str, Any]:
    """Measures how far predictions move when held-out networks are transformed, each fold by its own experts."""
    kinds = [(one, row) for one, row in zip(trained.values(), judged.weights, strict=True) if row.any()]
    rows = np.stack([row for _, row in kinds])
    of_folds = [
        Predictor(material.reader, plan.properties, [one.experts[number] for one, _ in kinds], rows)
        for number in range(len(plan.folds))
    ]
    held_out = [plan.rows[fold.held_out] for fold in plan.folds]
    return held_out_invariance(of_folds, plan.zoo, held_out, plan.settings.invariance_kinds, seed=plan.settings.seed)
