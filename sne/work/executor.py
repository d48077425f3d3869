"""The contract of all executors: a function is called once per item, and one bad item does not stop the others."""

import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from sne.errors import SneError

Item = TypeVar("Item")
Needs = Callable[[Any], Sequence[str]]
"""Maps an item to the names of the shared values that its call needs."""

ATTEMPTS = 3
"""Number of attempts at an item whose worker process dies."""


@dataclass(frozen=True)
class Failure:
    """The reason why an item has no result.

    Args:
        reason: The reason, in one line.
        trace: Traceback of an error that the function raised; empty if the worker process died.
        error: The error, if it is a user's mistake that is to be raised again as it is.
        is_lost: Whether the worker process died, at every attempt.
    """

    reason: str
    trace: str = ""
    error: SneError | None = None
    is_lost: bool = False

    @classmethod
    def lost(cls, attempts: int, cause: str) -> "Failure":
        """Returns the failure of an item whose worker process died at every attempt."""
        return cls(f"lost {attempts} times with its {cause}", is_lost=True)


@dataclass(frozen=True)
class Answer(Generic[Item]):
    """The answer to one item: a result or a failure.

    Args:
        index: Position of the item, from 0.
        item: The item.
        result: Return value of the function; None if it failed.
        failure: The reason for the failure; None if there is a result.
    """

    index: int
    item: Item
    result: Any = None
    failure: Failure | None = None


@runtime_checkable
class Executor(Protocol):
    """Calls a function for many items, several at a time."""

    @property
    def shares_disk(self) -> bool:
        """Whether the function sees the files of this machine."""
        ...

    def run(
        self,
        function: Callable[..., Any],
        items: Iterable[Item],
        *,
        shared: Mapping[str, Any] | None = None,
        needs: Needs | None = None,
    ) -> Generator[Answer[Item], None, None]:
        """Calls the function once per item, in any order; see `in_order`.

        An item whose worker process dies is tried again after the items that wait, up to `ATTEMPTS` times. Items are
        read from the iterable as they are needed, a few ahead of the answers. Closing the generator, an error and
        Ctrl-C end all calls in flight at once.

        Args:
            function: Called as `function(item, *shared_values)`. It has to be a function of a module, or a partial of
                one, so that other processes can import it. An exception in it becomes a `Failure`.
            items: The items. They travel to the workers, as do the results back, by pickle.
            shared: Values that many calls need. Each travels once per worker or node.
            needs: Gives the names of the shared values of an item, in the order of the arguments. By default, each
                call is given all of them.

        Yields:
            One answer per item, as soon as it is known.

        Raises:
            WorkError: No worker can be started or reached.
        """
        ...


@dataclass(frozen=True)
class InThisProcess:
    """An `Executor` that calls the function in this process, with its threads as they are.

    Example:
        >>> [answer.result for answer in InThisProcess().run(len, ["one", "three"])]
        [3, 5]
    """

    shares_disk = True

    def run(
        self,
        function: Callable[..., Any],
        items: Iterable[Item],
        *,
        shared: Mapping[str, Any] | None = None,
        needs: Needs | None = None,
    ) -> Generator[Answer[Item], None, None]:
        """Calls the function once per item, in the order of the items; see `Executor.run`."""
        values = shared or {}
        for index, item in enumerate(items):
            names = values if needs is None else needs(item)
            yield Answer(index, item, *attempt(function, item, *(values[name] for name in names)))


def in_order(answers: Generator[Answer[Item], None, None]) -> Generator[Answer[Item], None, None]:
    """Yields answers in the order of their items. An answer is held back until all earlier ones are known.

    Args:
        answers: The answers of `Executor.run`. Closing this iterator closes them.

    Example:
        >>> lengths = InThisProcess().run(len, ["one", "three"])
        >>> [answer.index for answer in in_order(lengths)]
        [0, 1]
    """
    early: dict[int, Answer[Item]] = {}
    following = 0
    with closing(answers):
        for answer in answers:
            early[answer.index] = answer
            while following in early:
                yield early.pop(following)
                following += 1


def attempt(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Failure | None]:
    """Calls a function. Returns its result and None, or None and the failure."""
    try:
        return function(*arguments), None
    except Exception as error:
        reason = " ".join(str(error).split())
        user_error = error if isinstance(error, SneError) else None
        return None, Failure(f"{type(error).__name__}: {reason}", traceback.format_exc(), user_error)


def use_one_thread() -> None:
    """Limits the numerical libraries to one thread: one worker runs per core."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
