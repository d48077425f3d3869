"""`sne study`: the published experiments, one command each."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sne.cli.tables import format_table
from sne.cli.zoo.feedback import Pace, disk_errors, stopped_by_user

if TYPE_CHECKING:
    from sne.lab.studies import Finished


def study(
    name: Annotated[str | None, typer.Argument(help="Which study; --list names them.", show_default=False)] = None,
    scale: Annotated[
        str,
        typer.Option(
            help="ci: a minute or two on scikit-learn's digits, shows that it runs. cpu: up to 90 minutes on two "
            "cores. gpu: as large as the paper."
        ),
    ] = "cpu",
    out: Annotated[
        Path | None, typer.Option(help="Folder for report and results. [default: studies/NAME-SCALE]")
    ] = None,
    zoos: Annotated[
        Path | None, typer.Option(help="Folder of zoos; studies share what lies there. [default: zoos in OUT's folder]")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of mnist.npz, fashion_mnist.npz, cifar10_gs.npz and svhn_crops_gs.npz, for cpu and gpu. "
            "[default: $SNE_IMAGES]"
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes of one thread each.", min=0)] = 2,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Work on a Ray cluster: auto, HOST:PORT, or local for a fresh one. Nodes need no disk in common.",
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Training seeds, as 0,1,2. [default: the study's, three or more]")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Compare these, as sne,mean,nfn_np; --list names them. [default: the study's]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="Name the studies, what they answer, and leave.")] = False,
) -> None:
    """Run a published experiment: make its zoos, train every method, write the report.

    Stopped, or killed, the same command goes on where it was. OUT then holds report.md, report.html (one file, with
    its pictures), results.json and the pictures; OUT/jobs holds one file a training, with its predictions.
    """
    from sne.lab.studies import STUDIES, StudyError

    if list_all:
        _print_list(scale, as_json)
        return
    if name is None:
        raise StudyError(f"no study was named, expected one of {', '.join(STUDIES)}")
    if name not in STUDIES:
        raise StudyError(f"study {name!r} is not known, expected one of {', '.join(STUDIES)}")
    from sne.lab.studies import METHODS, check_can_draw, choose_methods, run_study, write_report

    check_can_draw()

    chosen = STUDIES[name]
    folder = Path("studies") / f"{name}-{scale}" if out is None else out
    known = {**METHODS, **{method.name: method for method in chosen.design(scale).methods}}
    with stopped_by_user(folder), disk_errors(), _progress() as progress:
        finished = run_study(
            chosen,
            scale,
            folder,
            zoos=folder.parent / "zoos" if zoos is None else zoos,
            images=images,
            workers=workers,
            ray=ray,
            seeds=None if seeds is None else _numbers(seeds),
            methods=None if methods is None else choose_methods(methods.replace(" ", "").split(","), known.values()),
            progress=progress,
        )
        write_report(finished, folder)
    _print_totals(finished, folder, as_json)
    for job, failure in finished.failures.items():
        print(f"sne: job {job} failed: {failure.reason}", file=sys.stderr)
    broken = [outcome for outcome in finished.outcomes.all if outcome.status == "failed"]
    for outcome in broken if not finished.failures else ():
        where = f"{outcome.task.name} to {outcome.held_out.name}"
        print(f"sne: {outcome.method.name} failed on {where}: {outcome.reason}", file=sys.stderr)
    if finished.failures or broken:
        raise typer.Exit(1)


def _print_list(scale: str, as_json: bool) -> None:
    from sne.lab.studies import STUDIES

    for study in STUDIES.values():
        design = study.design(scale)
        if as_json:
            row = {"study": study.name, "question": study.question, "paper": study.paper, "estimate": design.estimate}
            print(json.dumps({**row, "methods": [method.name for method in design.methods]}))
            continue
        paper = f", {study.paper} of the paper" if study.paper else ""
        print(f"{study.name}  ({scale}: {design.estimate}{paper})\n    {study.question}")
    if not as_json:
        names = dict.fromkeys(method.name for study in STUDIES.values() for method in study.design(scale).methods)
        print(f"\nMethods: {', '.join(names)}")


def _print_totals(finished: "Finished", folder: Path, as_json: bool) -> None:
    """A row a method and group."""
    from sne.lab.studies.reporting import to_results

    totals = to_results(finished)["totals"]
    if as_json:
        for total in totals:
            print(json.dumps(total))
        return
    rows: list[dict[str, Any]] = []
    for total in totals:
        low, high = total["interval"] or (None, None)
        shown = {"group": total["group"], "method": total["method"], "metric": total["metric"]}
        rows.append({**shown, "mean": total["mean"], "low": low, "high": high, "sets": total["held_out_sets"]})
    print(format_table(rows))
    print(f"\nreport: {folder / 'report.html'}", file=sys.stderr)


def _numbers(text: str) -> list[int]:
    from sne.lab.studies import StudyError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise StudyError(f"--seeds {text!r}: expected whole numbers separated by commas") from None


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Stage, done, rate and time left on stderr: a bar a stage, or a line every tenth where it is no terminal."""
    paces: dict[str, Pace] = {}
    if not sys.stderr.isatty():
        said: dict[str, int] = {}

        def say(stage: str, done: int, total: int) -> None:
            pace = paces.setdefault(stage, Pace())
            pace.note(done, total)
            tenth = done * 10 // total if total else 10
            if tenth > said.get(stage, -1):
                said[stage] = tenth
                print(f"{stage}: {done}/{total}{pace.text}", file=sys.stderr, flush=True)

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

    columns = (TextColumn("{task.fields[stage]}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            pace = paces.setdefault(stage, Pace())
            pace.note(done, total)
            if stage not in tasks:
                tasks[stage] = bars.add_task("", total=total, stage=stage)
            bars.update(tasks[stage], completed=done, total=total, description=pace.text)

        yield show
