"""Jobs on the machines of a Ray cluster, one core each."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sne.lab.studies.jobs import Job
from sne.lab.studies.processes import Done, Failure, guarded, use_one_thread
from sne.lab.studies.working import run_job, write_result
from sne.lab.studies.zoos import ZooShelf
from sne.making.executors.executor import LOSSES
from sne.making.executors.ray_connection import RayConnection, import_ray
from sne.making.executors.ray_tasks import Lost, RayTasks

Files = dict[str, bytes]


def do_jobs_on_ray(jobs: Sequence[Job], shelf: ZooShelf, results: Path, *, address: str, workers: int) -> Done:
    """Does jobs in whatever order they end.

    Zoos travel to the nodes through Ray's object store and results travel back: the nodes share no disk, but have the
    same version of `sne`. A job that is lost with its node is done again.

    Args:
        jobs: what to do.
        shelf: where the zoos are.
        results: folder of the results.
        address: of the cluster, see `sne.making.executors.RayCluster`.
        workers: cores of a "local" cluster.

    Yields:
        Each job, with why it failed or None.

    Raises:
        ZooError: Ray is not installed, or the cluster cannot be reached.
    """
    paths = dict.fromkeys(path for job in jobs for path in shelf.paths(job.task))
    packed = {path: _pack(path) for path in paths}
    with RayConnection(address, workers=workers).open(sum(map(_size, packed.values()))) as ray:
        stored = {path: ray.put(packed.pop(path)) for path in paths}

        def arguments(job: Job) -> tuple[Job, dict[str, list[Any]]]:
            return job, {str(path.relative_to(shelf.folder)): [stored[path]] for path in shelf.paths(job.task)}

        tasks: RayTasks[Job] = RayTasks(ray, _do_remotely, arguments=arguments, name=lambda job: job.name)
        for job, answer in tasks.run(jobs):
            if isinstance(answer, Lost):
                yield job, Failure(f"its Ray worker was lost, {LOSSES} times; perhaps out of memory")
            elif isinstance(answer, Failure):
                yield job, answer
            else:
                write_result(results, job, answer)
                yield job, None


def _do_remotely(job: Job, parcels: dict[str, list[Any]]) -> dict[str, Any] | Failure:
    """Does a job on a node: unpacks the zoos, and hands back what would have been written."""
    use_one_thread()
    ray = import_ray()
    found: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="sne-study-") as folder:
        for name, stored in parcels.items():
            _unpack(ray.get(stored[0]), Path(folder) / name)
        failure = guarded(lambda job: found.append(run_job(job, ZooShelf(folder))), job)
    return failure or found[0]


def _pack(folder: Path) -> Files:
    """The files of a zoo by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _unpack(files: Files, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _size(files: Files) -> int:
    return sum(map(len, files.values()))
