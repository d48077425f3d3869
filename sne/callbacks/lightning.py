"""The callback for Lightning."""

import sys
from typing import Any, final

from torch import nn

from sne.callbacks.monitor import Monitor, why_unread
from sne.callbacks.schedule import Schedule
from sne.errors import install_hint

try:
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        from pytorch_lightning import Callback  # the older of the two packages, which does not know the other's classes
    else:
        from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError:
        raise ImportError(f"LightningCallback needs Lightning; {install_hint('lightning')}") from None


@final
class LightningCallback(Callback):  # type: ignore[misc] (one of two packages)
    """Logs predicted properties and health of the network that a Lightning trainer trains.

    Values go where `self.log` goes: to the loggers, and to `trainer.callback_metrics`, where `ModelCheckpoint` and
    `EarlyStopping` find them under names such as "sne/test_accuracy". Only the first process reads the network.

    Args:
        every_n_steps: Number of optimiser steps between two readings; 0 for none.
        every_n_epochs: Number of epochs between two readings; 0 for none.
        monitor: What is read; None for `Monitor()`.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[LightningCallback(every_n_steps=100)], logger=False, accelerator="cpu")
        >>> any(isinstance(callback, LightningCallback) for callback in trainer.callbacks)
        True
    """

    def __init__(self, *, every_n_steps: int = 0, every_n_epochs: int = 1, monitor: Monitor | None = None) -> None:
        super().__init__()
        self._schedule = Schedule(every_n_steps, every_n_epochs)
        self.monitor = Monitor() if monitor is None else monitor

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Reads the network after the steps that are due."""
        if self._schedule.is_due(step=trainer.global_step):
            self._log(trainer, pl_module, on_step=True)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Reads the network after the epochs that are due."""
        if self._schedule.is_due(step=trainer.global_step, epoch=trainer.current_epoch + 1):
            self._log(trainer, pl_module, on_step=False)

    def _log(self, trainer: Any, pl_module: Any, *, on_step: bool) -> None:
        if not trainer.is_global_zero:
            return
        outer = getattr(trainer.strategy, "model", None)  # shows whether weights are cut over processes
        read = outer if isinstance(outer, nn.Module) and why_unread(outer) is not None else pl_module
        values = self.monitor.read(read)
        pl_module.log_dict(values, on_step=on_step, on_epoch=not on_step, rank_zero_only=True, batch_size=1)
