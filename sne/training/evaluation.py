"""Measuring a predictor beside the baselines, on the same networks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sne.errors import TrainingError
from sne.metrics import is_missing
from sne.predictors import Predictor, Property, interval, scores
from sne.training.copies import Copies
from sne.training.invariance_error import CopiedRows, Figures, InvarianceError, Predict, decide
from sne.training.labels import target_column
from sne.training.record import is_training_zoo
from sne.zoo import Split, Zoo, has_twin


@dataclass(frozen=True)
class Evaluation:
    """How well one property of some networks is predicted.

    Args:
        property: what is predicted.
        ids: of the networks.
        measured: labels, nan or None where missing.
        predicted: of each method, by name, "sne" first: values or class names.
        half_width: of the predictor's intervals.
        failures: methods that could not be applied, with the reason.
        invariance: how far predictions move when networks are transformed; None where that was not measured.
    """

    property: Property
    ids: tuple[str, ...]
    measured: np.ndarray
    predicted: Mapping[str, np.ndarray]
    half_width: float | None
    failures: Mapping[str, str]
    invariance: InvarianceError | None = None

    def figures(self) -> dict[str, Figures]:
        """The metrics of each method."""
        return {name: self._figures(name, np.arange(len(self.ids))) for name in self.predicted}

    def figures_by(self, groups: Iterable[object]) -> dict[str, dict[str, Figures]]:
        """The metrics of each method in each group.

        Args:
            groups: the group of each network; None and nan form the group "missing".

        Returns:
            Group to method to figures, groups in order.
        """
        names = np.array(["missing" if is_missing(g) else _group_name(g) for g in groups], dtype=object)
        return {
            group: {method: self._figures(method, np.flatnonzero(names == group)) for method in self.predicted}
            for group in sorted(set(names))
        }

    def table(self) -> list[dict[str, Any]]:
        """One row a labelled network: id, measured, predicted, and the interval's ends."""
        rows = []
        for network, measured, predicted in zip(self.ids, self.measured, self.predicted["sne"], strict=True):
            if is_missing(measured):
                continue
            row: dict[str, Any] = {"id": network, "measured": measured, "predicted": predicted}
            if self.property.kind != "class":
                row["low"], row["high"] = interval(float(predicted), self.half_width, self.property.kind == "fraction")
            rows.append(row)
        return rows

    def _figures(self, method: str, rows: np.ndarray) -> Figures:
        half_width = self.half_width if method == "sne" else None
        figures = scores(self.property, self.measured[rows], self.predicted[method][rows], half_width)
        if self.invariance is None or not self.invariance.num_networks:
            return figures
        return {**figures, **self.invariance.figures(method, rows)}


def evaluate(
    predictor: Predictor,
    zoo: Zoo,
    rows: np.ndarray,
    *,
    training_zoo: Zoo | None = None,
    training_split: Split | None = None,
    batch_size: int = 64,
    invariance_kinds: Sequence[str] = ("permutation",),
    invariance_draws: int = 1,
) -> list[Evaluation]:
    """Predicts networks of a zoo and measures predictor and baselines on the same rows.

    Args:
        predictor: what is measured.
        zoo: networks and labels.
        rows: which of them.
        training_zoo: the zoo that the baselines are fitted on, with the labels the predictor had; None leaves
            the baselines out.
        training_split: its split, whose training and validation runs fit the baselines.
        batch_size: networks a forward pass.
        invariance_kinds: changes by which networks are transformed to see how far predictions move.
        invariance_draws: transformed copies of each network (of `MOST_NETWORKS` at most, among those whose symmetry
            is known); 0 leaves this out.

    Returns:
        One evaluation a property.

    Raises:
        TrainingError: no rows, or a zoo without the property, or with text for numbers or numbers for classes.
    """
    if not len(rows):
        raise TrainingError(f"{zoo.path}: no networks to evaluate in this split")
    columns = {prop.name: _labels(zoo, prop)[rows] for prop in predictor.properties}
    values, logits = predictor.values_and_logits(zoo.networks(rows), batch_size=batch_size)
    copied = CopiedRows(Copies(zoo, invariance_kinds), rows, draws=invariance_draws) if invariance_draws else None
    changes = copied.of_predictor(predictor, values, logits, batch_size=batch_size) if copied else {}
    evaluations = []
    for prop in predictor.properties:
        predicted, failures = {"sne": decide(prop, values[prop.name])}, {}
        moved = {"sne": changes[prop.name][1]} if copied else {}
        if training_zoo is not None:
            if training_split is None:
                raise TrainingError("baselines need the split that the predictor was trained with")
            beside, failures = _baselines(prop, training_zoo, training_split, zoo, rows, predictor)
            for name, (found, predict) in beside.items():
                predicted[name] = found
                if copied:
                    moved[name] = copied.of_method(prop, predict, found)
        half_width = predictor.half_widths.get(prop.name)
        ids = tuple(zoo.ids[row] for row in rows)
        error = None
        if copied:
            error = InvarianceError(copied.copies.kinds, copied.draws, changes[prop.name][0], moved)
        evaluations.append(Evaluation(prop, ids, columns[prop.name], predicted, half_width, failures, error))
    return evaluations


