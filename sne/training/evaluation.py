"""Measuring a predictor next to the baselines, on the same networks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sne.errors import Remedy, TrainingError, ZooError, counted
from sne.metrics import is_missing
from sne.predictors import Predictor, Property, decide, scores
from sne.predictors.figures import Figures
from sne.training.copies import Copies
from sne.training.invariance_error import CopiedRows, InvarianceError, Predict
from sne.training.plan import target_column
from sne.training.record import is_training_zoo
from sne.zoo import Split, Zoo, has_twin


@dataclass(frozen=True)
class PropertyEvaluation:
    """How well one property of some networks is predicted.

    Args:
        property: The property.
        ids: Ids of the networks.
        measured: Labels; nan or None where missing.
        predicted: Values or class names by name of the method, "sne" first.
        ends: Low and high ends of the predictor's intervals, nan where it gives none; None for classes.
        failures: Methods that could not be applied, with the reason.
        invariance: How far predictions move when networks are transformed; None where that was not measured.
    """

    property: Property
    ids: tuple[str, ...]
    measured: np.ndarray
    predicted: Mapping[str, np.ndarray]
    ends: tuple[np.ndarray, np.ndarray] | None
    failures: Mapping[str, str]
    invariance: InvarianceError | None = None

    def figures(self) -> dict[str, Figures]:
        """Computes the metrics of each method."""
        return {name: self._figures(name, np.arange(len(self.ids))) for name in self.predicted}

    def figures_by(self, groups: Iterable[object]) -> dict[str, dict[str, Figures]]:
        """Computes the metrics of each method in each group.

        Args:
            groups: Group of each network; None and nan form the group "missing".

        Returns:
            Figures by group and method, groups in order.
        """
        names = np.array(["missing" if is_missing(g) else _group_name(g) for g in groups], dtype=object)
        return {
            group: {method: self._figures(method, np.flatnonzero(names == group)) for method in self.predicted}
            for group in sorted(set(names))
        }

    def table(self) -> list[dict[str, Any]]:
        """Returns one row per labelled network: id, measured, predicted, and the ends of the interval."""
        rows = []
        nothing = np.full(len(self.ids), np.nan)
        columns = (self.ids, self.measured, self.predicted["sne"], *(self.ends or (nothing, nothing)))
        for network, measured, predicted, *ends in zip(*columns, strict=True):
            if is_missing(measured):
                continue
            row: dict[str, Any] = {"id": network, "measured": measured, "predicted": predicted}
            if self.property.kind != "class":
                row["low"], row["high"] = (None if np.isnan(end) else float(end) for end in ends)
            rows.append(row)
        return rows

    def _figures(self, method: str, rows: np.ndarray) -> Figures:
        ends = None
        if method == "sne" and self.ends is not None:
            ends = self.ends[0][rows], self.ends[1][rows]
        figures = scores(self.property, self.measured[rows], self.predicted[method][rows], ends)
        if self.invariance is None or not self.invariance.num_networks:
            return figures
        return {**figures, **self.invariance.figures(method, rows)}


@dataclass(frozen=True)
class Evaluation:
    """How well a predictor predicts some networks of a zoo.

    Args:
        properties: One evaluation per property.
        rows: Rows of the zoo that were evaluated.
        split: Which part of the split they are: "train", "val", "test" or "all".
        num_seen: Number of these networks that the predictor was trained or validated on.
        num_twins: Number of these networks that are twins of training networks (same number and hyper-parameters,
            other images); None where the training zoo was not found.
        warnings: What a reader of the figures should know, one line each.
    """

    properties: Sequence[PropertyEvaluation]
    rows: np.ndarray
    split: str
    num_seen: int
    num_twins: int | None
    warnings: Sequence[str]


def evaluate(
    predictor: Predictor | str | Path,
    zoo: Zoo | str | Path,
    *,
    split: str | None = None,
    baselines: bool = True,
    invariance_kinds: Sequence[str] | None = None,
    invariance_draws: int = 1,
    batch_size: int = 64,
) -> Evaluation:
    """Measures a predictor on a zoo, next to baselines that are fitted on the predictor's training zoo.

    Args:
        predictor: The predictor, its folder, or the name of a packaged one.
        zoo: The zoo, or its folder.
        split: "train", "val", "test" or "all"; None: "test" on the zoo that the predictor was trained on, otherwise
            "all".
        baselines: Whether to measure the baselines too.
        invariance_kinds: Kinds of weight changes for the invariance error; None: those of the training.
        invariance_draws: Number of transformed copies per network for the invariance error; 0 leaves it out.
        batch_size: Number of networks per forward pass.

    Returns:
        The evaluation.

    Raises:
        TrainingError: The zoo has no such split, no networks in it, or none of the properties.
        SneError: Predictor or zoo cannot be read.
    """
    predictor = predictor if isinstance(predictor, Predictor) else Predictor.from_pretrained(predictor)
    zoo = zoo if isinstance(zoo, Zoo) else Zoo.open(zoo)
    rows, piece, num_seen = rows_to_evaluate(predictor, zoo, split)
    warnings: list[str] = []
    if num_seen:
        warnings.append(
            f"{num_seen} of {len(rows)} networks were used in training or validation, so these figures are not held out"
        )
    source = _training_zoo(predictor, zoo, warnings) if baselines else None
    twins = None if source is None else count_twins(predictor, zoo, rows, source)
    if twins:
        warnings.append(
            f"{twins} of {len(rows)} networks are twins of training networks: same index and hyper-parameters, other "
            f"images{'; the split test contains none of them' if piece == 'all' else ''}"
        )
    properties, reasons = _measurable(predictor, zoo)
    warnings += reasons
    kinds = invariance_kinds or predictor.record.get("settings", {}).get("invariance_kinds", ["permutation"])
    evaluations = evaluate_rows(
        predictor,
        zoo,
        rows,
        properties=properties,
        training_zoo=source,
        invariance_kinds=kinds,
        invariance_draws=invariance_draws,
        batch_size=batch_size,
    )
    for one in evaluations:
        num = sum(not is_missing(label) for label in one.measured)
        if num < 2:
            warnings.append(
                f"{one.property.name}: {num or 'none'} of {counted(len(rows), 'network')} has a measured value; "
                "figures need 2 or more"
            )
        if constant := _constant_baselines(one):
            verb = "predict" if len(constant) > 1 else "predicts"
            warnings.append(
                f"{one.property.name}: {' and '.join(constant)} {verb} one value for all networks, as mean does, "
                "as after training on too few networks or on columns that do not vary"
            )
        for method, reason in one.failures.items():
            warnings.append(f"{one.property.name}: baseline {method} cannot be applied: {reason}")
    return Evaluation(evaluations, rows, piece, num_seen, twins, warnings)


def _constant_baselines(found: PropertyEvaluation) -> list[str]:
    """Returns the baselines other than `mean` that predict one value although the measured values differ."""
    if len(set(found.measured.tolist())) < 2:
        return []
    names = [name for name in found.predicted if name not in ("sne", "mean")]
    return [name for name in names if len(set(found.predicted[name].tolist())) == 1]


def evaluate_rows(
    predictor: Predictor,
    zoo: Zoo,
    rows: np.ndarray,
    *,
    properties: Sequence[Property] | None = None,
    training_zoo: Zoo | None = None,
    invariance_kinds: Sequence[str] = ("permutation",),
    invariance_draws: int = 1,
    batch_size: int = 64,
) -> list[PropertyEvaluation]:
    """Predicts some networks of a zoo and measures predictor and baselines on them.

    Args:
        predictor: The predictor.
        zoo: Networks and labels.
        rows: Rows of the networks.
        properties: Properties to measure; None for all that the predictor predicts.
        training_zoo: The zoo on which baselines are fitted, on the training and validation runs of the predictor's
            split; None leaves them out.
        invariance_kinds: Kinds of weight changes by which networks are transformed.
        invariance_draws: Number of transformed copies per network (of `MOST_NETWORKS` at most, among those whose
            symmetry is known); 0 leaves this out.
        batch_size: Number of networks per forward pass.

    Returns:
        One evaluation per property.

    Raises:
        TrainingError: There are no rows, the zoo lacks a property, or its column holds text for numbers or numbers
            for classes.
    """
    if not len(rows):
        raise TrainingError(f"{zoo.path}: no networks to evaluate in this split")
    properties = predictor.properties if properties is None else properties
    labels = {prop.name: _labels(zoo, prop)[rows] for prop in properties}
    found = predictor.arrays(zoo.networks(rows), batch_size=batch_size)
    copied = CopiedRows(Copies(zoo, invariance_kinds), rows, draws=invariance_draws) if invariance_draws else None
    changes = copied.of_predictor(predictor, found.values, found.logits, batch_size=batch_size) if copied else {}
    evaluations = []
    for prop in properties:
        predicted, failures = {"sne": decide(prop, found.values[prop.name])}, {}
        moved = {"sne": changes[prop.name][1]} if copied else {}
        if training_zoo is not None:
            beside, failures = _baselines(prop, training_zoo, predictor, zoo, rows)
            for name, (values, predict) in beside.items():
                predicted[name] = values
                if copied:
                    moved[name] = copied.of_method(prop, predict, predicted[name])
        invariance = None
        if copied:
            invariance = InvarianceError(copied.copies.kinds, copied.draws, changes[prop.name][0], moved)
        evaluations.append(
            PropertyEvaluation(
                prop,
                tuple(zoo.ids[row] for row in rows),
                labels[prop.name],
                predicted,
                found.ends.get(prop.name),
                failures,
                invariance,
            )
        )
    return evaluations


def _measurable(predictor: Predictor, zoo: Zoo) -> tuple[list[Property], list[str]]:
    """Returns the properties whose labels the zoo has, and why others are not measured.

    Raises:
        TrainingError: There is no such property.
    """
    found, errors = [], []
    for prop in predictor.properties:
        try:
            _labels(zoo, prop)
        except TrainingError as error:
            errors.append((prop.name, error))
        else:
            found.append(prop)
    if not found:
        raise errors[0][1]
    return found, [f"{name} is not measured: {error}" for name, error in errors]


def rows_to_evaluate(predictor: Predictor, zoo: Zoo, piece: str | None) -> tuple[np.ndarray, str, int]:
    """Chooses the rows of a zoo on which a predictor is measured.

    Args:
        predictor: The predictor.
        zoo: The zoo.
        piece: "train", "val", "test" or "all"; None: "test" on the zoo it was trained on, otherwise "all".

    Returns:
        The rows, the piece, and the number of rows that the predictor has seen in training or validation.

    Raises:
        TrainingError: The piece is unknown, or the zoo has no split and the predictor's split does not name its runs.
    """
    own_split, recorded = predictor.split, predictor.record.get("zoo")
    has_seen_zoo = is_training_zoo(predictor, zoo) or recorded == str(Path(zoo.path).resolve())
    piece = piece or ("test" if has_seen_zoo else "all")
    if piece not in ("train", "val", "test", "all"):
        raise TrainingError(f"split {piece!r}, expected train, val, test or all")
    split = zoo.split or (own_split if has_seen_zoo or _names_all(own_split, zoo.runs) else None)
    if piece == "all":
        rows = np.arange(len(zoo))
    elif split is None:
        raise TrainingError(f"{zoo.path}: has no split.json", Remedy("split", "all", "measures all of its networks"))
    else:
        rows = split.rows(zoo.runs, piece)
    if not has_seen_zoo or own_split is None:
        return rows, piece, 0
    seen = {*own_split.train, *own_split.val}
    return rows, piece, sum(zoo.runs[row] in seen for row in rows)


def _names_all(split: Split | None, runs: Sequence[str]) -> bool:
    return split is not None and set(runs) <= {*split.train, *split.val, *split.test}


def count_twins(predictor: Predictor, zoo: Zoo, rows: np.ndarray, training_zoo: Zoo) -> int | None:
    """Counts networks that are twins, on other images, of networks that a predictor was trained on.

    Args:
        predictor: The predictor.
        zoo: The zoo on which it is measured.
        rows: Rows of the networks.
        properties: Properties to measure; None for all that the predictor predicts.
        training_zoo: The zoo it was trained on.

    Returns:
        The number of rows whose run had the number and the hyper-parameters, and so the first weights, of a training
        or validation run; None where the predictor has no split.
    """
    if predictor.split is None:
        return None
    learned = _training_rows(predictor.split, training_zoo)
    return int(has_twin(zoo.table.take(rows), training_zoo.table.take(learned)).sum())


def _training_rows(split: Split, zoo: Zoo) -> np.ndarray:
    return np.sort(np.concatenate([split.rows(zoo.runs, piece) for piece in ("train", "val")]))


def _training_zoo(predictor: Predictor, zoo: Zoo, warnings: list[str]) -> Zoo | None:
    """Finds the zoo that the predictor was trained on; a warning says why it was not found."""
    if predictor.split is None:
        warnings.append("no baselines: the predictor has no split.json")
        return None
    if is_training_zoo(predictor, zoo):
        return zoo
    place = predictor.record.get("zoo", "")
    try:
        recorded = Zoo.open(place)
    except (ZooError, OSError):
        warnings.append(f"no baselines: the training zoo {place} does not exist any more")
        return None
    if is_training_zoo(predictor, recorded):
        return recorded
    warnings.append(f"no baselines: {place} is no longer the zoo that the predictor was trained on")
    return None


def _baselines(
    prop: Property, training_zoo: Zoo, predictor: Predictor, zoo: Zoo, rows: np.ndarray
) -> tuple[dict[str, tuple[np.ndarray, Predict]], dict[str, str]]:
    """Returns predictions and prediction function of the baselines that can be applied, and why the others failed."""
    from sne.baselines import BASELINES  # scikit-learn is slow to import

    if predictor.split is None:
        raise TrainingError("baselines need the split that the predictor was trained with, and it has none")
    train = _training_rows(predictor.split, training_zoo)
    targets = prop.encode(target_column(training_zoo, prop.name)[train])
    train, targets = train[~np.isnan(targets)], targets[~np.isnan(targets)]
    if prop.kind == "class":
        targets = targets.astype(np.int64)
    seed = int(predictor.record.get("settings", {}).get("seed", 0))
    predicted: dict[str, tuple[np.ndarray, Predict]] = {}
    failures: dict[str, str] = {}
    for name, make in BASELINES.items():
        try:
            baseline = make()
            baseline.fit(training_zoo, train, targets, target=prop.name, kind=prop.kind, seed=seed)
            predict = partial(_predict, prop, baseline)
            predicted[name] = predict(zoo, rows), predict
        except ValueError as error:
            failures[name] = str(error)
    return predicted, failures


def _predict(prop: Property, baseline: Any, zoo: Zoo, rows: np.ndarray) -> np.ndarray:
    """Returns values or class names."""
    values = np.asarray(baseline.predict(zoo, rows))
    return values if prop.kind != "class" else np.array(prop.classes, dtype=object)[values.astype(np.int64)]


def _labels(zoo: Zoo, prop: Property) -> np.ndarray:
    column = target_column(zoo, prop.name)
    is_text = column.dtype == object
    if is_text != (prop.kind == "class") and not all(is_missing(label) for label in column):
        held, expected = ("text", "numbers") if is_text else ("numbers", "classes")
        raise TrainingError(f"{zoo.path}: column {prop.name!r} holds {held}, the predictor predicts {expected}")
    return column


def _group_name(group: object) -> str:
    return f"{group:g}" if isinstance(group, float) else str(group)
