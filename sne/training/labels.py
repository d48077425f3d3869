"""The labels of a zoo, as training asks for them."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from sne.errors import TrainingError
from sne.zoo import Zoo


def target_column(zoo: Zoo, name: str) -> np.ndarray:
    """The labels of one property or hyper-parameter, one a row.

    Raises:
        TrainingError: the zoo has no such column; the message lists those it has.
    """
    known = [*zoo.property_names, *zoo.hyperparameter_names, "family", "dataset", "step"]
    if name not in known:
        raise TrainingError(f"{zoo.path}: no column {name!r}, expected one of {', '.join(known)}")
    return zoo.column(name)


def labels_digest(zoo: Zoo, names: Sequence[str]) -> str:
    """A digest of ids and labels: the same for a copy of a zoo, another for other networks or labels."""
    digest = hashlib.sha256(json.dumps([list(zoo.ids), list(zoo.runs)]).encode())
    for name in names:
        digest.update(json.dumps([name, [str(value) for value in zoo.column(name)]]).encode())
    return digest.hexdigest()