def rows_to_evaluate(
    predictor: Predictor, own_split: Split | None, zoo: Zoo, piece: str | None
) -> tuple[np.ndarray, str, int]:
    """Chooses the rows of a zoo on which a predictor is measured.

    Args:
        predictor: what is measured.
        own_split: the split it was trained with.
        zoo: where it is measured.
        piece: "train", "val", "test", "all"; None: "test" on the zoo it was trained on, "all" elsewhere.

    Returns:
        The rows, the piece, and how many of the rows the predictor has seen in training or validation.

    Raises:
        TrainingError: an unknown piece, or a zoo without a split, whose runs the predictor's split does not name.
    """
    recorded = predictor.record.get("zoo")
    seen_zoo = is_training_zoo(predictor, zoo) or recorded == str(Path(zoo.path).resolve())
    piece = piece or ("test" if seen_zoo else "all")
    if piece not in ("train", "val", "test", "all"):
        raise TrainingError(f"split {piece!r}, expected train, val, test or all")
    split = zoo.split or (own_split if seen_zoo or _names_all(own_split, zoo.runs) else None)
    if piece == "all":
        rows = np.arange(len(zoo))
    elif split is None:
        raise TrainingError(f"{zoo.path}: has no split.json; give --split all")
    else:
        rows = split.rows(zoo.runs, piece)
    if not seen_zoo or own_split is None:
        return rows, piece, 0
    seen = {*own_split.train, *own_split.val}
    return rows, piece, sum(zoo.runs[row] in seen for row in rows)


def _names_all(split: Split | None, runs: Sequence[str]) -> bool:
    return split is not None and set(runs) <= {*split.train, *split.val, *split.test}


def count_twins(zoo: Zoo, rows: np.ndarray, training_zoo: Zoo, split: Split) -> int:
    """How many networks are twins, on other images, of networks that were learned from.

    Args:
        zoo: where a predictor is measured.
        rows: on which networks.
        training_zoo: the zoo it was trained on.
        split: its split.

    Returns:
        The number of rows whose run had the number and the hyper-parameters, and so the first weights, of a training
        or validation run.
    """
    learned = np.concatenate([split.rows(training_zoo.runs, piece) for piece in ("train", "val")])
    return int(has_twin(zoo.table.take(rows), training_zoo.table.take(learned)).sum())


def _baselines(
    prop: Property, training_zoo: Zoo, split: Split, zoo: Zoo, rows: np.ndarray, predictor: Predictor
) -> tuple[dict[str, tuple[np.ndarray, Predict]], dict[str, str]]:
    """Predictions of the baselines that can be applied, with what predicts them, and why the others cannot."""
    from sne.baselines import BASELINES  # scikit-learn is slow to import

    runs = training_zoo.runs
    train = np.sort(np.concatenate([split.rows(runs, "train"), split.rows(runs, "val")]))
    targets = prop.encode(target_column(training_zoo, prop.name)[train])
    train, targets = train[~np.isnan(targets)], targets[~np.isnan(targets)]
    if prop.kind == "class":
        targets = targets.astype(np.int64)
    seed = int(predictor.record.get("settings", {}).get("seed", 0))
    predicted: dict[str, tuple[np.ndarray, Predict]] = {}
    failures: dict[str, str] = {}
    for name, make in BASELINES.items():
        try:
            fitted = make()
            fitted.fit(training_zoo, train, targets, target=prop.name, kind=prop.kind, seed=seed)
            predict = partial(_predict, prop, fitted)
            predicted[name] = predict(zoo, rows), predict
        except ValueError as error:
            failures[name] = str(error)
    return predicted, failures


def _predict(prop: Property, fitted: Any, zoo: Zoo, rows: np.ndarray) -> np.ndarray:
    """Values or class names."""
    values = np.asarray(fitted.predict(zoo, rows))
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
