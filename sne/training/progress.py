"""Progress bars of a training run, on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """Draws one bar for reading networks, one per expert and fold, and one for what is learned besides.

    Args:
        bars: Where to draw; None draws nothing.
    """

    def __init__(self, bars: Progress | None):
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        """Draws `done` of `total` steps of a task; its bar appears at the first update."""
        if self._bars is None:
            return
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(task, total=total, note="")
        self._bars.update(self._tasks[task], completed=done, total=total, note=note)

    def reporter(self, task: str) -> Callable[[int, int, str], None]:
        """Returns a function that draws one task, called with steps done, number of steps, and a note."""
        return partial(self.update, task)


@contextmanager
def training_progress(show: bool | None) -> Iterator[TrainingProgress]:
    """Draws bars while the block of code runs.

    Args:
        show: Whether to draw; None: where stderr is a terminal.
    """
    if show is None:
        show = sys.stderr.isatty()
    if not show:
        yield TrainingProgress(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield TrainingProgress(bars)
