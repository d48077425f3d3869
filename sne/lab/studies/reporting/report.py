"""The report of a study: report.md, report.html, results.json and pictures."""

import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sne.lab.studies.methods import METHODS, Method
from sne.lab.studies.outcomes import Comparison
from sne.lab.studies.reporting import tables
from sne.lab.studies.reporting.document import Block, Heading, Items, Paragraph, to_markdown, to_page
from sne.lab.studies.reporting.maps import draw_maps
from sne.lab.studies.reporting.plots import draw_all
from sne.lab.studies.reporting.tables import figure, with_interval
from sne.lab.studies.resampling import DRAWS, interval_of
from sne.lab.studies.runner import Finished
from sne.lab.studies.study import LOWER_IS_BETTER, StudyTask
from sne.work import write_atomically

REPORT, RESULTS, PAGE = "report.md", "results.json", "report.html"

COMPARED = {"weights": "reads only weights", "runs": "runs the networks"}
"""What the compared methods read, and the words for it in a sentence."""


def write_report(finished: Finished, folder: Path | str) -> None:
    """Writes the report of a study that was run. An older report is replaced.

    Args:
        finished: The study.
        folder: Folder of the report.

    Raises:
        StudyError: If matplotlib is not installed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RESULTS, (json.dumps(to_results(finished), indent=1) + "\n").encode())
    blocks = report_blocks(finished, folder)
    write_atomically(folder / REPORT, to_markdown(blocks).encode())
    write_atomically(folder / PAGE, to_page(finished.study.title, blocks, folder).encode())


def report_blocks(finished: Finished, folder: Path) -> list[Block]:
    """Returns the parts of the report, and draws its pictures into a folder."""
    study, outcomes, design = finished.study, finished.outcomes, finished.design
    blocks: list[Block] = [Heading(study.title, 1), Paragraph(study.question), Paragraph(_origin(finished))]
    blocks += [Heading("Summary"), tables.summary(outcomes)]
    compared = [outcomes.compare(group, reads) for reads in COMPARED for group in outcomes.groups]
    said = [_sentence(found) for found in compared if found is not None]
    blocks += [Items(said)] if said else []
    blocks += draw_all(study, outcomes, folder)
    if (drawn := draw_maps(outcomes, folder)) is not None:
        blocks += [Heading("Map"), *drawn]
    tasks = list({outcome.task.name: outcome.task for outcome in outcomes.all}.values())
    blocks += [Heading("Task by task")]
    for task in tasks:
        trained = f"{task.target}, trained on {', '.join(task.train)}"
        share = "" if task.fraction == 1 else f" ({100 * task.fraction:g} % of the training runs)"
        blocks += [Heading(task.name, 3), Paragraph(f"Predicted: {trained}{share}."), tables.of_task(outcomes, task)]
    blocks += [Heading("All figures"), *(block for task in tasks for block in _details(finished, task))]
    choices = tables.chosen_settings(outcomes, design.configurations)
    if choices.rows:
        blocks += [Heading("Configurations chosen on the validation runs"), choices]
    for status, title in (("cannot", "Networks that methods do not support"), ("failed", "Failed trainings")):
        texts = _reasons(finished, status) + (_failed_configurations(finished) if status == "failed" else [])
        blocks += [Heading(title), Items(texts)] if texts else []
    blocks += [Heading("How it was measured"), *_measuring(finished)]
    return blocks


def to_results(finished: Finished) -> dict[str, Any]:
    """Returns all results except predictions as plain JSON values: seeds, configurations, versions and times."""
    study, design, outcomes = finished.study, finished.design, finished.outcomes
    totals = [outcomes.total(method, group) for group in outcomes.groups for method in outcomes.methods]
    return {
        "study": study.name,
        "title": study.title,
        "question": study.question,
        "paper": study.paper,
        "scale": finished.scale,
        "seconds_of_last_sitting": finished.seconds,
        "seconds_of_jobs": sum(result.get("seconds", 0.0) for result in finished.tried),
        "cpu_seconds_of_jobs": _processor_seconds(finished),
        "versions": _versions(finished),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "zoos": [zoo.to_json() for zoo in design.zoos],
        "seeds": list(design.seeds),
        "configurations": design.configurations,
        "most_epochs": design.most_epochs,
        "most_folds": design.most_folds,
        "device": design.device,
        "methods": [
            {**method.to_json(), "label": method.label, "reads": method.reads, "settings": _settings(finished, method)}
            for method in design.methods
        ],
        "left_out": dict(design.left_out),
        "totals": [
            {
                "group": total.group,
                "method": total.method.name,
                "metric": total.metric,
                "mean": total.mean,
                "interval": interval_of(total.draws) if total.outcomes else None,
                "held_out_sets": len(total.outcomes),
                "held_out_sets_asked": total.num_asked,
            }
            for total in totals
        ],
        "comparisons": [
            {
                "group": found.group,
                "reads": found.reads,
                "method": found.ours.method.name,
                "best_baseline": found.theirs.method.name,
                "gain": found.gain,
                "interval": found.interval,
                "p": found.p,
            }
            for group in outcomes.groups
            for reads in COMPARED
            if (found := outcomes.compare(group, reads)) is not None
        ],
        "outcomes": [outcome.to_json() for outcome in outcomes.all],
        "tried": [
            {**result["job"], **{key: result.get(key) for key in ("status", "validation", "seconds", "cpu_seconds")}}
            for result in finished.tried
        ],
        "failures": {name: failure.reason for name, failure in finished.failures.items()},
    }


def _settings(finished: Finished, method: Method) -> dict[str, Any]:
    """Returns the full settings of a method, for its first configuration and seed."""
    jobs = (result["job"] for result in finished.tried)
    return next((job["settings"] for job in jobs if job["method"] == method.name), {})


def _origin(finished: Finished) -> str:
    paper = (
        f"This study repeats {finished.study.paper} of the paper"
        if finished.study.paper
        else "The paper has no corresponding experiment"
    )
    command = _command(finished)
    note = (
        " The scale ci only shows that everything runs; its figures are meaningless." if finished.scale == "ci" else ""
    )
    versions = ", ".join(f"{name} {version}" for name, version in _versions(finished).items())
    return f"{paper}; all zoos are our own. Command: {command}. Versions: {versions}.{note}"


def _sentence(found: Comparison) -> str:
    """Describes a comparison in words."""
    metric = found.ours.metric
    ours, theirs = (figure(metric, total.mean) for total in (found.ours, found.theirs))
    order = "ahead of" if found.gain > 0 else "behind"
    zero = "excludes zero" if found.interval[0] > 0 or found.interval[1] < 0 else "contains zero"
    where = "" if found.group == "all" else f"{found.group}: "
    kind = "lower" if metric in LOWER_IS_BETTER else "higher"
    gain = with_interval(metric, found.gain, found.interval)
    return (
        f"{where}{found.ours.method.label} ({ours}) is {order} {found.theirs.method.label} ({theirs}), the best "
        f"baseline that {COMPARED[found.reads]} ({kind} is better). The gain is {gain}; its interval {zero}; "
        f"p = {found.p:.3g}."
    )


def _reasons(finished: Finished, status: str) -> list[str]:
    """Returns one line per method, task and reason for which there are no results."""
    where: dict[tuple[str, str, str], list[str]] = {}
    for outcome in finished.outcomes.all:
        if outcome.status == status:
            key = (outcome.method.label, outcome.task.name, str(outcome.reason))
            where.setdefault(key, []).append(outcome.held_out.name)
    return [f"{label}, {task} to {', '.join(names)}: {reason}" for (label, task, reason), names in where.items()]


def _failed_configurations(finished: Finished) -> list[str]:
    """Returns one line per configuration whose training failed."""
    labels = {method.name: method.label for method in finished.design.methods}
    broken = [result for result in finished.tried if result["status"] == "failed"]
    return [
        f"{labels[job['method']]}, {job['task']}, configuration {job['configuration']}, seed {job['seed']}: {reason}"
        for job, reason in ((result["job"], result["reason"]) for result in broken)
    ]


def _details(finished: Finished, task: StudyTask) -> Sequence[Block]:
    table = tables.details(finished.outcomes, task)
    return [Heading(task.name, 3), table] if table.rows else []


def _measuring(finished: Finished) -> list[Block]:
    design = finished.design
    seeds = ", ".join(str(seed) for seed in design.seeds)
    limits = [f"at most {design.most_epochs} epochs"] if design.most_epochs else []
    limits += [f"at most {design.most_folds} folds"] if design.most_folds else []
    texts = [
        f"Training seeds: {seeds}. Zoos are split by training run, in the same way for every method.",
        *(f"Not compared here: {labels}: {reason}." for reason, labels in _left_out(finished).items()),
        f"Number of configurations that each method may try with the first seed: {design.configurations}. The one with "
        "the best validation score (Kendall tau, or accuracy for classes) is then trained with every seed. Methods "
        "with fewer configurations have nothing more to tune. Held-out networks influence no choice.",
        "Encoders choose their epoch on the validation runs. HyperRep and probing train for a fixed number of epochs "
        "on the training runs. Quick baselines, which need no such choice, are fitted on training and validation runs. "
        "The experts of sne default are trained once per fold of the training and validation runs, without that fold, "
        "with settings that were found best on other zoos; all other encoders follow one protocol."
        + (f" Limits on encoders at this scale: {' and '.join(limits)}." if limits else ""),
        f"Brackets contain 95% intervals from {DRAWS:,} bootstrap draws of the training runs of the held-out networks "
        "and of the training seeds. All checkpoints of a run, and runs of equal number in several zoos, are drawn "
        "together. The p value is twice the share of draws with the opposite order. The best baseline is chosen on the "
        "held-out networks themselves, which favours it. results.json also contains t intervals over seeds only.",
        "Tau is tau_b. Ties among the labels limit it to the ceiling given next to it.",
        "Training time is processor time in seconds, including reading; for training on a GPU, that of the host. "
        "Milliseconds per network include reading, preparing and the forward pass, on one thread if processes did the "
        "work; other load on the machine increases them. Parameters are those of neural experts; trees are not "
        f"counted. All trainings together took {_processor_seconds(finished) / 60:.0f} min of processor time, without "
        "zoos.",
        f"Zoos: {', '.join(f'{zoo.name} (runs per family: {zoo.networks})' for zoo in design.zoos)}.",
    ]
    return [Items(texts)]


def _left_out(finished: Finished) -> dict[str, str]:
    """Returns, for each reason, the labels of the methods that the study leaves out."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in finished.design.left_out.items():
        by_reason.setdefault(reason, []).append(METHODS[name].label if name in METHODS else name)
    return {reason: ", ".join(labels) for reason, labels in by_reason.items()}


def _processor_seconds(finished: Finished) -> float:
    """Returns the processor time of all trainings, including those of earlier calls."""
    return math.fsum(result.get("cpu_seconds", 0.0) for result in finished.tried)


def _versions(finished: Finished) -> dict[str, str]:
    """Returns the versions with which trainings ran; several versions of one package are joined by "and"."""
    names = dict.fromkeys(name for result in finished.tried for name in result["versions"])
    return {
        name: " and ".join(dict.fromkeys(result["versions"].get(name, "?") for result in finished.tried))
        for name in names
    }


def _command(finished: Finished) -> str:
    """Returns the command that repeats the study, with seeds and methods if they differ from the declared ones."""
    words, declared = (
        ["sne study", finished.study.name, "--scale", finished.scale],
        finished.study.design(finished.scale),
    )
    if finished.design.seeds != declared.seeds:
        words += ["--seeds", ",".join(map(str, finished.design.seeds))]
    if finished.design.methods != declared.methods:
        words += ["--methods", ",".join(method.name for method in finished.design.methods)]
    return " ".join(words)
