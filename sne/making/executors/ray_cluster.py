"""The machines of a Ray cluster, one core a work unit."""

from collections.abc import Generator, Iterable
from typing import Any

from sne.errors import ZooError
from sne.making.executors.executor import LOSSES
from sne.making.executors.ray_connection import RayConnection, import_ray
from sne.making.executors.ray_tasks import Lost, RayTasks
from sne.making.executors.work import Failure, Finished, Job, WorkUnit, do_work


class RayCluster:
    """An `Executor` on a Ray cluster; scheduling is Ray's.

    Recipe and images travel to the nodes through Ray's object store and what is finished travels back: the nodes
    share no disk, but have the same version of `sne`. A work unit that is lost with its node is done again.

    Args:
        address: "auto", HOST:PORT or "local", see `RayConnection`.
        workers: cores of a "local" cluster.
        patience: seconds in which a cluster has to answer.

    Raises:
        ZooError: as `RayConnection`.
    """

    def __init__(self, address: str, *, workers: int = 2, patience: float = 30.0) -> None:
        self._connection = RayConnection(address, workers=workers, patience=patience)

    def train(self, job: Job, work: Iterable[WorkUnit]) -> Generator[Finished, None, None]:
        """Trains networks, see `Executor.train`."""
        described = job.to_bytes()
        with self._connection.open(len(described)) as ray:
            stored = ray.put(described)
            tasks: RayTasks[WorkUnit] = RayTasks(
                ray, _work_remotely, arguments=lambda units: ([stored], units), name=lambda units: units[0].run
            )
            for units, answers in tasks.run(work):
                if isinstance(answers, Lost):
                    raise ZooError(
                        f"{units[0].run} was lost {LOSSES} times with its Ray worker, perhaps out of memory; "
                        "what is finished is kept, the same call goes on"
                    )
                for answer in answers:
                    if isinstance(answer, Failure):
                        raise answer.error()
                    yield answer


_jobs: dict[str, Job] = {}  # of a Ray worker process, which does many tasks


def _work_remotely(job: list[Any], work: WorkUnit) -> list[Finished | Failure]:
    ray = import_ray()
    key = job[0].hex()
    if key not in _jobs:
        _jobs.clear()
        _jobs[key] = Job.from_bytes(ray.get(job[0]))
    return list(do_work(_jobs[key], work))
