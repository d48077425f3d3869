"""Training runs as bytes: they travel from a worker and are kept until the zoo is written."""

import json
import struct
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from sne.errors import ZooError
from sne.making.running import Kept, TrainedRun
from sne.symmetry import Symmetry, symmetry_from_json, symmetry_to_json
from sne.zoo.store.layout import Layout

_LENGTH = struct.Struct("<Q")


def run_to_bytes(run: TrainedRun) -> bytes:
    """Returns a training run as bytes: the length of a JSON text, the text, and the weights in float32, little-endian.

    Inverse: `run_from_bytes`.
    """
    described: dict[str, Any] = {
        "layout": run.layout.to_json(),
        "hyperparameters": run.hyperparameters,
        "dataset": run.dataset,
        "symmetry": None if run.symmetry is None else symmetry_to_json(run.symmetry),
        "kept": [{"step": kept.step, "properties": kept.properties} for kept in run.kept],
    }
    text = json.dumps(described, separators=(",", ":")).encode()
    weights = [kept.vector.detach().to("cpu", torch.float32).numpy().astype("<f4").tobytes() for kept in run.kept]
    return b"".join((_LENGTH.pack(len(text)), text, *weights))


def run_from_bytes(data: bytes, where: str) -> TrainedRun:
    """Rebuilds a training run. Inverse of `run_to_bytes`.

    Args:
        data: Result of `run_to_bytes`.
        where: Name of the run in error messages.

    Raises:
        ZooError: The bytes are not a run.
    """
    try:
        start = _LENGTH.size
        (length,) = _LENGTH.unpack_from(data)
        described = json.loads(data[start : start + length])
        layout = Layout.from_json(described["layout"], where)
        rows = described["kept"]
        weights = np.frombuffer(data, dtype="<f4", offset=start + length).astype(np.float32)
        vectors = torch.from_numpy(weights.reshape(len(rows), layout.num_entries))
        kept = tuple(
            Kept(int(row["step"]), vector, dict(row["properties"])) for row, vector in zip(rows, vectors, strict=True)
        )
        symmetry = None if described["symmetry"] is None else _symmetry(described["symmetry"])
        return TrainedRun(layout, dict(described["hyperparameters"]), kept, described["dataset"], symmetry)
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ZooError(f"{where} is not a training run ({error})") from None


@lru_cache(maxsize=256)
def _symmetry(text: str) -> Symmetry:
    """Returns one object for all runs of one architecture."""
    return symmetry_from_json(text)
