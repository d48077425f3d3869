"""A predictor on disk: config.json, model.safetensors, metrics.json and split.json; nothing is pickled."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sne.errors import PredictorError
from sne.work import write_atomically
from sne.zoo import Split

CONFIG, MODEL, METRICS, SPLIT = "config.json", "model.safetensors", "metrics.json", "split.json"
DOMAIN = "domain"
"""Prefix of the tensors of the known domain in model.safetensors; those of experts begin with their number."""

FORMAT = 1


@dataclass(frozen=True)
class PredictorFiles:
    """Contents of a predictor folder.

    Args:
        config: What config.json holds.
        tensors: What model.safetensors holds.
        metrics: What metrics.json holds.
        split: What split.json holds; None where there is none.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    metrics: Mapping[str, Any]
    split: Split | None = None

    def write(self, folder: Path) -> None:
        """Writes the folder. Inverse: `read`, which gives tensors of float16 as float32.

        A crash while writing leaves the old predictor, a folder that `read` refuses, or the new predictor.
        """
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.tensors.items()}
        folder.mkdir(parents=True, exist_ok=True)
        # config.json is absent while the others change, so that a crash leaves no mixture that loads
        (folder / CONFIG).unlink(missing_ok=True)
        write_atomically(folder / MODEL, save(tensors))
        write_atomically(folder / METRICS, _to_bytes(self.metrics))
        if self.split is not None:
            self.split.save(folder / SPLIT)
        write_atomically(folder / CONFIG, _to_bytes({"format": FORMAT, **self.config}))

    @classmethod
    def read(cls, folder: Path) -> "PredictorFiles":
        """Reads a folder and checks what can be checked without knowing experts. Inverse: `write`.

        Raises:
            PredictorError: A file is missing or damaged, or was written by a newer version.
        """
        if not folder.is_dir():
            raise PredictorError(f"{folder}: no such predictor folder")
        for name in (CONFIG, MODEL, METRICS):
            if not (folder / name).is_file():
                raise PredictorError(f"{folder}: not a predictor, {name} is missing")
        config, metrics = _read_json(folder / CONFIG), _read_json(folder / METRICS)
        version = config.get("format")
        if not isinstance(version, int) or version < 1:
            raise PredictorError(f"{folder / CONFIG}: format is {version!r}, expected {FORMAT}")
        if version > FORMAT:
            raise PredictorError(
                f"{folder / CONFIG}: written by a newer sne (format {version}, this one reads {FORMAT}): upgrade sne"
            )
        split = Split.load(folder / SPLIT) if (folder / SPLIT).is_file() else None
        return cls(config, _read_tensors(folder / MODEL), metrics, split)

    def digest(self) -> str:
        """Computes a digest of configuration and tensors, which decide all predictions and embeddings."""
        found = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name in sorted(self.tensors):
            values = self.tensors[name].detach().cpu().contiguous()
            found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            found.update(values.flatten().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()


def check_settings(make: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Compares settings that may come from a damaged file with the types that a constructor declares.

    Args:
        make: The constructor. Parameters that are neither annotated as bool, int, float nor str are not compared.
        settings: Its keyword arguments.

    Raises:
        PredictorError: A value has another type, or is a whole number of more than 31 bits.
    """
    for name, parameter in signature(make).parameters.items():
        kind = parameter.annotation
        if name not in settings or kind not in (bool, int, float, str):
            continue
        value = settings[name]
        if not (type(value) is kind or (kind is float and type(value) is int)):
            raise PredictorError(f"setting {name} is of type {type(value).__name__}, expected {kind.__name__}")
        if type(value) is int and abs(value) >= 2**31:
            raise PredictorError(f"setting {name} is a number of {value.bit_length()} bits, expected at most 31")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise PredictorError(f"{path}: not a readable safetensors file: {error}") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise PredictorError(f"{path}: {name} holds nan or infinite values")
    return {name: t.float() if t.dtype == torch.float16 else t for name, t in tensors.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PredictorError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(values, dict):
        raise PredictorError(f"{path}: holds a {type(values).__name__}, expected a JSON object")
    return values


def _to_bytes(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()
