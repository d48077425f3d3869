"""What the commands of `sne zoo` say while they work and when the disk fails."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def disk_errors() -> Iterator[None]:
    """A full or failing disk is told as a zoo's other troubles are."""
    from sne.zoo import ZooError

    try:
        yield
    except OSError as error:
        raise ZooError(f"{error.filename or 'the zoo'}: {error.strerror or error}") from None


@contextmanager
def zoo_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; a line every tenth where stderr is not a terminal."""
    if not sys.stderr.isatty():
        said = [-1]

        def say(done: int, total: int) -> None:
            if total and done * 10 // total > said[0]:
                said[0] = done * 10 // total
                print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
