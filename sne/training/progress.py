"""The progress bar of a training run, on stderr; silent where stderr is no terminal unless asked for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """Bars for reading networks and for each member's epochs.

    Args:
        bars: where to draw; None draws nothing.
    """

    def __init__(self, bars: Progress | None):
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def update(self, task: str, done: int, total: int, note: str = "") -> None:
        """Draws `done` of `total` of a task, which appears at its first update."""
        if self._bars is None:
            return
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(task, total=total, note="")
        self._bars.update(self._tasks[task], completed=done, total=total, note=note)


@contextmanager
def training_progress(show: bool | None) -> Iterator[TrainingProgress]:
    """Draws while the block runs.

    Args:
        show: whether to draw; None: where stderr is a terminal.
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
