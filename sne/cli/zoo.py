"""`sne zoo`: make, import and look at zoos."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

app = typer.Typer(no_args_is_help=True, help="Make, import and look at zoos of trained networks.")


@app.command(epilog="Example: sne zoo make /tmp/zoo --family small_cnn,mlp --networks 30 --steps 300")
def make(
    out: Annotated[
        Path, typer.Argument(help="Folder of the zoo. The same command goes on where it stopped.")
    ],
    family: Annotated[
        list[str] | None,
        typer.Option(
            help="small_cnn, cnn_s, mlp, gru, residual_cnn, vit; separated by commas. [default: small_cnn]"
        ),
    ] = None,
    images: Annotated[str, typer.Option(help="digits, or an .npz of x_train, y_train, x_test, y_test.")] = (
        "digits"
    ),
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
    """Train networks of one or more families and store them with what was measured."""
    from sne import zoo

    with _user_errors(), _progress("networks") as progress:
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


@app.command("import", epilog="Example: sne zoo import folder my_checkpoints/ /tmp/zoo --dataset mnist")
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

    with _user_errors(), _progress("networks") as progress:
        made = import_zoo(
            form,
            source,
            out,
            dataset=dataset,
            skip_bad=skip_bad,
            storage=storage,
            report=lambda line: print(f"left out: {line}" if skip_bad else line, file=sys.stderr),
            progress=progress,
        )
    _print_summary(made, as_json)


@app.command(epilog="Example: sne zoo info /tmp/zoo")
def info(
    path: Annotated[Path, typer.Argument(help="Folder of a zoo.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
) -> None:
    """Counts, families, properties, an accuracy histogram, and size."""
    from sne import zoo

    with _user_errors():
        opened = zoo.Zoo.open(path)
    _print_summary(opened, as_json)


def _print_summary(opened: Any, as_json: bool) -> None:
    from sne.zoo.summary import summarise

    summary = summarise(opened)
    if as_json:
        print(json.dumps(summary))
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console() if sys.stdout.isatty() else Console(width=120)
    console.print(
        f"{summary['path']}: {summary['networks']} networks of {summary['runs']} runs, "
        f"{summary['bytes'] / 1e6:.1f} MB, split: {summary['split'] or 'none'}",
        highlight=False,
        soft_wrap=True,
    )
    titles = ("family", "dataset", "networks", "runs", "weights", "test accuracy", "in tenths")
    table = Table(*titles, box=SIMPLE, pad_edge=False)
    for row in summary["families"]:
        accuracy = row["test_accuracy"]
        table.add_row(
            row["family"],
            row["dataset"],
            str(row["networks"]),
            str(row["runs"]),
            _span(row["weights"], "{:,}"),
            _span(accuracy and [accuracy["min"], accuracy["max"]], "{:.3f}"),
            _bars(accuracy["histogram"]) if accuracy else "-",
        )
    console.print(table)
    for title in ("properties", "hyperparameters"):
        console.print(f"{title}: {', '.join(summary[title]) or 'none'}", highlight=False, soft_wrap=True)


def _span(ends: list[float] | None, form: str) -> str:
    """Least and largest, once if they are equal."""
    if not ends:
        return "-"
    low, high = (form.format(end) for end in ends)
    return low if low == high else f"{low} - {high}"


def _bars(counts: list[int]) -> str:
    """Counts as a row of bars."""
    top = max(max(counts), 1)
    return "".join(" ▁▂▃▄▅▆▇█"[0 if n == 0 else max(round(8 * n / top), 1)] for n in counts)


def _whole_numbers(option: str, text: str) -> list[int]:
    from sne.zoo import ZooError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ZooError(f"{option} {text!r}: expected whole numbers separated by commas") from None


@contextmanager
def _user_errors() -> Iterator[None]:
    """A user's mistake becomes one line on stderr and exit status 2."""
    from sne.zoo import ZooError

    try:
        yield
    except ZooError as error:
        _stop(str(error))
    except OSError as error:
        _stop(f"{error.filename or 'the zoo'}: {error.strerror or error}")


def _stop(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(2)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; a line every hundredth where stderr is not a terminal."""
    if not sys.stderr.isatty():
        said = [-1]

        def say(done: int, total: int) -> None:
            if total and done * 100 // total > said[0]:
                said[0] = done * 100 // total
                print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
