"""Predictions as rows of a table, which stays narrow where there are many properties."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sne.cli.tables import cell

if TYPE_CHECKING:
    from sne.predictors import Prediction

MOST_IN_FULL = 3
"""Largest number of properties that have all their columns side by side."""

OUTSIDE = "outside the known domain"


def prediction_rows(
    found: Sequence[tuple[str, Sequence["Prediction"]]],
    warnings: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Returns the rows of a table.

    Args:
        found: Path and predictions of each checkpoint.
        warnings: Reasons to doubt what is said, by path.

    Returns:
        One row per checkpoint, with all columns of up to `MOST_IN_FULL` properties; with more, the interval of the
        first one alone. A single checkpoint with more properties has one row per property.
    """
    if len(found) == 1 and len(found[0][1]) > MOST_IN_FULL:
        path, predictions = found[0]
        remark = _remark(path, predictions, warnings)
        names = short_names([prediction.property for prediction in predictions])
        rows = [_row_of_property(name, prediction) for name, prediction in zip(names, predictions, strict=True)]
        rows[0] |= {"file": path}
        return [row | {"remark": remark if row is rows[0] else ""} for row in rows] if remark else rows
    rows = []
    for path, predictions in found:
        remark = _remark(path, predictions, warnings)
        rows.append(_row(path, predictions) | ({"remark": remark} if remark else {}))
    return rows


def short_names(properties: Sequence[str]) -> list[str]:
    """Returns the names of properties in a table: without "config.", where two do not become the same.

    Example:
        >>> short_names(["test_accuracy", "config.optimizer", "step", "config.step"])
        ['test_accuracy', 'optimizer', 'step', 'config.step']
    """
    short = [name.removeprefix("config.") for name in properties]
    return [given if short.count(given) == 1 else name for name, given in zip(properties, short, strict=True)]


def prediction_as_json(prediction: "Prediction") -> dict[str, Any]:
    """Returns a prediction as the fields of a JSON line, without the name of the file."""
    values: dict[str, Any] = {"property": prediction.property, "value": prediction.value}
    if prediction.num_read is not None:
        values |= {"weights_read": prediction.num_read, "weights": prediction.num_weights}
        values |= {"difference_of_halves": prediction.difference_of_halves}
    if prediction.p_value is not None:
        values |= {"in_domain": prediction.in_domain, "p_value": prediction.p_value}
    if prediction.probabilities is not None:
        return {**values, "probabilities": dict(prediction.probabilities)}
    return {**values, "low": prediction.low, "high": prediction.high}


def _row(path: str, predictions: Sequence["Prediction"]) -> dict[str, Any]:
    in_full = len(predictions) <= MOST_IN_FULL
    row: dict[str, Any] = {"file": path}
    classes = sum(prediction.probabilities is not None for prediction in predictions)
    names = short_names([prediction.property for prediction in predictions])
    for number, (name, prediction) in enumerate(zip(names, predictions, strict=True)):
        row[name] = prediction.value if prediction.in_domain is not False else _guess(prediction.value)
        if prediction.probabilities is not None:
            probability = max(prediction.probabilities.values())
            if in_full:
                row["probability" if classes == 1 else f"{name} probability"] = probability
            elif probability < 0.5:
                row[name] = f"{row[name]} ?"
        elif prediction.low is not None and (in_full or number == 0):
            row[f"{name} 90%"] = _interval(prediction)
    return row


def _remark(path: str, predictions: Sequence["Prediction"], warnings: Mapping[str, Sequence[str]]) -> str:
    """Returns why not to rely on the predictions, in a few words; empty if there is no reason."""
    if predictions[0].in_domain is False:
        return OUTSIDE
    from sne.health import LOOKS_UNTRAINED

    is_named = any(reason.endswith(LOOKS_UNTRAINED) for reason in warnings.get(path, ()))
    return f"the last layer {LOOKS_UNTRAINED}" if is_named else ""


def _row_of_property(name: str, prediction: "Prediction") -> dict[str, Any]:
    value = prediction.value
    shown = value if isinstance(value, str) else cell(value)
    row = {"file": "", "property": name}
    row |= {"value": shown if prediction.in_domain is not False else _guess(value)}
    row |= {"90%": "" if prediction.low is None else _interval(prediction)}
    chances = prediction.probabilities
    return row | {"probability": "" if chances is None else f"{max(chances.values()):.2f}"}


def _interval(prediction: "Prediction") -> str:
    return f"{cell(prediction.low)} - {cell(prediction.high)}"


def _guess(value: float | str) -> str:
    return f"({value if isinstance(value, str) else cell(value)})"
