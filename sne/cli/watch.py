"""`sne watch`: predictions of checkpoints as they appear in folders."""

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sne.cli.files import Doubts, Failures, load_predictor
from sne.cli.options import AllowNonfinite, Budget, Device, Memory, PredictorFolder, Select, told
from sne.cli.prediction_rows import OUTSIDE, prediction_as_json, prediction_rows, short_names
from sne.cli.tables import cell, say, warn

if TYPE_CHECKING:
    from sne.health import HealthReport
    from sne.predictors import Change, FolderWatch, Prediction, Predictor

MOST_LOOKS = 10
"""Number of looks after which --once gives up waiting for files that are still being written."""


def watch(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="FOLDER", show_default=False, help="Folders to watch, with all folders below them."),
    ],
    predictor: PredictorFolder = "default",
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", show_default=False, help="Property to print, can be repeated. [default: the first one]"
        ),
    ] = None,
    interval: Annotated[
        float,
        typer.Option(
            min=0.05,
            metavar="SECONDS",
            help="Time between two looks. A checkpoint is read once it has not changed between two looks.",
        ),
    ] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="End when all checkpoints that are there have been predicted.")
    ] = False,
    only_new: Annotated[
        bool, typer.Option("--only-new", help="Pass over the checkpoints that are there at the start.")
    ] = False,
    health: Annotated[bool, typer.Option(help="Check the health of each checkpoint, as sne check does.")] = True,
    device: Device = "auto",
    memory: Memory = None,
    budget: Budget = None,
    select: Select = None,
    allow_nonfinite: AllowNonfinite = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line per checkpoint, with all properties and findings.")
    ] = False,
) -> None:
    """Predict each checkpoint as it appears in a folder, until Ctrl-C.

    Prints one row per checkpoint, oldest first: those that are there, then each new one once it is complete. A
    checkpoint that is written again or renamed is printed again, with a remark. Files that cannot be read are named on
    stderr, after three attempts, and read again when they change. Rows for other programs: --json.
    """
    from sne.work.collection import kept_imports

    with kept_imports():
        import sne.checkpoints  # noqa: F401 (read with the first file)
        from sne.predictors import FolderWatch

    looking = FolderWatch(folders, only_new=only_new)
    loaded, _ = load_predictor(predictor, device, [], 0, None)
    shown = [loaded.find_property(name).name for name in target or []] or [loaded.properties[0].name]
    reader = _Reader(loaded, {
        "memory": memory, "budget": budget, "select": select, "allow_nonfinite": allow_nonfinite
    }, health)  # fmt: skip
    printer = _Printer(shown, as_json, health)
    failures, looks = Failures(), 0
    while True:
        for change in looking.look():
            reading = reader.read(change)
            if not change.is_current:
                continue  # it was written meanwhile: the next looks find it
            if reading.error is not None and reading.health is None:
                if looking.failed(change):
                    failures(change.path, reading.error)
                    warn(failures.line(change.path))
                continue
            looking.done(change)
            printer.print(change, reading)
        looks += 1
        if once and ((looks > 1 and not looking.pending) or looks > MOST_LOOKS):
            _end(looking, failures)
            return
        time.sleep(interval)


class _Reading:
    """What was read of one checkpoint.

    Args:
        predictions: One per property; empty if there are none.
        health: The report; None without a health check, and where it could not be made.
        warnings: Reasons to doubt the predictions.
        error: Why there are no predictions.
    """

    def __init__(self) -> None:
        self.predictions: list[Prediction] = []
        self.health: HealthReport | None = None
        self.warnings: list[str] = []
        self.error: Exception | None = None


class _Reader:
    """Reads checkpoints one by one: health and predictions."""

    def __init__(self, predictor: "Predictor", how: dict[str, Any], with_health: bool) -> None:
        self._predictor, self._how, self._with_health = predictor, how, with_health

    def read(self, change: "Change") -> _Reading:
        from sne.health import check

        found, doubts = _Reading(), Doubts()
        try:
            if self._with_health:
                found.health = check(change.path, select=self._how["select"])
            for block in self._predictor.predict_blocks([change.path], tell=doubts, **self._how):
                found.predictions += self._predictor.predictions(block)
        except (ValueError, OSError) as error:
            found.error = error
        found.warnings = [reason for reasons in doubts.values() for reason in reasons]
        return found


class _Printer:
    """Prints one row per checkpoint: a line of a table whose columns grow, or JSON."""

    def __init__(self, shown: list[str], as_json: bool, with_health: bool) -> None:
        self._shown, self._as_json, self._with_health = shown, as_json, with_health
        self._widths: dict[str, int] = {}

    def print(self, change: "Change", reading: _Reading) -> None:
        now = datetime.now().astimezone()
        if self._as_json:
            print(json.dumps({"time": now.isoformat(timespec="seconds"), **_as_json(change, reading)}), flush=True)
            return
        row = {"time": now.strftime("%H:%M:%S"), **self._row(change, reading)}
        is_first = not self._widths
        for name, value in row.items():
            self._widths[name] = max(self._widths.get(name, len(name)), len(value))
        if is_first:
            self._line({name: name for name in row})
        self._line(row)

    def _row(self, change: "Change", reading: _Reading) -> dict[str, str]:
        """Returns the cells of a row; the same columns for every checkpoint."""
        row = {"file": cell(change.path)}
        by_name = {prediction.property: prediction for prediction in reading.predictions}
        chosen = [by_name[name] for name in self._shown if name in by_name]
        remarks = (
            [] if change.event == "new" else [f"{change.event}{f' from {change.before}' if change.before else ''}"]
        )
        if chosen:
            (cells,) = prediction_rows([(change.path, chosen)])
            remarks += [OUTSIDE] if cells.pop("remark", None) else []
            row |= {name: cell(value) for name, value in cells.items() if name != "file"}
        else:
            row |= {name: "-" for name in short_names(self._shown)}
            is_explained = reading.health is not None and reading.health.verdict == "broken"
            if reading.error is not None and not is_explained:
                remarks.append(f"no prediction: {told(reading.error)}")
        if self._with_health:
            report = reading.health
            row["health"] = "-" if report is None else report.verdict.value
            remarks += [] if report is None else [f"{one.location}: {one.message}" for one in report.findings[:1]]
        return row | {"remark": cell("; ".join([*remarks, *reading.warnings]))}

    def _line(self, row: dict[str, str]) -> None:
        cells = [row.get(name, "").ljust(width) for name, width in self._widths.items() if name != "remark"]
        say("  ".join([*cells, row["remark"]]).rstrip(), flush=True)


def _as_json(change: "Change", reading: _Reading) -> dict[str, Any]:
    line: dict[str, Any] = {"file": change.path, "event": change.event}
    line |= {"before": change.before} if change.before else {}
    line["predictions"] = [prediction_as_json(prediction) for prediction in reading.predictions]
    if reading.health is not None:
        findings = [finding.to_json() for finding in reading.health.findings]
        line["health"] = {"verdict": reading.health.verdict.value, "findings": findings}
    line |= {"warnings": reading.warnings} if reading.warnings else {}
    return line | ({} if reading.error is None else {"error": told(reading.error)})


def _end(looking: "FolderWatch", failures: Failures) -> None:
    """Ends --once: names what is still being written, and exits with status 2 if anything was not read."""
    for path in looking.pending:
        failures(path, ValueError("still being written"))
        warn(failures.line(path))
    if failures:
        raise typer.Exit(2)
