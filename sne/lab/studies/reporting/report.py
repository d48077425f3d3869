"""The report of a study: report.md, results.json, pictures and one page."""

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
from sne.lab.studies.reporting.blocks import Block, Heading, Items, Paragraph
from sne.lab.studies.reporting.maps import draw_maps
from sne.lab.studies.reporting.markdown import to_markdown
from sne.lab.studies.reporting.numbers import figure, with_interval
from sne.lab.studies.reporting.page import to_page
from sne.lab.studies.reporting.plots import draw_all
from sne.lab.studies.resampling import DRAWS, interval_of
from sne.lab.studies.runner import Finished
from sne.lab.studies.study import LOWER_IS_BETTER, StudyTask
from sne.work import write_atomically

REPORT, RESULTS, PAGE = "report.md", "results.json", "report.html"

COMPARED = {"weights": "reads weights alone", "runs": "runs the networks"}
"""What methods look at where they are compared, and how it is said."""


def write_report(finished: Finished, folder: Path | str) -> None:
    """Writes the report of a study that was run; what stood there is replaced.

    Args:
        finished: the study.
        folder: where it goes.

    Raises:
        StudyError: matplotlib is not installed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RESULTS, (json.dumps(to_results(finished), indent=1) + "\n").encode())
    blocks = report_blocks(finished, folder)
    write_atomically(folder / REPORT, to_markdown(blocks).encode())
    write_atomically(folder / PAGE, to_page(finished.study.title, blocks, folder).encode())


def report_blocks(finished: Finished, folder: Path) -> list[Block]:
    """What the report says; draws its pictures into a folder."""
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
        share = "" if task.fraction == 1 else f", {100 * task.fraction:g} % of it"
        blocks += [Heading(task.name, 3), Paragraph(f"Predicted: {trained}{share}."), tables.of_task(outcomes, task)]
    blocks += [Heading("All figures"), *(block for task in tasks for block in _details(finished, task))]
    choices = tables.chosen_settings(outcomes, design.configurations)
    if choices.rows:
        blocks += [Heading("Configurations that validation chose"), choices]
    for status, title in (("cannot", "What methods cannot take"), ("failed", "What failed")):
        texts = _reasons(finished, status) + (_failed_configurations(finished) if status == "failed" else [])
        blocks += [Heading(title), Items(texts)] if texts else []
    blocks += [Heading("How it was measured"), *_method(finished)]
    return blocks


def to_results(finished: Finished) -> dict[str, Any]:
    """Everything but predictions, as plain JSON values: every seed, every configuration, versions and times."""
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
        "most_members": design.most_members,
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
                "p": found.share,
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
    """What a method was given in full, its first configuration and seed."""
    jobs = (result["job"] for result in finished.tried)
    return next((job["settings"] for job in jobs if job["method"] == method.name), {})


def _origin(finished: Finished) -> str:
    paper = (
        f"It repeats {finished.study.paper} of the paper" if finished.study.paper else "The paper has nothing like it"
    )
    command = _command(finished)
    note = " The ci scale shows that everything runs; its figures mean nothing." if finished.scale == "ci" else ""
    versions = ", ".join(f"{name} {version}" for name, version in _versions(finished).items())
    return f"{paper}; all zoos are our own. Made by: {command}. Versions: {versions}.{note}"


def _sentence(found: Comparison) -> str:
    """SNE against the best baseline, in words."""
    metric = found.ours.metric
    ours, theirs = (figure(metric, total.mean) for total in (found.ours, found.theirs))
    order = "ahead of" if found.gain > 0 else "behind"
    sure = "does not hold zero" if found.interval[0] > 0 or found.interval[1] < 0 else "holds zero"
    where = "" if found.group == "all" else f"{found.group}: "
    kind = "less" if metric in LOWER_IS_BETTER else "more"
    gain = with_interval(metric, found.gain, found.interval)
    return (
        f"{where}{found.ours.method.label} ({ours}) is {order} {found.theirs.method.label} ({theirs}), the best other "
        f"method here that {COMPARED[found.reads]} ({kind} is better). Gain {gain}: the interval {sure}; "
        f"p {found.share:.3g}."
    )


def _reasons(finished: Finished, status: str) -> list[str]:
    """A line for each method and task: where it has no figures, and why."""
    where: dict[tuple[str, str, str], list[str]] = {}
    for outcome in finished.outcomes.all:
        if outcome.status == status:
            key = (outcome.method.label, outcome.task.name, str(outcome.reason))
            where.setdefault(key, []).append(outcome.held_out.name)
    return [f"{label}, {task} to {', '.join(names)}: {reason}" for (label, task, reason), names in where.items()]


def _failed_configurations(finished: Finished) -> list[str]:
    """Those that were tried and whose training did not come to an end."""
    labels = {method.name: method.label for method in finished.design.methods}
    broken = [result for result in finished.tried if result["status"] == "failed"]
    return [
        f"{labels[job['method']]}, {job['task']}, configuration {job['configuration']}, seed {job['seed']}: {reason}"
        for job, reason in ((result["job"], result["reason"]) for result in broken)
    ]


def _details(finished: Finished, task: StudyTask) -> Sequence[Block]:
    table = tables.details(finished.outcomes, task)
    return [Heading(task.name, 3), table] if table.rows else []


def _method(finished: Finished) -> list[Block]:
    design = finished.design
    seeds = ", ".join(str(seed) for seed in design.seeds)
    limits = [f"at most {design.most_epochs} epochs"] if design.most_epochs else []
    limits += [f"at most {design.most_members} members"] if design.most_members else []
    texts = [
        f"Training seeds {seeds}; splits by training run, the same for every method.",
        *(f"Not compared here: {labels}: {reason}." for reason, labels in _left_out(finished).items()),
        f"Every method might try {design.configurations} configuration(s) with the first seed; the validation score "
        "(Kendall tau, or accuracy for classes) chose one, which was then trained with every seed. A method with fewer "
        "has nothing more to tune. Held-out networks chose nothing.",
        "Encoders choose their epoch on the validation runs; HyperRep and probing take a fixed number of epochs of the "
        "training runs; quick baselines, which need no such choice, are fitted on both. The ensemble (sne default) "
        "leaves out a fold of training and validation runs for each member, and is trained as was found best for it "
        "elsewhere; the other encoders follow one protocol."
        + (f" At this scale encoders train for {' and have '.join(limits)}." if limits else ""),
        f"Brackets hold 95% intervals: {DRAWS:,} bootstrap draws of the training runs of the held-out networks (all "
        "checkpoints of a run together, and runs of one number in several zoos) and of the training seeds. The p value "
        "is the doubled share of draws in which the order is the other; the baseline is the best on the held-out "
        "networks themselves, which favours it. results.json also has t intervals over seeds alone.",
        "Tau is tau_b; ties in the labels keep it below the ceiling given beside it.",
        "Training seconds are processor time, reading included, of the host where training ran on a GPU; ms a network "
        "covers reading, preparing and the forward pass, on one thread where work was done by processes (of a machine "
        "that may have been busy). Parameters are those of encoders and heads: trees are not counted. All "
        f"trainings together took {_processor_seconds(finished) / 60:.0f} min of processor time, zoos not counted.",
        f"Zoos: {', '.join(f'{zoo.name} ({zoo.networks} runs)' for zoo in design.zoos)}.",
    ]
    return [Items(texts)]


def _left_out(finished: Finished) -> dict[str, str]:
    """By reason, the labels of the methods that the study leaves out."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in finished.design.left_out.items():
        by_reason.setdefault(reason, []).append(METHODS[name].label if name in METHODS else name)
    return {reason: ", ".join(labels) for reason, labels in by_reason.items()}


def _processor_seconds(finished: Finished) -> float:
    """Of all trainings, in whichever sitting they were done."""
    return math.fsum(result.get("cpu_seconds", 0.0) for result in finished.tried)


def _versions(finished: Finished) -> dict[str, str]:
    """Those that trainings ran with; several of one are joined by "and"."""
    names = dict.fromkeys(name for result in finished.tried for name in result["versions"])
    return {
        name: " and ".join(dict.fromkeys(result["versions"].get(name, "?") for result in finished.tried))
        for name in names
    }


def _command(finished: Finished) -> str:
    """What repeats the study; seeds and methods are named where they are not its own."""
    words, declared = (
        ["sne study", finished.study.name, "--scale", finished.scale],
        finished.study.design(finished.scale),
    )
    if finished.design.seeds != declared.seeds:
        words += ["--seeds", ",".join(map(str, finished.design.seeds))]
    if finished.design.methods != declared.methods:
        words += ["--methods", ",".join(method.name for method in finished.design.methods)]
    return " ".join(words)
