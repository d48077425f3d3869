"""What one training run is: its networks, labels, folds, encoder and settings, checked before anything is read."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sne.encoders import PRESETS, NetworkEncoder
from sne.errors import TrainingError
from sne.metrics import is_missing
from sne.predictors import EXPERTS, Predictor, Property, TrainingSettings
from sne.predictors.experts import Fold
from sne.training.start import ChosenStart, choose_start
from sne.zoo import Split, Zoo, split_by_run

PRESET_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"epochs": 25, "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.0, "patience": 10},
    "default": {
        "experts": ("neural", "forest", "kernel", "within_family"),
        "folds": 5,
        "epochs": 60,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "weight_decay": 0.05,
        "warmup": 0.15,
        "dropout": 0.2,
        "rank_weight": 0.5,
    },
}
"""How encoder presets are trained, where that differs from `TrainingSettings()`.

`paper`: the paper's optimiser is not known; Adam at 1e-3 is the field's protocol (NFN, Zhou et al., arXiv 2302.14040),
there for 50 epochs, here for 25, so that a run on the reference zoo takes about ten minutes.
`default`: chosen out of fold on the training and validation runs of the reference zoo (docs/default-encoder.md).
"""


def preset_settings(preset: str, **changes: Any) -> TrainingSettings:
    """Returns the training settings of a preset, with changes.

    Args:
        preset: A name of `sne.encoders.PRESETS`. A canonical preset is trained like its plain counterpart; a preset
            without an entry in `PRESET_SETTINGS` gets `TrainingSettings()`.
        changes: Settings that replace those of the preset. With `invariance`, and unless `experts` says otherwise,
            the neural expert stands alone: the others would not learn it, and predictions would move with them.

    Returns:
        The settings.

    Example:
        >>> preset_settings("default", epochs=5).epochs, preset_settings("default", invariance=1.0).experts
        (5, ('neural',))
    """
    settings = {**PRESET_SETTINGS.get(preset.removesuffix("-canonical"), {}), **changes}
    if settings.get("invariance") and "experts" not in changes:
        settings["experts"] = ("neural",)
    return TrainingSettings(**settings)


@dataclass(frozen=True)
class Plan:
    """One training run.

    Args:
        zoo: Networks and labels.
        split: Which runs are for training, validation and test.
        encoder: Name of the preset, or of the function that makes encoders.
        make_encoder: Makes a fresh encoder.
        settings: How to train.
        rows: Rows of the zoo that are read: those of training and validation runs, in ascending order.
        labels: Labels of these rows by name of the property.
        properties: The properties to predict.
        folds: Folds of the places in `rows`.
        start: What the run starts from.
    """

    zoo: Zoo
    split: Split
    encoder: str
    make_encoder: Callable[[], NetworkEncoder]
    settings: TrainingSettings
    rows: np.ndarray
    labels: Mapping[str, np.ndarray]
    properties: Sequence[Property]
    folds: Sequence[Fold]
    start: ChosenStart

    @property
    def kinds(self) -> Sequence[str]:
        """Kinds of experts that are trained: without those that compare families where there is only one."""
        if len({self.zoo.families[row] for row in self.rows}) > 1:
            return self.settings.experts
        kinds = [kind for kind in self.settings.experts if not EXPERTS[kind].compares_families]
        return kinds or self.settings.experts

    @property
    def reads_description(self) -> bool:
        """Whether an expert reads descriptions of networks."""
        return any(EXPERTS[kind].reads_description for kind in self.kinds)

    @property
    def judged(self) -> np.ndarray:
        """Places in `rows` of the networks that are held out by some fold."""
        return np.concatenate([fold.held_out for fold in self.folds])


def make_plan(
    zoo: Zoo,
    targets: Sequence[str],
    *,
    split: Split | None,
    encoder: str | Callable[[], NetworkEncoder],
    settings: TrainingSettings | None,
    start: str | Path | Predictor | None = None,
) -> Plan:
    """Plans a training run.

    Args:
        zoo: Networks and labels.
        targets: Names of the properties to predict.
        split: Which runs are for training, validation and test; None: the zoo's own split, or one that is drawn.
        encoder: A name of `sne.encoders.PRESETS`, or a function that makes a fresh encoder.
        settings: How to train; None: as the preset is trained.
        start: What to start from, see `fit`.

    Raises:
        TrainingError: `zoo` is not a Zoo, or `targets` is a single string; an unknown preset, expert or target, no
            target, or too few runs.
        PredictorError: The labels of a property cannot be learned from.
    """
    if not isinstance(zoo, Zoo):
        raise TrainingError(f"zoo is of type {type(zoo).__name__}, expected a Zoo, such as Zoo.open(folder)")
    if isinstance(targets, str):
        raise TrainingError(f"targets is {targets!r}, expected a list of names: [{targets!r}]")
    settings = settings or preset_settings(encoder if isinstance(encoder, str) else "")
    unknown = sorted(set(settings.experts) - EXPERTS.keys())
    if unknown:
        raise TrainingError(f"unknown expert {unknown[0]!r}, expected some of {', '.join(EXPERTS)}")
    if not targets:
        raise TrainingError("no target given, expected at least one property of the zoo")
    if isinstance(encoder, str):
        if encoder not in PRESETS:
            raise TrainingError(f"unknown preset {encoder!r}, expected one of {', '.join(PRESETS)}")
        make_encoder: Callable[[], NetworkEncoder] = PRESETS[encoder]
    else:
        make_encoder = encoder
    split = split or default_split(zoo, settings.seed)
    of_zoo = cut_folds(zoo.runs, zoo.families, split, folds=settings.folds, seed=settings.seed, groups=zoo.groups)
    rows = np.unique(np.concatenate([part for fold in of_zoo for part in (fold.train, fold.held_out)]))
    labels = {name: target_column(zoo, name)[rows] for name in targets}
    of_preset = preset_settings(encoder).experts if isinstance(encoder, str) else ()
    most_labels = max((sum(not is_missing(label) for label in column) for column in labels.values()), default=0)
    chosen, settings = choose_start(start, settings, of_preset, make_encoder, most_labels)
    return Plan(
        zoo=zoo,
        split=split,
        encoder=encoder if isinstance(encoder, str) else getattr(encoder, "__name__", type(encoder).__name__),
        make_encoder=make_encoder,
        settings=settings,
        rows=rows,
        labels=labels,
        properties=[_property(name, column) for name, column in labels.items()],
        folds=[Fold(np.searchsorted(rows, fold.train), np.searchsorted(rows, fold.held_out)) for fold in of_zoo],
        start=chosen,
    )


def _property(name: str, labels: np.ndarray) -> Property:
    """Infers a property. Raises TrainingError where all numbers are equal, since nothing could be learned or ranked."""
    prop = Property.infer(name, labels)
    if prop.kind != "class" and len(prop.knots) == 1:
        raise TrainingError(f"property {name!r} is {prop.knots[0]:g} for all networks that have it: nothing to learn")
    return prop


def default_split(zoo: Zoo, seed: int) -> Split:
    """Returns the zoo's own split, or draws one by runs if it has none."""
    return zoo.split or split_by_run(zoo.runs, seed=seed, families=zoo.families, groups=zoo.groups)


