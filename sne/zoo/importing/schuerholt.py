"""Importing the model zoos of Schuerholt et al. in their published layout."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sne.zoo.errors import ZooError
from sne.zoo.importing.rows import Checkpoint, import_each, split_in
from sne.zoo.importing.values import plain_values, read_json_object
from sne.zoo.importing.weights import read_state
from sne.zoo.store.writing import RESERVED, Value
from sne.zoo.store.zoo import Zoo

_CHECKPOINT = re.compile(r"checkpoint_(\d+)")
_DEEPEST = 4  # folders between the source and a network: data set, zoo, hyper-parameters
_FAMILIES = {"CNN": "cnn_s", "CNN2": "cnn_m", "CNN3": "cnn_l"}
_NAMES = {
    "train_acc": "train_accuracy", "test_acc": "test_accuracy", "val_acc": "val_accuracy",
    "validation_acc": "val_accuracy", "validation_loss": "val_loss", "time_total_s": "wall_time",
}  # fmt: skip
_MEASURED = {"train_accuracy", "train_loss", "test_accuracy", "test_loss", "val_accuracy", "val_loss"}
_NOT_MEASURED = -999.0  # what the authors write for the training before the first epoch
_BOOKKEEPING = {
    "config", "date", "done", "episodes_total", "experiment_id", "experiment_tag", "hostname", "node_ip", "pid",
    "iterations_since_restore", "time_since_restore", "time_this_iter_s", "timestamp", "timesteps_since_restore",
    "timesteps_total", "training_iteration", "trial_id", "warmup_time",
}  # fmt: skip


def import_schuerholt(
    source: Path | str,
    out: Path | str,
    *,
    dataset: str | None = None,
    skip_bad: bool = False,
    storage: str = "float32",
    report: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Zoo:
    """Imports folders of Ray Tune trials, one a network: one row a checkpoint.

    A trial's folder holds `params.json`; `result.json`, one JSON line an epoch, with `training_iteration`,
    `train_loss`, `train_acc`, `test_loss`, `test_acc`; and folders `checkpoint_50` or `checkpoint_000050`, each
    with the state dict `checkpoints` (and an `optimizer`, which is not read). A run is a trial, its step an epoch.
    Lines are found by `training_iteration`, so epochs without a checkpoint, zoos that do and that do not measure
    the untrained network, and lines that a killed trial left half-written do no harm. A checkpoint
    whose epoch was not measured is kept, its properties missing, and told.

    Source: Schuerholt et al., "Model Zoos: A Dataset of Diverse Populations of Neural Network Models", arXiv
        2209.14764; the layout as github.com/ModelZoos/ModelZooDataset writes and reads it (`def_NN_experiment.py`,
        `dataset_base.py`).
    Differs: `*_acc` is called `*_accuracy`; the generalisation gap is train minus test accuracy; -999, written
        for the training before the first epoch, is missing; what Ray adds for itself is left out.

    Args:
        source: a folder with such folders in it or below, or one of them.
        out: the new zoo's folder.
        dataset: what the networks were trained on; by default the name of the source folder.
        skip_bad: leave out checkpoints that cannot be read, in place of an error.
        storage: as `ZooWriter` takes it.
        report: called with one line for each checkpoint that cannot be imported, and for what is missing.
        progress: called with checkpoints done and checkpoints in all.

    Raises:
        ZooError: there are no such folders, or a checkpoint cannot be imported; no zoo is written then.
    """
    source = Path(source)
    if not source.is_dir():
        raise ZooError(f"{source}: no such folder")
    tell = report or (lambda line: None)
    items = [(run, step, path) for run in _runs(source) for step, path in _checkpoints(run)]
    if not items:
        raise ZooError(f"{source}: no folder with params.json, result.json and checkpoint_000050/checkpoints in it")

    @lru_cache(maxsize=1)  # the checkpoints of a run follow each other
    def trial(run: Path) -> _Trial:
        read = _Trial.read(run, tell)
        # the untrained network is not measured in every zoo
        unmeasured = [step for step, _ in _checkpoints(run) if step > 0 and step not in read.lines]
        if unmeasured:
            steps = ", ".join(map(str, unmeasured[:5])) + (", ..." if len(unmeasured) > 5 else "")
            tell(f"{run / 'result.json'} has no line of epoch {steps}; kept without properties")
        return read

    def read(item: tuple[Path, int, Path]) -> Checkpoint:
        run, step, path = item
        known = trial(run)
        name = run.relative_to(source).as_posix() if run != source else source.resolve().name
        return Checkpoint(
            id=f"{name}@{step}",
            run=name,
            family=known.family,
            dataset=dataset or source.resolve().name,
            step=step,
            state=read_state(path / "checkpoints"),
            properties=known.lines.get(step, {}),
            hyperparameters=known.hyperparameters,
        )

    return import_each(
        items,
        read,
        out,
        source=source,
        storage=storage,
        split=split_in(source),
        skip_bad=skip_bad,
        report=report,
        progress=progress,
    )


@dataclass(frozen=True)
class _Trial:
    """What is known of one training run: its settings, and what was measured at each epoch."""

    hyperparameters: Mapping[str, Value]
    lines: Mapping[int, Mapping[str, Value]]

    @classmethod
    def read(cls, run: Path, tell: Callable[[str], None]) -> "_Trial":
        params, result = run / "params.json", run / "result.json"
        if not params.is_file():
            tell(f"{params}: no such file; kept without hyper-parameters")
        hyperparameters = plain_values(read_json_object(params)) if params.is_file() else {}
        return cls(hyperparameters, dict(_lines(result, tell)) if result.is_file() else {})

    @property
    def family(self) -> str:
        kind = self.hyperparameters.get("model::type")
        return _FAMILIES.get(str(kind), str(kind).lower()) if kind else "unknown"


def _runs(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Folders of one network each, in order of name."""
    below = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if any((folder / name).is_file() for name in ("params.json", "result.json")):
        yield folder
    elif any(_CHECKPOINT.fullmatch(entry.name) for entry in below):
        yield folder
    elif depth < _DEEPEST:
        for entry in below:
            yield from _runs(entry, depth + 1)


def _checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Epochs and folders, by epoch."""
    matches = ((_CHECKPOINT.fullmatch(entry.name), entry) for entry in run.iterdir() if entry.is_dir())
    return sorted((int(match[1]), entry) for match, entry in matches if match)


def _lines(path: Path, tell: Callable[[str], None]) -> Iterator[tuple[int, dict[str, Value]]]:
    """Epoch and properties of each line of a result.json; a later line of an epoch stands for the earlier."""
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
            tell(f"{path}: {where} is half-written or has no training_iteration; left out")


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
