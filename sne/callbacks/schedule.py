"""When a network in training is read: every so many steps, and every so many epochs."""

from typing import final

from sne.errors import PredictorError


@final
class Schedule:
    """Decides when to read; at most once per step.

    Args:
        every_n_steps: Number of optimiser steps between two readings; 0 for none.
        every_n_epochs: Number of epochs between two readings; 0 for none.

    Raises:
        PredictorError: A number is negative, or both are 0.

    Example:
        >>> schedule = Schedule(every_n_steps=10, every_n_epochs=1)
        >>> [schedule.is_due(step=step) for step in (10, 10, 11)], schedule.is_due(step=12, epoch=1)
        ([True, False, False], True)
    """

    def __init__(self, every_n_steps: int = 0, every_n_epochs: int = 1) -> None:
        if min(every_n_steps, every_n_epochs) < 0 or not every_n_steps + every_n_epochs:
            raise PredictorError(
                f"every_n_steps is {every_n_steps} and every_n_epochs {every_n_epochs}, expected a number above 0"
            )
        self._steps, self._epochs, self._last = every_n_steps, every_n_epochs, -1

    def is_due(self, *, step: int, epoch: int | None = None) -> bool:
        """Whether to read now; if so, that is noted.

        Args:
            step: Number of optimiser steps that were made.
            epoch: Number of epochs that are finished, at the end of one; None between.
        """
        every, count = (self._steps, step) if epoch is None else (self._epochs, epoch)
        if not every or not count or count % every or step == self._last:
            return False
        self._last = step
        return True