def target_column(zoo: Zoo, name: str) -> np.ndarray:
    """Returns the labels of one property or hyper-parameter, one per row.

    Raises:
        TrainingError: The zoo has no such column; the message lists those it has.
    """
    known = [*zoo.property_names, *zoo.hyperparameter_names, "family", "dataset", "step"]
    if name not in known:
        raise TrainingError(f"{zoo.path}: no column {name!r}, expected one of {', '.join(known)}")
    return zoo.column(name)


def cut_folds(
    runs: list[str],
    families: list[str],
    split: Split,
    *,
    folds: int,
    seed: int,
    groups: list[str] | None = None,
) -> list[Fold]:
    """Cuts the rows of training and validation runs into folds; whole runs and groups of twins stay together.

    With one fold, the training runs are learned from and the validation runs are held out. With several, training
    and validation runs are dealt together into that many parts, family by family, and each fold holds out one part.

    Args:
        runs: Run of each row of the zoo.
        families: Family of each row.
        split: Split of the zoo; its test runs are not touched.
        folds: Number of folds.
        seed: Random seed for the dealing.
        groups: Group of each row, as `Zoo.groups` gives them; None: each run is a group.

    Returns:
        The folds, of rows of the zoo.

    Raises:
        TrainingError: There are too few runs or groups.
    """
    train, held_out = split.rows(runs, "train"), split.rows(runs, "val")
    if folds == 1:
        if not len(train) or not len(held_out):
            raise TrainingError(
                f"the split has {len(train)} training and {len(held_out)} validation rows, both are needed"
            )
        return [Fold(train, held_out)]
    rows = np.sort(np.concatenate([train, held_out]))
    groups = groups or runs
    family_of = {groups[row]: families[row] for row in rows}
    if len(family_of) < folds:
        of_twins = "" if groups == runs else ", twins counted once"
        raise TrainingError(
            f"{folds} folds need as many runs, the training split has {len(family_of)}{of_twins}; "
            + (f"set folds to {len(family_of)} or less" if len(family_of) > 1 else "add networks of other runs")
        )
    dealer = random.Random(seed)
    fold_of: dict[str, int] = {}
    for family in sorted(set(family_of.values())):
        of_family = sorted(group for group, its_family in family_of.items() if its_family == family)
        dealer.shuffle(of_family)
        for group in of_family:  # the deal continues where the last family stopped, so that folds stay even
            fold_of[group] = len(fold_of) % folds
    dealt = np.array([fold_of[groups[row]] for row in rows])
    return [Fold(rows[dealt != k], rows[dealt == k]) for k in range(folds)]
