"""`sne predict`: properties of checkpoints."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from sne.cli.prediction_rows import prediction_as_json, prediction_rows
from sne.cli.progress import file_progress
from sne.cli.tables import format_table, say, warn
from sne.errors import counted

if TYPE_CHECKING:
    from sne.predictors import Prediction, Predictor
    from sne.predictors.prediction import PredictedBlock


Targets = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", show_default=False, help="Property to print, can be repeated. [default: all properties]"
    ),
]
TableOut = Annotated[
    Path | None,
    typer.Option(
        metavar="TABLE",
        show_default=False,
        help="Write a table with one row per file: .csv or .parquet. It has the columns path, NAME, NAME_low and "
        "NAME_high per number, NAME and NAME_probability per class, in_domain and p_value, weights_read and "
        "weights (with --budget), and warnings. Default: print a table.",
    ),
]


def predict(
    files: Files,
    predictor: PredictorFolder = "default",
    batch_size: BatchSize = 64,
    device: Device = "auto",
    workers: Workers = None,
    ray: Ray = None,
    memory: Memory = None,
    budget: Budget = None,
    select: Select = None,
    allow_nonfinite: AllowNonfinite = False,
    target: Targets = None,
    out: TableOut = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line per file and property, with --out as well.")
    ] = False,
) -> None:
    """Predict properties of checkpoints.

    Without --predictor, the packaged predictor is used. It knows small image classifiers, and predicts test accuracy,
    generalization gap, progress, image set (dataset), optimizer, activation and learning rate. Progress is the share of
    the test accuracy at the end of its training run that a network has reached; the names of image sets in grey that
    were in colour end in _gs.

    Prints one row per checkpoint, highest prediction first, or one row per property of a single checkpoint. The column
    "90%" is an interval that holds the measured value for nine of ten networks like those of the predictor's zoo. It is
    wider where the trees of the predictor disagree, and where the zoo has few networks of such a value. With more than
    three properties, only the first one has this column, and a class that is less probable than all others together is
    followed by a question mark; --target and --json show all values.

    Networks unlike those of the zoo stand last, as "outside the known domain": their values are guesses, in brackets,
    and their intervals are those that held for families left out of training, or all possible values. Networks whose
    last layer looks untrained, as a new head does, have a remark: they are probably worse than predicted. Files that
    cannot be read are named on stderr.
    """
    from sne.work.collection import kept_imports

    with kept_imports():
        import sne.checkpoints  # noqa: F401 (read with the first file)
        from sne.predictors import check_table_name, write_predictions
        from sne.work import check_can_write

    if out is not None:
        check_table_name(out)
        check_can_write(out)
    sources, failures, doubts = expand(files), Failures(), Doubts()
    loaded, executor = load_predictor(predictor, device, sources, workers, ray)
    names = [loaded.find_property(name).name for name in target or []]
    blocks = loaded.predict_blocks(
        sources, batch_size=batch_size, errors=failures, memory=memory, budget=budget, executor=executor,
        select=select, allow_nonfinite=allow_nonfinite, tell=doubts, looks_at_head=True,
    )  # fmt: skip
    found: list[tuple[str, list[Prediction]]] = []
    num_as_stored = 0
    with file_progress() as progress:
        for block in blocks:
            found += _predictions_by_network(loaded, block, names)
            num_as_stored += block.num_as_stored
            progress(len(found) + len(failures), len(sources))
    _put_in_order(found)
    if out is not None and found:
        write_predictions(out, [predictions for _, predictions in found], doubts)
    if as_json:
        _print_json_lines(found, doubts)
    elif found:
        _print_for_people(found, doubts, out)
    if found and not as_json and loaded.domain is None:
        warn("this predictor cannot tell networks that are unlike those it has learned from: none is marked")
    if num_as_stored:
        warn(
            f"{num_as_stored} of {len(found)} networks are read as they are stored, because their names and shapes do "
            "not show which neurons can be scaled or change sign. Use a predictor without -canonical for them."
        )
    doubts.report()
    failures.report(len(sources))


def _predictions_by_network(
    predictor: "Predictor", block: "PredictedBlock", names: list[str]
) -> Iterator[tuple[str, list["Prediction"]]]:
    """Yields each network of a block with its predictions of the properties named; of all if none is named."""
    predictions, num = predictor.predictions(block), len(predictor.properties)
    for row, network in enumerate(block.names):
        by_name = {prediction.property: prediction for prediction in predictions[row * num : (row + 1) * num]}
        yield network, [by_name[name] for name in names or by_name]


def _put_in_order(found: list[tuple[str, list["Prediction"]]]) -> None:
    """Puts networks in the order of their first property: classes by name, numbers from high to low.

    Those outside the known domain come last.
    """
    if found and isinstance(found[0][1][0].value, str):
        found.sort(key=lambda pair: str(pair[1][0].value))
    else:
        found.sort(key=lambda pair: float(pair[1][0].value), reverse=True)
    found.sort(key=lambda pair: pair[1][0].in_domain is False)


def _print_json_lines(found: list[tuple[str, list["Prediction"]]], doubts: Doubts) -> None:
    for path, predictions in found:
        for prediction in predictions:
            print(json.dumps({"file": path, **prediction_as_json(prediction), **doubts.as_json(path)}))


def _print_for_people(found: list[tuple[str, list["Prediction"]]], doubts: Doubts, out: Path | None) -> None:
    """Prints the predictions; what was written, if they are in a file."""
    if out is None:
        say(format_table(prediction_rows(found, doubts)))
    else:
        say(f"{out}: {counted(len(found), 'network')}, {counted(len(found[0][1]), 'property')} each")
