"""Training a predictor on a zoo."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sne.encoders import NetworkEncoder
from sne.errors import TrainingError
from sne.predictors import (
    Forest,
    Member,
    Predictor,
    Property,
    PropertyHeads,
    choose_device,
    conformal_half_width,
    scores,
)
from sne.training.folds import Fold, cut_folds
from sne.training.forests import grow, stacked_share
from sne.training.invariance import LearnedInvariance, find_copies, learned_invariance
from sne.training.invariance_error import held_out_invariance
from sne.training.labels import labels_digest, target_column
from sne.training.loop import Examples, train_member
from sne.training.presets import preset_settings
from sne.training.progress import TrainingProgress, training_progress
from sne.training.randomness import derive_seed, own_randomness
from sne.training.record import SPLIT, split_digest, symmetries_digest, training_record
from sne.training.settings import TrainingSettings
from sne.training.state import FOLDER, MemberState, StateStore
from sne.zoo import Split, Zoo

BLOCK = 64
"""Networks that are prepared, or predicted after training, at a time."""


def fit(
    zoo: Zoo,
    targets: Sequence[str],
    *,
    split: Split,
    encoder: str | Callable[[], NetworkEncoder] = "default",
    settings: TrainingSettings | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Predictor:
    """Trains a predictor on a zoo.

    The validation runs (of several members: all folds, each by the member that left it out) choose epochs
    and give `metrics["validation"]`, `metrics["invariance"]` (see `held_out_invariance`) and the intervals. Networks of
    test runs are never read.

    Args:
        zoo: networks and labels.
        targets: the properties to predict.
        split: which runs are for training, validation and test.
        encoder: a name of `sne.encoders.PRESETS`, or a function that makes a fresh encoder.
        settings: how to train; None: as the preset is trained (`sne.training.preset_settings`).
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        out: folder for the predictor, and for states between epochs while it trains; None: memory alone.
        resume: go on from the states in `out`; the result has the same bits as an uninterrupted run.
        overwrite: replace what is in `out`.
        progress: whether to draw a progress bar on stderr; None: where that is a terminal.

    Returns:
        The predictor, on the CPU.

    Raises:
        TrainingError: settings, split or `out` do not allow training, or the loss is no longer finite.
        PredictorError: labels that cannot be learned from.
        ZooError: a zoo that cannot be read.
    """
    settings = settings or preset_settings(encoder if isinstance(encoder, str) else "")
    folder = None if out is None else Path(out)
    _check_folder(folder, resume, overwrite)
    where = choose_device(device)
    folds = cut_folds(zoo.runs, zoo.families, split, members=settings.members, seed=settings.seed, groups=zoo.groups)
    rows = np.unique(np.concatenate([part for fold in folds for part in (fold.train, fold.held_out)]))
    labels = {name: target_column(zoo, name)[rows] for name in targets}
    if not labels:
        raise TrainingError("no target given, expected at least one property of the zoo")
    properties = [Property.infer(name, column) for name, column in labels.items()]
    make_member = _member_factory(encoder, properties, settings)
    with own_randomness(0, where):  # for its settings and `prepare`, which use no parameter
        reader = make_member().encoder
    fingerprint = {
        **settings.to_json(),
        "targets": list(labels),
        "encoder": [type(reader).__name__, reader.settings()],
        "split": split_digest(split),
        "zoo": labels_digest(zoo, list(labels)),
    }
    copies, invariance, symmetry_record = find_copies(zoo, rows, settings), None, {}
    if copies:
        fingerprint["symmetries"] = symmetries_digest(zoo, rows)
    store = StateStore(folder, fingerprint)
    if folder is not None:  # from here on, a kill leaves a folder that is seen to be unfinished
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    with training_progress(progress) as bars:
        prepared = _prepare(reader, zoo, rows, bars)
        if settings.trees and reader.summarize(prepared[:1]) is None:
            kind = type(reader).__name__
            raise TrainingError(f"trees is {settings.trees}, but {kind} gives no summaries for trees to read; give 0")
        if copies:
            _fit_scale(reader, prepared)
            invariance, symmetry_record = learned_invariance(copies, rows, reader, prepared, settings)
        encoded = np.stack([p.encode(labels[p.name]) for p in properties], axis=1)
        examples = Examples(prepared, torch.tensor(encoded, dtype=torch.float32), rows.tolist())
        trainer = _Trainer(make_member, examples, settings, invariance, store, where, resume, bars)
        positions = [Fold(np.searchsorted(rows, fold.train), np.searchsorted(rows, fold.held_out)) for fold in folds]
        members, states = [], []
        for number, fold in enumerate(positions):
            member, state = trainer.train(f"member-{number}", fold)
            members.append(member.cpu())
            states.append(state)
        shares: list[float] = []
        started = time.monotonic()
        if settings.trees:
            shares = _plant_forests(members, positions, examples, settings, bars)
        tree_seconds = time.monotonic() - started
        values = np.full((len(rows), sum(p.num_outputs for p in properties)), np.nan)
        for member, fold in zip(members, positions, strict=True):
            values[fold.held_out] = _values(member, examples.take(fold.held_out))
        moved = held_out_invariance(
            members, zoo, [fold.held_out for fold in folds], settings.invariance_kinds, seed=settings.seed
        )
        judged = np.concatenate([fold.held_out for fold in positions])
        if settings.refit:
            everything = Fold(np.arange(len(rows)), np.arange(0))
            member, state = trainer.train("refit", everything, stop_after=states[0].best_epoch + 1)
            members = [member.cpu()]
            states.append(state)
            if settings.trees:
                members[0].plant(_grow_forests(members[0], everything, examples, settings, "refit"), shares)
    half_widths, figures = _validate(members[0].heads, labels, values, judged)
    name = encoder if isinstance(encoder, str) else getattr(encoder, "__name__", type(encoder).__name__)
    seconds = sum(state.seconds for state in states) + tree_seconds
    predictor = Predictor(
        members,
        half_widths=half_widths,
        record=training_record(zoo, rows, list(labels), name, settings, seconds, symmetry_record),
        metrics={"validation": figures, "invariance": moved, "members": [_history(state) for state in states]},
    )
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        split.save(folder / SPLIT)
        predictor.save(folder)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    return predictor


@dataclass(frozen=True)
class _Trainer:
    """What the members of one run have in common."""

    make_member: Callable[[], Member]
    examples: Examples
    settings: TrainingSettings
    invariance: LearnedInvariance | None
    store: StateStore
    device: torch.device
    resume: bool
    bars: TrainingProgress

    def train(self, name: str, fold: Fold, stop_after: int | None = None) -> tuple[Member, MemberState]:
        state = self.store.load(name) if self.resume else None
        with own_randomness(derive_seed(self.settings.seed, name, "initial values"), self.device):
            member = self.make_member()
        learned = self.examples.take(fold.train)
        _fit_scale(member.encoder, learned.prepared)
        epochs = stop_after or self.settings.epochs

        def draw(now: MemberState) -> None:
            last = now.history[-1]
            score = f", validation {last['score']:.3f}" if "score" in last else ""
            self.bars.update(name, now.epoch, epochs, f"loss {last['loss']:.4f}{score}")

        finished = train_member(
            member.to(self.device),
            learned,
            self.examples.take(fold.held_out),
            self.settings,
            name=name,
            store=self.store,
            state=state,
            stop_after=stop_after,
            invariance=self.invariance,
            on_epoch=draw,
        )
        return member, finished


def _plant_forests(
    members: Sequence[Member],
    folds: Sequence[Fold],
    examples: Examples,
    settings: TrainingSettings,
    bars: TrainingProgress,
) -> list[float]:
    """Gives each member the forests that its own fold grows; returns the shares, which all members have alike."""
    heads, numbers = members[0].heads, range(len(members))
    grown = []
    for number, member, fold in zip(numbers, members, folds, strict=True):
        bars.update("trees", number, len(members), "members")
        grown.append(_grow_forests(member, fold, examples, settings, f"member-{number}"))
    bars.update("trees", len(members), len(members), "members")
    judged = np.concatenate([fold.held_out for fold in folds])
    targets = examples.targets.double().numpy()[judged]
    parts: list[list[np.ndarray]] = []
    for member, fold, forests in zip(members, folds, grown, strict=True):
        own = _values(member, examples.take(fold.held_out))
        member.plant(forests, [1.0] * len(forests))
        parts.append([own, _values(member, examples.take(fold.held_out))])
    of_heads, of_forests = (np.concatenate(side) for side in zip(*parts, strict=True))
    shares = [
        stacked_share(prop, targets[:, column], of_heads[:, where], of_forests[:, where])
        for column, (prop, where) in enumerate(zip(heads.properties, heads.slices, strict=True))
    ]
    for member, forests in zip(members, grown, strict=True):
        member.plant(forests, shares)
    return shares


def _grow_forests(
    member: Member, fold: Fold, examples: Examples, settings: TrainingSettings, name: str
) -> list[Forest]:
    """A forest for each property, from a fold's training networks."""
    learned = examples.take(fold.train)
    rows = member.encoder.summarize(learned.prepared)
    assert rows is not None
    targets = learned.targets.double().numpy()
    return [
        grow(
            rows.numpy(),
            targets[:, column],
            prop,
            trees=settings.trees,
            seed=derive_seed(settings.seed, name, "trees", prop.name),
        )
        for column, prop in enumerate(member.heads.properties)
    ]


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a predictor whose training is over."""
    return (folder / "config.json").is_file() and not (folder / FOLDER).is_dir()


def _check_folder(folder: Path | None, resume: bool, overwrite: bool) -> None:
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder}: is a file, expected a folder for the predictor")
    if resume and overwrite:
        raise TrainingError("resume and overwrite exclude each other")
    if overwrite:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    elif (folder / FOLDER).is_dir() and not resume:
        raise TrainingError(f"{folder}: holds an unfinished training; give --resume or --overwrite")
    elif is_finished(folder):
        raise TrainingError(f"{folder}: holds a finished predictor; give --overwrite to replace it")


def _member_factory(
    encoder: str | Callable[[], NetworkEncoder], properties: Sequence[Property], settings: TrainingSettings
) -> Callable[[], Member]:
    make_encoder = _preset(encoder) if isinstance(encoder, str) else encoder

    def make() -> Member:
        fresh = make_encoder()
        heads = PropertyHeads(
            fresh.dim,
            properties,
            hidden=settings.hidden,
            dropout=settings.dropout,
            huber_delta=settings.huber_delta,
            rank_weight=settings.rank_weight,
        )
        return Member(fresh, heads)

    return make


def _preset(name: str) -> Callable[[], NetworkEncoder]:
    from sne.encoders import PRESETS

    if name not in PRESETS:
        raise TrainingError(f"unknown preset {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def _prepare(reader: NetworkEncoder, zoo: Zoo, rows: np.ndarray, bars: TrainingProgress) -> list[Any]:
    prepared: list[Any] = []
    for start in range(0, len(rows), BLOCK):
        try:
            prepared += reader.prepare(zoo.networks(rows[start : start + BLOCK]))
        except ValueError as error:
            raise TrainingError(f"{zoo.path}: {error}") from None
        bars.update("reading", len(prepared), len(rows), "networks")
    return prepared


def _fit_scale(encoder: NetworkEncoder, prepared: Sequence[Any]) -> None:
    try:
        encoder.fit_scale(prepared)
    except ValueError as error:
        raise TrainingError(f"the encoder cannot take its scale from the training networks: {error}") from None


def _values(member: Member, examples: Examples) -> np.ndarray:
    parts = [member.values(examples.prepared[at : at + BLOCK]) for at in range(0, len(examples), BLOCK)]
    return torch.cat(parts).double().numpy()


def _validate(
    heads: PropertyHeads, labels: dict[str, np.ndarray], values: np.ndarray, judged: np.ndarray
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Interval widths and figures of each property, from rows that the judging member was not trained on."""
    half_widths: dict[str, float | None] = {}
    figures: dict[str, Any] = {}
    for prop, where in zip(heads.properties, heads.slices, strict=True):
        measured, guesses = labels[prop.name][judged], values[judged, where]
        if prop.kind == "class":
            predicted = np.array(prop.classes, dtype=object)[guesses.argmax(axis=1)]
        else:
            predicted = guesses[:, 0]
            half_widths[prop.name] = conformal_half_width(prop.encode(measured), predicted)
        figures[prop.name] = scores(prop, measured, predicted)
    return half_widths, figures


def _history(state: MemberState) -> dict[str, Any]:
    score = state.history[state.best_epoch].get("score")
    return {"best_epoch": state.best_epoch, "score": score, "history": state.history}
