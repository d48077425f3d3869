"""`sne study`: the published experiments, one command each."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sne.cli.progress import Pace, stopped_by_user
from sne.cli.tables import format_table

if TYPE_CHECKING:
    from sne.lab.studies import Design, Finished


LINEAGE = "lineage"

StudyName = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="Name of the study; without it, the studies are listed.", show_default=False),
]
Scale = Annotated[
    str,
    typer.Option(
        metavar="SCALE",
        help="Size of the study. ci: a minute or two on scikit-learn's digits, shows that everything runs. cpu: up "
        "to 90 minutes on two cores. gpu: as large as in the paper, needs CUDA.",
    ),
]
ReportFolder = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder for the report and the results. [default: studies/NAME-SCALE]"),
]
ZoosFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Folder for zoos, which studies can share. [default: the folder zoos next to OUT]"
    ),
]
ImagesFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder with mnist.npz, fashion_mnist.npz, cifar10_gs.npz and svhn_crops_gs.npz, which the scales cpu "
        "and gpu need. [default: $SNE_IMAGES]",
    ),
]
Workers = Annotated[
    int, typer.Option(metavar="N", help="Number of processes, each with one thread; 0 works in this process.", min=0)
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Address of a Ray cluster that does the work: auto, HOST:PORT, or local to start one on this machine. "
        "The nodes need no shared disk.",
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(metavar="NUMBERS", help="Training seeds, separated by commas. [default: the study's, two to five]"),
]
Methods = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Methods to compare, separated by commas, such as sne,mean,nfn_np; --list shows all names. "
        "[default: the study's, except those whose packages are not installed]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]
ListAll = Annotated[bool, typer.Option("--list", help="List the studies and the methods, and exit.")]


def study(
    name: StudyName = None,
    scale: Scale = "cpu",
    out: ReportFolder = None,
    zoos: ZoosFolder = None,
    images: ImagesFolder = None,
    workers: Workers = 2,
    ray: RayAddress = None,
    seeds: Seeds = None,
    methods: Methods = None,
    as_json: AsJson = False,
    list_all: ListAll = False,
) -> None:
    """Run a published experiment and write a report.

    Makes the zoos of the experiment and trains every method on them. The folder OUT then contains report.html (one
    file with its pictures), report.md with the pictures as files, results.json, and the folder jobs with one file of
    predictions per training. If the command is interrupted, the same command continues where it stopped.
    """
    from sne.lab.studies import STUDIES, StudyError

    if list_all or name is None:
        _print_list(scale, as_json)
        return
    if name == LINEAGE:
        _run_lineage(scale, out, zoos, images, workers, ray)
        return
    if name not in STUDIES:
        raise StudyError(f"study {name!r} is not known, expected one of {', '.join((*STUDIES, LINEAGE))}")
    from sne.lab.studies import METHODS, check_extras, choose_methods, run_study, without_unavailable, write_report
    from sne.work import check_can_write_folder

    chosen, design = STUDIES[name], STUDIES[name].design(scale)
    folder = Path("studies") / f"{name}-{scale}" if out is None else out
    known = {**METHODS, **{method.name: method for method in design.methods}}
    named = None if methods is None else choose_methods(methods.replace(" ", "").split(","), known.values())
    numbers = None if seeds is None else _numbers(seeds)
    check_extras(named or (), has_plots=True, has_ray=ray is not None)
    check_can_write_folder(folder)
    if named is None:
        _print_left_out(design, without_unavailable(design))
    with stopped_by_user(folder), _progress() as progress:
        finished = run_study(
            chosen,
            scale,
            folder,
            zoos=folder.parent / "zoos" if zoos is None else zoos,
            images=images,
            workers=workers,
            ray=ray,
            seeds=numbers,
            methods=named,
            progress=progress,
        )
        write_report(finished, folder)
    _print_totals(finished, folder, as_json)
    if _print_failures(finished):
        raise typer.Exit(1)


def _run_lineage(
    scale: str, out: Path | None, zoos: Path | None, images: Path | None, workers: int, ray: str | None
) -> None:
    """Runs the study of lineages, which has zoos and measures of its own."""
    from sne.lab.lineage import run_lineage
    from sne.work import check_can_write_folder

    folder = Path("studies") / f"{LINEAGE}-{scale}" if out is None else out
    check_can_write_folder(folder)
    shelf = folder.parent / "zoos" if zoos is None else zoos
    with stopped_by_user(folder), _progress() as progress:
        report = run_lineage(scale, folder, zoos=shelf, images=images, workers=workers, ray=ray, progress=progress)
    print(report.read_text())
    print(f"report: {report}", file=sys.stderr)


def _print_list(scale: str, as_json: bool) -> None:
    """Prints one line per study, and the names of all methods."""
    from sne.lab.lineage import DESIGNS, TITLE
    from sne.lab.studies import STUDIES

    designs = {study.name: study.design(scale) for study in STUDIES.values()}
    estimate = DESIGNS[scale].estimate if scale in DESIGNS else None
    if as_json:
        for study in STUDIES.values():
            design = designs[study.name]
            row = {"study": study.name, "question": study.question, "paper": study.paper, "estimate": design.estimate}
            print(json.dumps({**row, "methods": [method.name for method in design.methods]}))
        print(json.dumps({"study": LINEAGE, "question": f"{TITLE}?", "paper": "", "estimate": estimate, "methods": []}))
        return
    rows = [
        {"study": study.name, scale: designs[study.name].estimate, "paper": study.paper or None, "title": study.title}
        for study in STUDIES.values()
    ]
    rows.append({"study": LINEAGE, scale: estimate, "paper": None, "title": TITLE})
    print(format_table(rows))
    names = dict.fromkeys(method.name for design in designs.values() for method in design.methods)
    print(f"\nMethods: {', '.join(names)}\n\nRun one of them: sne study NAME --scale {scale} --out DIR")


def _print_left_out(declared: "Design", available: "Design") -> None:
    """Says on stderr which methods are left out because a package is missing."""
    by_reason: dict[str, list[str]] = {}
    for name in available.left_out.keys() - declared.left_out.keys():
        by_reason.setdefault(available.left_out[name], []).append(name)
    for reason, names in by_reason.items():
        print(f"sne: left out {', '.join(sorted(names))}: {reason}", file=sys.stderr)


def _print_totals(finished: "Finished", folder: Path, as_json: bool) -> None:
    """Prints one row per method and group."""
    from sne.lab.studies import to_results

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


def _print_failures(finished: "Finished") -> bool:
    """Prints failed jobs and trainings on stderr, and returns whether there are any."""
    for job, failure in finished.failures.items():
        print(f"sne: job {job} failed: {failure.reason}", file=sys.stderr)
    broken = [outcome for outcome in finished.outcomes.all if outcome.status == "failed"]
    for outcome in broken if not finished.failures else ():
        where = f"{outcome.task.name} to {outcome.held_out.name}"
        print(f"sne: {outcome.method.name} failed on {where}: {outcome.reason}", file=sys.stderr)
    return bool(finished.failures or broken)


def _numbers(text: str) -> list[int]:
    from sne.lab.studies import StudyError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise StudyError(f"--seeds is {text!r}, expected whole numbers separated by commas, such as 0,1,2") from None


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Shows stage, count, rate and time left on stderr: as bars in a terminal, else one line per tenth of a stage."""
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
