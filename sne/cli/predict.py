"""`sne predict`: properties of checkpoints."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sne.cli.files import Doubts, Failures, expand, load_predictor
from sne.cli.options import (
    AllowNonfinite,
    BatchSize,
    Budget,
    Device,
    Files,
    Memory,
    PredictorFolder,
    Ray,
    Select,
    Workers,
)
from sne.cli.progress import file_progress
from sne.cli.tables import format_table, say, warn

if TYPE_CHECKING:
    from sne.predictors import Prediction


def predict(
    files: Files,
    predictor: PredictorFolder,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    workers: Workers = None,
    ray: Ray = None,
    memory: Memory = None,
    budget: Budget = None,
    select: Select = None,
    allow_nonfinite: AllowNonfinite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line per file and property.")] = False,
) -> None:
    """Predict properties of checkpoints.

    Prints one row per checkpoint, highest prediction first. The column "90%" is an interval that holds the measured
    value for nine of ten networks like those of the predictor's zoo. It is wider where the trees of the predictor
    disagree, and where the zoo has few networks of such a value. Networks unlike those of the zoo stand last, as
    "outside the known domain": their values are guesses, in brackets, and their intervals are those that held for
    families left out of training, or all possible values. Files that cannot be read are named on stderr.
    """
    from sne.work.collection import kept_imports

    with kept_imports():
        import sne.checkpoints
        import sne.predictors  # noqa: F401 (both are needed below)

    sources, failures, doubts = expand(files), Failures(), Doubts()
    loaded, executor = load_predictor(predictor, device, sources, workers, ray)
    found: list[tuple[str, list[Prediction]]] = []
    num, as_stored = len(loaded.properties), 0
    with file_progress() as progress:
        for block in loaded.predict_blocks(
            sources, batch_size=batch_size, errors=failures, memory=memory, budget=budget, executor=executor,
            select=select, allow_nonfinite=allow_nonfinite, tell=doubts,
        ):  # fmt: skip
            predictions = loaded.predictions(block)
            found += [(name, predictions[row * num : (row + 1) * num]) for row, name in enumerate(block.names)]
            as_stored += block.num_as_stored
            progress(len(found) + len(failures), len(sources))
    if loaded.properties[0].kind == "class":
        found.sort(key=lambda pair: str(pair[1][0].value))
    else:
        found.sort(key=lambda pair: float(pair[1][0].value), reverse=True)
    found.sort(key=lambda pair: pair[1][0].in_domain is False)
    if as_json:
        for path, predictions in found:
            for prediction in predictions:
                print(json.dumps({"file": path, **_as_json(prediction), **doubts.as_json(path)}))
    elif found:
        say(format_table([_row(path, predictions) for path, predictions in found]))
    if as_stored:
        warn(
            f"{as_stored} of {len(found)} networks are read as they are stored, because their names and shapes do "
            "not show which neurons can be scaled or change sign. Use a predictor without -canonical for them."
        )
    doubts.report()
    failures.report(len(sources))


def _row(path: str, predictions: list["Prediction"]) -> dict[str, Any]:
    row: dict[str, Any] = {"file": path}
    for prediction in predictions:
        row[prediction.property] = prediction.value if prediction.in_domain is not False else _guess(prediction.value)
        if prediction.probabilities is not None:
            row["probability"] = max(prediction.probabilities.values())
        elif prediction.low is not None:
            row[f"{prediction.property} 90%"] = f"{prediction.low:.4f} - {prediction.high:.4f}"
    if predictions[0].in_domain is False:
        row["remark"] = "outside the known domain"
    return row


def _guess(value: float | str) -> str:
    return f"({value})" if isinstance(value, str) else f"({value:.4f})"


def _as_json(prediction: "Prediction") -> dict[str, Any]:
    values: dict[str, Any] = {"property": prediction.property, "value": prediction.value}
    if prediction.num_read is not None:
        values |= {"weights_read": prediction.num_read, "weights": prediction.num_weights}
        values |= {"difference_of_halves": prediction.difference_of_halves}
    if prediction.p_value is not None:
        values |= {"in_domain": prediction.in_domain, "p_value": prediction.p_value}
    if prediction.probabilities is not None:
        return {**values, "probabilities": dict(prediction.probabilities)}
    return {**values, "low": prediction.low, "high": prediction.high}
