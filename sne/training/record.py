"""What a predictor says about its own training, and what may be concluded from it later."""

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sne import __version__
from sne.errors import TrainingError
from sne.predictors import Predictor
from sne.training.labels import labels_digest
from sne.training.settings import SETTINGS_ADDED_LATER, TrainingSettings
from sne.zoo import Split, Zoo

SPLIT = "split.json"


def training_record(
    zoo: Zoo,
    rows: np.ndarray,
    targets: Sequence[str],
    encoder: str,
    settings: TrainingSettings,
    seconds: float,
    symmetry: Mapping[str, Any],
) -> dict[str, Any]:
    """Provenance of a predictor, as plain JSON values for its config.json.

    Args:
        zoo: what it was trained on.
        rows: the rows of the split's training and validation runs.
        targets: the properties.
        encoder: preset, or name of the function that made the encoder.
        settings: how it was trained.
        seconds: how long that took.
        symmetry: what `learned_invariance` says of copies; empty where none were asked for.

    Returns:
        Zoo with its digest, counts, settings and versions.
    """
    families, datasets = list(zoo.families), [str(name) for name in zoo.column("dataset")]
    return {
        "zoo": str(Path(zoo.path).resolve()),
        "zoo_digest": labels_digest(zoo, targets),
        "zoo_networks": len(zoo),
        "networks": len(rows),
        "runs": len({zoo.runs[row] for row in rows}),
        "families": dict(sorted(Counter(families[row] for row in rows).items())),
        "datasets": dict(sorted(Counter(datasets[row] for row in rows).items())),
        "targets": list(targets),
        "encoder": encoder,
        "settings": settings.to_json(),
        **({"symmetry": dict(symmetry)} if symmetry else {}),
        "seconds": round(seconds, 1),
        "versions": {"sne": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def check_same_training(
    predictor: Predictor, zoo: Zoo, targets: Sequence[str], encoder: str, settings: TrainingSettings
) -> None:
    """Raises TrainingError where a finished predictor is not what these arguments of `fit` would give."""
    now = {"encoder": encoder, "targets": list(targets), **settings.to_json()}
    then = {**SETTINGS_ADDED_LATER, **predictor.record, **predictor.record.get("settings", {})}
    for name, value in now.items():
        if then.get(name) != value:
            raise TrainingError(
                f"the finished predictor was trained with {name} {then.get(name)!r}, not {value!r}; "
                "give --overwrite to replace it"
            )
    if not is_training_zoo(predictor, zoo):
        raise TrainingError(f"the finished predictor was trained on another zoo than {zoo.path}; give --overwrite")


def is_training_zoo(predictor: Predictor, zoo: Zoo) -> bool:
    """Whether the predictor was trained on this zoo, wherever it lies now."""
    record = predictor.record
    names = [name for name in record.get("targets", []) if name in zoo.table.column_names]
    return record.get("zoo_digest") == labels_digest(zoo, names)


def symmetries_digest(zoo: Zoo, rows: np.ndarray) -> str:
    """A digest of which network has which symmetry."""
    return hashlib.sha256(json.dumps(zoo.table["symmetry"].take(rows).to_pylist()).encode()).hexdigest()


def split_digest(split: Split) -> str:
    """A digest of the runs that training may see."""
    return hashlib.sha256(json.dumps([sorted(split.train), sorted(split.val)]).encode()).hexdigest()
