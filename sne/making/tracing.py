"""The symmetry of a trained network, found in its module while that is at hand."""

import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sne.making.families import Family
from sne.making.tasks import Task
from sne.symmetry import Symmetry, SymmetryError, trace

_OF_TRAINING = (
    "optimizer", "learning_rate", "weight_decay", "batch_size", "train_fraction", "dropout", "init", "init_std",
)  # fmt: skip
"""Hyper-parameters that decide nothing about a module in evaluation mode but its weights."""

_MOST_KNOWN = 4096

_known: dict[object, Symmetry | None] = {}


def symmetry_of_module(
    module: nn.Module, family: Family, hyperparameters: Mapping[str, Any], task: Task
) -> Symmetry | None:
    """Which changes of a network's weights leave what it computes alone; None where its module cannot be traced.

    Tracing takes a tenth of a second or two, so networks that differ in their training alone are traced once by each
    process.

    Args:
        module: the network; its weights do not matter.
        family: its family.
        hyperparameters: which decide, with the family and the task's inputs, what the module computes.
        task: for inputs of the right shape.
    """
    inputs, _ = task.batch(torch.arange(min(2, task.num_examples)))
    free = {*_OF_TRAINING, *family.labels}
    drawn = sorted((name, repr(value)) for name, value in hyperparameters.items() if name not in free)
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in module.state_dict().items())
    key = family.name, type(module), str(drawn), shapes, tuple(inputs.shape)
    if key not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _keep_locks_in_the_process()
        try:
            _known[key] = trace(module, (inputs,))
        except SymmetryError:
            _known[key] = None
    return _known[key]


def _keep_locks_in_the_process() -> None:
    """Gives tqdm, with which torch.export draws, a lock of this process.

    Its own is a semaphore of the system: a worker that is killed would leave it behind, with a warning on stderr.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        return
    if not hasattr(tqdm, "_lock"):
        tqdm.set_lock(threading.RLock())
