"""What an executor is."""

from collections.abc import Generator, Iterable
from typing import Protocol, runtime_checkable

from sne.making.executors.work import Finished, Job, WorkUnit

LOSSES = 3
"""How often a work unit may be lost with the process that worked on it before the zoo is given up."""


@runtime_checkable
class Executor(Protocol):
    """Does work units somewhere, several at a time, and brings back what is finished in any order."""

    def train(self, job: Job, work: Iterable[WorkUnit]) -> Generator[Finished, None, None]:
        """Trains networks.

        No more work is taken from `work` than is done or in flight. A network is brought back once. Closing the
        iterator, or an error, ends everything in flight.

        Args:
            job: what all of them share.
            work: which networks.

        Raises:
            ZooError: a network cannot be trained as asked, was lost `LOSSES` times with its process, or there is
                nothing to train on.
        """
        ...
