"""What long commands print on stderr while they work, and when they are stopped."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def stopped_by_user(out: Path, *, option: str = "") -> Iterator[None]:
    """Handles Ctrl-C in a command that can be resumed: says so, if work is kept, and exits with status 130.

    Args:
        out: Folder with the finished work.
        option: Option to add to the command to continue; empty if the same command does.
    """
    try:
        yield
    except KeyboardInterrupt:
        command = f"the same command with {option}" if option else "the same command"
        kept = f"; finished work is kept in {out}, and {command} continues it" if out.exists() else ""
        print(f"sne: stopped{kept}", file=sys.stderr)
        sys.exit(130)


@contextmanager
def zoo_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function that shows number, rate and time left on stderr.

    It draws a bar, or prints a line for every tenth of the work if stderr is not a terminal.

    Args:
        what: Plural noun for the units of work.

    Yields:
        A function of the number of units done and the number of all.
    """
    if not sys.stderr.isatty():
        pace, said = Pace(), [-1]

        def say(done: int, total: int) -> None:
            pace.note(done, total)
            if total and done * 10 // total > said[0]:
                said[0] = done * 10 // total
                print(f"{what}: {done}/{total}{pace.text}", file=sys.stderr, flush=True)

        yield say
        return
    with _bar(what) as show:
        yield show


@contextmanager
def file_progress() -> Iterator[Callable[[int, int], None]]:
    """Gives a function that draws a bar on stderr for commands that read files, if stderr is a terminal.

    The bar appears after a second, so that it does not slow down commands with few files.

    Yields:
        A function of the number of files done and the number of all.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        bars: list[Callable[[int, int], None]] = []

        def show(done: int, total: int) -> None:
            if not bars and sys.stderr.isatty() and time.monotonic() - started > 1 and done < total:
                bars.append(stack.enter_context(_bar("files")))
            for bar in bars:
                bar(done, total)

        yield show


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Draws a bar on stderr, with rate and time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    pace = Pace()
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int) -> None:
            pace.note(done, total)
            bar.update(task, completed=done, total=total, description=pace.text)

        yield show


class Pace:
    """The rate of work and the time left, computed from the first note on.

    Args:
        clock: Function that returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, int] | None = None
        self.text = ""

    def note(self, done: int, total: int) -> None:
        """Updates the text. Work done before the first note does not count."""
        now = self._clock()
        if self._first is None:
            self._first = now, done
        seconds, since = now - self._first[0], done - self._first[1]
        if since <= 0 or seconds <= 0:
            self.text = ""
            return
        rate = since / seconds
        shown = f"{60 * rate:.3g}/min" if rate < 1 else f"{rate:.3g}/s" if rate < 100 else f"{rate:,.0f}/s"
        ending = f"{_duration((total - done) / rate)} left" if done < total else f"in {_duration(seconds)}"
        self.text = f", {shown}, {ending}"


def _duration(seconds: float) -> str:
    """A duration in at most two units: 5 s, 3 min 20 s, 2 h 5 min, 1 d 4 h."""
    whole = round(seconds)
    for large, small, size in (("d", "h", 86400), ("h", "min", 3600), ("min", "s", 60)):
        if whole >= size:
            unit = {"h": 3600, "min": 60, "s": 1}[small]
            rest = whole % size // unit
            return f"{whole // size} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"
