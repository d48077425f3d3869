"""Running a study: zoos, then jobs, then the report; stopped at any moment, the same call goes on."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sne.errors import StudyError
from sne.lab.studies.averages import average_outcome
from sne.lab.studies.jobs import Job, jobs_of, read_result
from sne.lab.studies.methods import Method
from sne.lab.studies.outcomes import Outcome, Outcomes
from sne.lab.studies.processes import Done, Failure, do_jobs
from sne.lab.studies.ray_jobs import do_jobs_on_ray
from sne.lab.studies.study import Design, Study, StudyTask
from sne.lab.studies.working import do_job
from sne.lab.studies.zoos import ZooShelf
from sne.making.executors import Executor, ProcessPool, RayCluster

Progress = Callable[[str, int, int], None]
JOBS = "jobs"


@dataclass(frozen=True)
class Finished:
    """A study that was run.

    Args:
        study: which.
        scale: at which scale.
        design: as it was run.
        outcomes: of every method, task and held-out set.
        tried: results of all configurations, also of those that were not chosen.
        failures: why a job has no result, by its name.
        seconds: wall time of this call; what was finished before it is not in it.
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
    """What jobs need while a study runs."""

    design: Design
    shelf: ZooShelf
    results: Path
    workers: int
    ray: str | None
    progress: Progress | None
    failures: dict[str, Failure] = field(default_factory=dict)

    def do(self, stage: str, jobs: Sequence[Job]) -> None:
        """Does the jobs that have no result yet."""
        waiting = [job for job in jobs if read_result(self.results, job) is None]
        done = len(jobs) - len(waiting)
        self.say(stage, done, len(jobs))
        for job, failure in self._doing(waiting) if waiting else ():
            done += 1
            if failure:
                self.failures[job.name] = failure
            self.say(stage, done, len(jobs))

    def _doing(self, jobs: Sequence[Job]) -> Done:
        if self.ray is not None:
            return do_jobs_on_ray(jobs, self.shelf, self.results, address=self.ray, workers=max(self.workers, 1))
        work = partial(do_job, shelf=self.shelf.folder, results=self.results)
        return do_jobs(jobs, work, workers=self.workers)

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
    """Runs a study. Interrupted, the same call goes on: zoos and jobs that are finished are not done again.

    A configuration is chosen by its validation score with the first seed; held-out networks are read once a job and
    choose nothing.

    Args:
        study: which.
        scale: one of `SCALES`.
        out: folder of the results of jobs.
        zoos: folder of the zoos, which studies may share; None: `zoos` in `out`.
        images: folder of .npz files; None: what SNE_IMAGES names.
        workers: processes of one thread each; 0 does all jobs in this process.
        ray: do the work on a Ray cluster in place of processes of this machine: its address, see
            `sne.making.executors.RayCluster`.
        seeds: in place of the design's.
        methods: in place of the design's.
        progress: called with what is being done, how much of it is done, and how much there is.

    Returns:
        What was found. Jobs that failed are named in it, the others are done all the same.

    Raises:
        StudyError: the scale is unknown, images are missing, or a Ray cluster shall do what is declared for a GPU.
        ZooError: a zoo cannot be made, or the Ray cluster cannot be reached.
    """
    start, out = time.perf_counter(), Path(out)
    design = study.design(scale)
    changes: dict[str, Any] = {"seeds": tuple(seeds or design.seeds), "methods": tuple(methods or design.methods)}
    design = dataclasses.replace(design, **changes)
    if ray is not None and any(device != "cpu" for device in (design.device, *(zoo.device for zoo in design.zoos))):
        raise StudyError(f"a Ray cluster trains on CPUs alone; {study.name} at scale {scale} is declared for a GPU")
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


def _make_zoos(run: _Run, images: Path | None) -> dict[str, str]:
    """Makes what is missing; returns the digest of every zoo."""
    workers = max(run.workers, 1)
    executor: Executor = ProcessPool(workers) if run.ray is None else RayCluster(run.ray, workers=workers)
    for need in run.design.zoos:
        say = None if run.progress is None else partial(run.progress, f"zoo {need.name}")
        run.shelf.make(need, images=images, executor=executor, progress=say)
    for names in dict.fromkeys(task.train for task in run.design.tasks):
        run.shelf.join(names)
    return {need.name: run.shelf.digest(need.name) for need in run.design.zoos}


def _tuning_jobs(design: Design, task: StudyTask, method: Method, zoos: Mapping[str, str]) -> list[Job]:
    count = min(design.configurations, len(method.grid))
    return jobs_of(design, task, method, range(count), design.seeds[:1], zoos)


def _chosen_jobs(
    run: _Run, task: StudyTask, method: Method, zoos: Mapping[str, str], tuning: Sequence[Job]
) -> list[Job]:
    """The jobs of the configuration that validation chose, one a seed."""
    design, found = run.design, [(job, read_result(run.results, job)) for job in tuning]
    if any(result is not None and result["status"] == "cannot" for _, result in found):
        return list(tuning[:1])
    if all(result is None or result["status"] == "failed" for _, result in found):  # other seeds would not help
        return list(tuning[:1])
    scored = [(job, result["validation"]) for job, result in found if result is not None]
    scored = [(job, score) for job, score in scored if score is not None]
    best = max(scored, key=lambda pair: pair[1])[0].configuration if scored else 0
    return jobs_of(design, task, method, range(best, best + 1), design.seeds, zoos)


def _outcomes(task: StudyTask, method: Method, jobs: Sequence[Job], run: _Run) -> Iterator[Outcome]:
    """One for each held-out set."""
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
    """Those of methods that average others."""
    for task in design.tasks:
        for method in design.methods:
            for part in task.held_out if method.parts else ():
                yield average_outcome(method, [outcomes.find(task.name, part.name, name) for name in method.parts])


def _cannot(entry: dict[str, Any]) -> bool:
    return entry.get("status") == "cannot"
