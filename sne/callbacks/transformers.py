"""The callback for the trainer of transformers."""

from typing import Any, final

from sne.callbacks.monitor import Monitor
from sne.callbacks.schedule import Schedule
from sne.errors import install_hint

try:
    from transformers import TrainerCallback
except ImportError:
    raise ImportError(f"TransformersCallback needs transformers; {install_hint('transformers')}") from None


@final
class TransformersCallback(TrainerCallback):
    """Logs predicted properties and health of the network that a `transformers.Trainer` trains.

    Use `TransformersCallback().add_to(trainer)`: values then go where the trainer's own values go, to the progress bar,
    to TensorBoard, Weights & Biases and others (`report_to`), and to `trainer.state.log_history`. With
    `Trainer(callbacks=[TransformersCallback()])`, which does not tell a callback its trainer, they go to the history
    alone. Only the first process reads the network.

    Args:
        every_n_steps: Number of optimiser steps between two readings; 0 for none.
        every_n_epochs: Number of epochs between two readings; 0 for none.
        monitor: What is read; None for `Monitor()`.

    Example:
        >>> TransformersCallback(every_n_steps=500, every_n_epochs=0).monitor.seconds
        0.0
    """

    def __init__(self, *, every_n_steps: int = 0, every_n_epochs: int = 1, monitor: Monitor | None = None) -> None:
        self._schedule = Schedule(every_n_steps, every_n_epochs)
        self.monitor = Monitor() if monitor is None else monitor
        self._trainer: Any = None

    def add_to(self, trainer: Any) -> "TransformersCallback":
        """Adds the callback to a trainer, and logs through it.

        Args:
            trainer: A `transformers.Trainer`.
        """
        self._trainer = trainer
        trainer.add_callback(self)
        return self

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Reads the network after the steps that are due."""
        if self._schedule.is_due(step=state.global_step):
            self._log(state, control, others["model"])

    def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Reads the network after the epochs that are due."""
        if self._schedule.is_due(step=state.global_step, epoch=round(state.epoch)):
            self._log(state, control, others["model"])

    def _log(self, state: Any, control: Any, model: Any) -> None:
        if not state.is_world_process_zero:
            return
        values = self.monitor.read(model)
        if not values:
            return
        if self._trainer is None:
            state.log_history.append({**values, "epoch": state.epoch, "step": state.global_step})
            return
        should_log = control.should_log
        self._trainer.log(values)
        control.should_log = should_log  # logging has withdrawn the trainer's own wish to log its loss at this step
