"""`sne zoo`: make, import and look at zoos."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sne.cli.tables import format_table

app = typer.Typer(no_args_is_help=True, help="Make, import and look at zoos of trained networks.")


@app.command(epilog="Example: sne zoo make my_zoo --family small_cnn,mlp --networks 30")
def make(
    out: Annotated[Path, typer.Argument(help="Folder of the zoo. The same command goes on where it stopped.")],
    family: Annotated[
        list[str] | None,
        typer.Option(help="small_cnn, cnn_s, mlp, gru, residual_cnn, vit; separated by commas. [default: small_cnn]"),
    ] = None,
    images: Annotated[str, typer.Option(help="digits, or an .npz of x_train, y_train, x_test, y_test.")] = ("digits"),
    networks: Annotated[int, typer.Option(help="Training runs of each family.")] = 60,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of each run. [default: 400]")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each run, in place of steps.")] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Steps (or epochs) to keep, as 50,200,400. [default: the last, a third, a ninth]"),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes of one thread; the zoo does not depend on it.")] = 2,
    seed: Annotated[int, typer.Option(help="With a network's family and number it decides everything.")] = 0,
    image_size: Annotated[int | None, typer.Option(help="Resample images to this height and width.")] = None,
    eval_images: Annotated[int, typer.Option(help="Measure accuracy on this many images at most.")] = 2000,
    storage: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Train networks; store them with what was measured."""
    from sne import zoo

    with _disk_errors(), _progress("networks") as progress:
        made = zoo.make(
            out,
            families=[name.strip() for name in ",".join(family or ["small_cnn"]).split(",")],
            images=images,
            networks=networks,
            steps=steps,
            epochs=epochs,
            keep=None if keep is None else _whole_numbers("--keep", keep),
            workers=workers,
            seed=seed,
            image_size=image_size,
            eval_images=eval_images,
            storage=storage,
            progress=progress,
        )
    _print_summary(made, as_json)


@app.command("import", epilog="Example: sne zoo import folder my_checkpoints my_zoo")
def import_(
    form: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="folder: checkpoints and a CSV with a column path. small-cnn-zoo: its published files.",
        ),
    ],
    source: Annotated[Path, typer.Argument(help="The folder (or, of a folder, the CSV itself).")],
    out: Annotated[Path, typer.Argument(help="Folder of the new zoo.")],
    dataset: Annotated[str | None, typer.Option(help="What the networks were trained on.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out what cannot be read.")] = False,
    storage: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Bring networks that were trained elsewhere into a zoo."""
    from sne.zoo import import_zoo

    with _disk_errors(), _progress("networks") as progress:
        made = import_zoo(
            form,
            source,
            out,
            dataset=dataset,
            skip_bad=skip_bad,
            storage=storage,
            report=lambda line: print(f"sne: {line}", file=sys.stderr),
            progress=progress,
        )
    _print_summary(made, as_json)


@app.command(epilog="Example: sne zoo info my_zoo")
def info(
    path: Annotated[Path, typer.Argument(help="Folder of a zoo.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
) -> None:
    """Counts, families, properties, an accuracy histogram, and size."""
    from sne import zoo

    _print_summary(zoo.Zoo.open(path), as_json)


def _print_summary(opened: Any, as_json: bool) -> None:
    from sne.zoo.summary import summarise

    summary = summarise(opened)
    if as_json:
        print(json.dumps(summary))
        return
    print(
        f"{summary['path']}: {summary['networks']} networks of {summary['runs']} runs, "
        f"{summary['bytes'] / 1e6:.1f} MB, split: {_counts(summary['split'] or {})}"
    )
    print()
    print(format_table([_family_row(row) for row in summary["families"]]))
    print()
    for title in ("properties", "hyperparameters"):
        print(f"{title}: {', '.join(summary[title]) or 'none'}")


def _family_row(entry: dict[str, Any]) -> dict[str, Any]:
    accuracy = entry["test_accuracy"]
    return {
        "family": entry["family"],
        "dataset": entry["dataset"],
        "networks": entry["networks"],
        "runs": entry["runs"],
        "weights": _span(entry["weights"], "{:,}"),
        "test accuracy": _span(accuracy and [accuracy["min"], accuracy["max"]], "{:.3f}"),
        "0 .. 1": _bars(accuracy["histogram"]) if accuracy else None,
    }


def _counts(pieces: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in pieces.items()) or "none"


def _span(ends: Sequence[int | float] | None, form: str) -> str:
    """Least and largest, once if they are equal."""
    if not ends:
        return "-"
    low, high = (form.format(end) for end in ends)
    return low if low == high else f"{low} - {high}"


def _bars(counts: list[int]) -> str:
    """Counts as a row of bars, a dot for none."""
    top = max(max(counts), 1)
    return "".join("·▁▂▃▄▅▆▇█"[0 if n == 0 else max(round(8 * n / top), 1)] for n in counts)


def _whole_numbers(option: str, text: str) -> list[int]:
    from sne.zoo import ZooError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ZooError(f"{option} {text!r}: expected whole numbers separated by commas") from None


@contextmanager
def _disk_errors() -> Iterator[None]:
    """A full or failing disk is told as a zoo's other troubles are."""
    from sne.zoo import ZooError

    try:
        yield
    except OSError as error:
        raise ZooError(f"{error.filename or 'the zoo'}: {error.strerror or error}") from None


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; a line every tenth where stderr is not a terminal."""
    if not sys.stderr.isatty():
        said = [-1]

        def say(done: int, total: int) -> None:
            if total and done * 10 // total > said[0]:
                said[0] = done * 10 // total
                print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
