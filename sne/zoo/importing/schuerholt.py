"""Importing the model zoos of Schuerholt et al. in their published layout."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from sne.errors import ZooError
from sne.symmetry.by_name.known import Known
from sne.zoo.importing.contract import Checkpoint, Found, Tell, split_in
from sne.zoo.importing.tables import plain_values, read_json_object
from sne.zoo.importing.weights import SymmetriesByName, read_weights
from sne.zoo.store.columns import RESERVED, Value, some

_CHECKPOINT = re.compile(r"checkpoint_(\d+)")
_DEEPEST = 4  # folders between the source and a network: data set, zoo, hyper-parameters
_FAMILIES = {"CNN": "cnn_s", "CNN2": "cnn_m", "CNN3": "cnn_l"}
_PLAIN = ("MLP", "CNN", "CNN2", "CNN3")
_ACTIVATIONS = {"leakyrelu": "leaky_relu", **{name: name for name in ("relu", "tanh", "sigmoid", "silu", "gelu")}}
_NAMES = {
    "train_acc": "train_accuracy", "test_acc": "test_accuracy", "val_acc": "val_accuracy",
    "validation_acc": "val_accuracy", "validation_loss": "val_loss", "time_total_s": "wall_time",
}  # fmt: skip
_MEASURED = {"train_accuracy", "train_loss", "test_accuracy", "test_loss", "val_accuracy", "val_loss"}
_NOT_MEASURED = -999.0  # written by the authors for training values before the first epoch
_BOOKKEEPING = {
    "config", "date", "done", "episodes_total", "experiment_id", "experiment_tag", "hostname", "node_ip", "pid",
    "iterations_since_restore", "time_since_restore", "time_this_iter_s", "timestamp", "timesteps_since_restore",
    "timesteps_total", "training_iteration", "trial_id", "warmup_time",
}  # fmt: skip


def find_schuerholt(source: Path, dataset: str | None, tell: Tell) -> Found:
    """Finds folders of Ray Tune trials, one network per folder, in the source or below it; one row per checkpoint.

    The folder of a trial holds `params.json`; `result.json`, one JSON line per epoch, with `training_iteration`,
    `train_loss`, `train_acc`, `test_loss`, `test_acc`; and folders `checkpoint_50` or `checkpoint_000050`, each
    with the state dict `checkpoints` (and an `optimizer`, which is not read). A trial is a run, and an epoch is a step.
    Lines are found by `training_iteration`, so that epochs without a checkpoint, an untrained network with or without
    a line, and lines that a killed trial left incomplete do no harm. A checkpoint whose epoch has no line is kept
    without properties, and reported. The data set is named after the source folder unless `dataset` is given.

    Source: Schuerholt et al., "Model Zoos: A Dataset of Diverse Populations of Neural Network Models", arXiv
        2209.14764; the layout as github.com/ModelZoos/ModelZooDataset writes and reads it (`def_NN_experiment.py`,
        `dataset_base.py`).
    Differs: `*_acc` is called `*_accuracy`; the generalisation gap is train minus test accuracy; -999, written for
        training values before the first epoch, is missing; Ray's own bookkeeping is left out.
    """
    if not source.is_dir():
        raise ZooError(f"{source}: no such folder")
    items = [(run, step, path) for run in _runs(source) for step, path in _checkpoints(run)]
    if not items:
        raise ZooError(f"{source}: no folder with params.json, result.json and checkpoint_000050/checkpoints")

    @lru_cache(maxsize=1)  # the checkpoints of a run follow each other
    def trial(run: Path) -> _Trial:
        read = _Trial.read(run, tell)
        # the untrained network is not measured in every zoo
        unmeasured = [step for step, _ in _checkpoints(run) if step > 0 and step not in read.lines]
        if unmeasured:
            steps = some(map(str, unmeasured), 5)
            tell(f"{run / 'result.json'} has no line for epoch {steps}; kept without properties")
        return read

    symmetries = SymmetriesByName(tell)

    def read(run: Path, step: int, path: Path) -> Checkpoint:
        trained = trial(run)
        name = run.relative_to(source).as_posix() if run != source else source.resolve().name
        return Checkpoint(
            id=f"{name}@{step}",
            run=name,
            family=trained.family,
            dataset=dataset or source.resolve().name,
            step=step,
            weights=read_weights(path / "checkpoints", symmetries, trained.known),
            properties=trained.lines.get(step, {}),
            hyperparameters=trained.hyperparameters,
        )

    return Found([partial(read, *item) for item in items], split_in(source))


@dataclass(frozen=True)
class _Trial:
    """One training run: its settings, and the values measured at each epoch."""

    hyperparameters: Mapping[str, Value]
    lines: Mapping[int, Mapping[str, Value]]

    @classmethod
    def read(cls, run: Path, tell: Tell) -> "_Trial":
        params, result = run / "params.json", run / "result.json"
        if not params.is_file():
            tell(f"{params}: no such file; kept without hyper-parameters")
        hyperparameters = plain_values(read_json_object(params)) if params.is_file() else {}
        return cls(hyperparameters, dict(_lines(result, tell)) if result.is_file() else {})

    @property
    def family(self) -> str:
        kind = self.hyperparameters.get("model::type")
        return _FAMILIES.get(str(kind), str(kind).lower()) if kind else "unknown"

    @property
    def known(self) -> Known:
        """Statements for symmetries: all types but the residual one are layers in sequence with one activation."""
        if self.hyperparameters.get("model::type") not in _PLAIN:
            return Known()
        return Known(activation=_ACTIVATIONS.get(str(self.hyperparameters.get("model::nlin"))), is_sequential=True)


def _runs(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Yields the folders of single networks, sorted by name."""
    below = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if any((folder / name).is_file() for name in ("params.json", "result.json")):
        yield folder
    elif any(_CHECKPOINT.fullmatch(entry.name) for entry in below):
        yield folder
    elif depth < _DEEPEST:
        for entry in below:
            yield from _runs(entry, depth + 1)


def _checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Returns the epochs and folders of the checkpoints of a run, sorted by epoch."""
    matches = ((_CHECKPOINT.fullmatch(entry.name), entry) for entry in run.iterdir() if entry.is_dir())
    return sorted((int(match[1]), entry) for match, entry in matches if match)


def _lines(path: Path, tell: Tell) -> Iterator[tuple[int, dict[str, Value]]]:
    """Yields epoch and properties of each line of a result.json; a later line of an epoch replaces the earlier."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror or error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            yield int(values["training_iteration"]), _properties(values)
        except (ValueError, KeyError, TypeError, RecursionError):
            where = "the last line" if number == len(lines) else f"line {number}"
            tell(f"{path}: {where} is incomplete or has no training_iteration; left out")


def _properties(values: Mapping[str, Any]) -> dict[str, Value]:
    flat = plain_values({name: value for name, value in values.items() if name not in _BOOKKEEPING})
    properties = {f"result.{n}" if n in RESERVED else _NAMES.get(n, n): value for n, value in flat.items()}
    for name in _MEASURED & set(properties):
        if properties[name] == _NOT_MEASURED:
            properties[name] = None
    train, test = properties.get("train_accuracy"), properties.get("test_accuracy")
    if isinstance(train, int | float) and isinstance(test, int | float):
        properties["generalization_gap"] = train - test
    return properties
