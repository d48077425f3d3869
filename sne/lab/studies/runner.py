"""Running a study: zoos, then jobs, then outcomes. An interrupted run continues when the same call is repeated."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sne.errors import StudyError
from sne.lab.studies.jobs import Job, jobs_of, read_result
from sne.lab.studies.methods import Method
from sne.lab.studies.outcomes import Outcome, Outcomes, average_outcome
from sne.lab.studies.requirements import check_extras, without_unavailable
from sne.lab.studies.study import Design, Study, StudyTask
from sne.lab.studies.working import do_jobs
from sne.lab.studies.zoos import ZooShelf
from sne.work import Executor, Failure, InThisProcess, ProcessPool, RayCluster

Progress = Callable[[str, int, int], None]
JOBS = "jobs"


@dataclass(frozen=True)
class Finished:
    """A study that was run.

    Args:
        study: The study.
        scale: Scale at which it was run.
        design: Design with the methods and seeds that were run.
        outcomes: Outcomes of all methods, tasks and held-out sets.
        tried: Results of all configurations, including those that were not chosen.
        failures: For each job without a result, the reason, by the name of the job.
        seconds: Wall time of this call, without work that was finished before it.
    """

    study: Study
    scale: str
    design: Design
    outcomes: Outcomes
    tried: Sequence[dict[str, Any]]
    failures: dict[str, Failure]
    seconds: float


@dataclass
class _Run:
    """What the stages of a run share."""

    design: Design
    shelf: ZooShelf
    results: Path
    workers: int
    ray: str | None
    progress: Progress | None
    failures: dict[str, Failure] = field(default_factory=dict)

    def do(self, stage: str, jobs: Sequence[Job]) -> None:
        """Does the jobs of a stage that have no result yet."""
        waiting = [job for job in jobs if read_result(self.results, job) is None]
        done = len(jobs) - len(waiting)
        self.say(stage, done, len(jobs))
        for job, failure in do_jobs(waiting, self.shelf, self.results, self.executor) if waiting else ():
            done += 1
            if failure:
                self.failures[job.name] = failure
            self.say(stage, done, len(jobs))

    @property
    def executor(self) -> Executor:
        """Where jobs run."""
        return InThisProcess() if self.workers == 0 and self.ray is None else self.process_executor

    @property
    def process_executor(self) -> Executor:
        """Where networks of zoos are trained: never in this process, whose threads round differently."""
        workers = max(self.workers, 1)
        return ProcessPool(workers) if self.ray is None else RayCluster(self.ray, workers=workers)

    def say(self, stage: str, done: int, total: int) -> None:
        if self.progress:
            self.progress(stage, done, total)


def run_study(
    study: Study,
    scale: str,
    out: Path | str,
    *,
    zoos: Path | str | None = None,
    images: Path | str | None = None,
    workers: int = 2,
    ray: str | None = None,
    seeds: Sequence[int] | None = None,
    methods: Sequence[Method] | None = None,
    progress: Progress | None = None,
) -> Finished:
    """Runs a study.

    An interrupted run continues when the same call is repeated: finished zoos and jobs are not done again. The
    configuration of a method is chosen by its validation score with the first seed. Every job reads the held-out
    networks once, and they do not influence any choice.

    Args:
        study: The study.
        scale: One of `SCALES`.
        out: Folder for the results of jobs.
        zoos: Folder of the zoos, which studies may share; `zoos` in `out` if None.
        images: Folder of .npz files; the value of the environment variable SNE_IMAGES if None.
        workers: Number of processes, each with one thread; 0 does all jobs in this process.
        ray: Address of a Ray cluster that does the work instead of processes on this machine; see
            `sne.work.RayCluster`.
        seeds: Training seeds; the design's if None.
        methods: Methods to compare. If None, the design's methods except those whose packages are missing, which are
            listed in the design's `left_out`.
        progress: Function called with the name of the stage, the number of items done, and their total number.

    Returns:
        The outcomes. Failed jobs are listed in it; they do not stop the others.

    Raises:
        StudyError: If the scale is unknown, images or packages are missing, or a Ray cluster is given for a design
            that uses a GPU.
        ZooError: If a zoo cannot be made.
        WorkError: If no worker can be started, or the Ray cluster cannot be reached.
    """
    start, out = time.perf_counter(), Path(out)
    design = _design(study, scale, seeds, methods, has_ray=ray is not None)
    shelf = ZooShelf(out / "zoos" if zoos is None else zoos)
    run = _Run(design, shelf, out / JOBS, workers, ray, progress)
    digests = _make_zoos(run, None if images is None else Path(images))
    pairs = [(task, method) for task in design.tasks for method in design.methods if not method.parts]
    tuning = {(task.name, method.name): _tuning_jobs(design, task, method, digests) for task, method in pairs}
    run.do("tuning", [job for jobs in tuning.values() for job in jobs])
    chosen = {
        (task.name, method.name): _chosen_jobs(run, task, method, digests, tuning[task.name, method.name])
        for task, method in pairs
    }
    run.do("seeds", [job for jobs in chosen.values() for job in jobs])
    outcomes = [o for task, method in pairs for o in _outcomes(task, method, chosen[task.name, method.name], run)]
    outcomes += _averages(design, Outcomes(outcomes))
    everything = {job.name: job for jobs in (*tuning.values(), *chosen.values()) for job in jobs}
    tried = [result for job in everything.values() if (result := read_result(run.results, job)) is not None]
    seconds = time.perf_counter() - start
    return Finished(study, scale, design, Outcomes(outcomes), tried, run.failures, seconds)


def _design(
    study: Study, scale: str, seeds: Sequence[int] | None, methods: Sequence[Method] | None, *, has_ray: bool
) -> Design:
    """Returns the design with the given seeds and methods, after checking that it can be run."""
    design = study.design(scale)
    check_extras(methods or (), has_ray=has_ray)
    if methods:
        design = dataclasses.replace(design, methods=tuple(methods))
    else:
        design = without_unavailable(design)
    if seeds:
        design = dataclasses.replace(design, seeds=tuple(seeds))
    if has_ray and any(device != "cpu" for device in (design.device, *(zoo.device for zoo in design.zoos))):
        raise StudyError(f"a Ray cluster trains on CPUs only, but {study.name} at scale {scale} uses a GPU")
    return design


def _make_zoos(run: _Run, images: Path | None) -> dict[str, str]:
    """Makes the zoos that are missing and returns the digest of every zoo."""
    for need in run.design.zoos:
        say = None if run.progress is None else partial(run.progress, f"zoo {need.name}")
        run.shelf.make(need, images=images, executor=run.process_executor, progress=say)
    for names in dict.fromkeys(task.train for task in run.design.tasks):
        run.shelf.join(names)
    return {need.name: run.shelf.digest(need.name) for need in run.design.zoos}


def _tuning_jobs(design: Design, task: StudyTask, method: Method, zoos: Mapping[str, str]) -> list[Job]:
    count = min(design.configurations, len(method.grid))
    return jobs_of(design, task, method, range(count), design.seeds[:1], zoos)


def _chosen_jobs(
    run: _Run, task: StudyTask, method: Method, zoos: Mapping[str, str], tuning: Sequence[Job]
) -> list[Job]:
    """Returns the jobs of the configuration with the best validation score, one per seed."""
    design, found = run.design, [(job, read_result(run.results, job)) for job in tuning]
    if any(result is not None and result["status"] == "cannot" for _, result in found):
        return list(tuning[:1])
    if all(result is None or result["status"] == "failed" for _, result in found):  # other seeds would fail too
        return list(tuning[:1])
    scored = [(job, result["validation"]) for job, result in found if result is not None]
    scored = [(job, score) for job, score in scored if score is not None]
    best = max(scored, key=lambda pair: pair[1])[0].configuration if scored else 0
    return jobs_of(design, task, method, range(best, best + 1), design.seeds, zoos)


def _outcomes(task: StudyTask, method: Method, jobs: Sequence[Job], run: _Run) -> Iterator[Outcome]:
    """Yields the outcome on each held-out set."""
    results = [result for job in jobs if (result := read_result(run.results, job)) is not None]
    failures = [run.failures[job.name] for job in jobs if job.name in run.failures]
    for part in task.held_out:
        status, reason = "done", None
        refusals = [r["reason"] for r in (*results, *(r["held_out"].get(part.name, {}) for r in results)) if _cannot(r)]
        if refusals:
            status, reason = "cannot", str(refusals[0])
        elif broken := [result["reason"] for result in results if result["status"] == "failed"]:
            status, reason = "failed", broken[0]
        elif len(results) < len(jobs):
            status, reason = "failed", failures[0].reason if failures else "no result"
        yield Outcome(task, part, method, results, status, reason, jobs[0].configuration)


def _averages(design: Design, outcomes: Outcomes) -> Iterator[Outcome]:
    """Yields the outcomes of methods that average others."""
    for task in design.tasks:
        for method in design.methods:
            for part in task.held_out if method.parts else ():
                yield average_outcome(method, [outcomes.find(task.name, part.name, name) for name in method.parts])


def _cannot(entry: dict[str, Any]) -> bool:
    return entry.get("status") == "cannot"
