"""What a predictor says about its own training, its folder while it is trained, and what may be concluded later."""

import hashlib
import json
import platform
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sne import __version__
from sne.encoders import NetworkEncoder
from sne.errors import Remedy, TrainingError
from sne.predictors import Predictor
from sne.predictors.experts.state import FOLDER
from sne.predictors.folder import CONFIG
from sne.training.plan import Plan
from sne.work import check_can_write
from sne.zoo import Zoo
from sne.zoo.store.folder import INDEX

REPLACE = Remedy("overwrite", True, "replaces it")


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a predictor whose training is finished."""
    return (folder / CONFIG).is_file() and not (folder / FOLDER).is_dir()


def begin_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Checks that a predictor may be trained into a folder, and marks it as unfinished until `finish_folder`.

    Args:
        folder: The predictor's folder; it need not exist.
        resume: Continue an unfinished training.
        overwrite: Replace whatever the folder holds.

    Raises:
        TrainingError: The folder holds something that neither `resume` nor `overwrite` allows for.
        SneError: The folder cannot be written.
    """
    if resume and overwrite:
        raise TrainingError("resume and overwrite exclude each other")
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder}: is a file, expected a folder for the predictor")
    if (folder / INDEX).is_file():
        raise TrainingError(f"{folder}: holds a zoo, and the predictor would replace its split; choose another folder")
    if overwrite:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    elif (folder / FOLDER).is_dir() and not resume:
        raise TrainingError(f"{folder}: holds an unfinished training", Remedy("resume", True, "continues it"), REPLACE)
    elif is_finished(folder):
        raise TrainingError(f"{folder}: holds a finished predictor", REPLACE)
    check_can_write(folder / CONFIG)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)


def finish_folder(folder: Path, predictor: Predictor) -> None:
    """Saves a predictor and removes the saved states of its training."""
    predictor.save(folder)
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def load_finished(folder: Path, plan: Plan, encoder: type[NetworkEncoder]) -> Predictor:
    """Loads a finished predictor that was trained as a plan says.

    Args:
        folder: The predictor's folder.
        plan: The training run that would give it.
        encoder: Class of the encoder.

    Raises:
        TrainingError: It was trained with other settings, or on another zoo.
    """
    predictor = Predictor.load(folder, encoders={encoder.__name__: encoder})
    digest = None if plan.start.start is None else plan.start.start.digest
    now = {"encoder": plan.encoder, "targets": list(plan.labels), "start": digest, **plan.settings.to_json()}
    settings, start = predictor.record.get("settings", {}), predictor.record.get("start", {})
    then = {**predictor.record, **settings, "start": start.get("digest")}
    for name, value in now.items():
        if then.get(name) != value:
            raise TrainingError(
                f"{folder}: the finished predictor was trained with {name} {then.get(name)!r}, not {value!r}", REPLACE
            )
    if not is_training_zoo(predictor, plan.zoo):
        raise TrainingError(
            f"{folder}: the finished predictor was trained on another zoo than {plan.zoo.path}", REPLACE
        )
    return predictor


def fingerprint(plan: Plan, encoder: NetworkEncoder, has_copies: bool) -> dict[str, Any]:
    """Identifies a training run: a saved state of another run is refused.

    Args:
        plan: The training run.
        encoder: The encoder that reads its networks.
        has_copies: Whether transformed copies are learned from.

    Returns:
        Settings and digests, as plain JSON values.
    """
    values = {
        **plan.settings.to_json(),
        "targets": list(plan.labels),
        "encoder": [type(encoder).__name__, encoder.settings()],
        "split": _digest([sorted(plan.split.train), sorted(plan.split.val)]),
        "zoo": labels_digest(plan.zoo, list(plan.labels)),
    }
    if plan.start.start is not None:
        values["start"] = plan.start.start.digest
    if has_copies:
        values["symmetries"] = _digest(plan.zoo.table["symmetry"].take(plan.rows).to_pylist())
    return values


def training_record(plan: Plan, seconds: Mapping[str, float], symmetry: Mapping[str, Any]) -> dict[str, Any]:
    """Describes where a predictor comes from, for its config.json.

    Args:
        plan: The training run.
        seconds: Time that each kind of expert took.
        symmetry: What is known about transformed copies; empty where none were asked for.

    Returns:
        Zoo with its digest, counts, settings, times and versions, as plain JSON values.
    """
    zoo, rows = plan.zoo, plan.rows
    families, datasets = list(zoo.families), [str(name) for name in zoo.column("dataset")]
    return {
        "zoo": str(Path(zoo.path).resolve()),
        "zoo_digest": labels_digest(zoo, list(plan.labels)),
        "zoo_networks": len(zoo),
        "networks": len(rows),
        "runs": len({zoo.runs[row] for row in rows}),
        "families": dict(sorted(Counter(families[row] for row in rows).items())),
        "datasets": dict(sorted(Counter(datasets[row] for row in rows).items())),
        "targets": list(plan.labels),
        "encoder": plan.encoder,
        "settings": plan.settings.to_json(),
        "start": plan.start.record(plan.properties),
        **({"symmetry": dict(symmetry)} if symmetry else {}),
        "seconds": {kind: round(value, 1) for kind, value in seconds.items()},
        "versions": {"sne": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def is_training_zoo(predictor: Predictor, zoo: Zoo) -> bool:
    """Whether the predictor was trained on this zoo, wherever it is stored now."""
    record = predictor.record
    names = [name for name in record.get("targets", []) if name in zoo.table.column_names]
    return record.get("zoo_digest") == labels_digest(zoo, names)


def labels_digest(zoo: Zoo, names: Sequence[str]) -> str:
    """Computes a digest of ids and labels: equal for a copy of a zoo, another for other networks or labels."""
    digest = hashlib.sha256(json.dumps([list(zoo.ids), list(zoo.runs)]).encode())
    for name in names:
        digest.update(json.dumps([name, [str(value) for value in zoo.column(name)]]).encode())
    return digest.hexdigest()


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
