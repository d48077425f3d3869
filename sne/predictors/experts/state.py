"""What makes training repeatable: derived seeds, and saved states from which it continues with the same bits."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sne.errors import Remedy, TrainingError
from sne.work import write_atomically

DIGESTS = {"zoo": "the networks or labels of the zoo", "split": "the split", "symmetries": "the symmetries of the zoo"}
"""Entries of a run's fingerprint that are digests, and what they stand for."""
START_AGAIN = Remedy("overwrite", True, "starts again")
FOLDER = ".training"
"""Folder for saved states, inside the predictor's folder; it is there while a training is unfinished."""


def derive_seed(*parts: object) -> int:
    """Derives a seed for one purpose: equal for equal parts, unrelated for others.

    Args:
        parts: Whatever the seed depends on.

    Returns:
        An integer in [0, 2^63).

    Example:
        >>> derive_seed(0, "order") == derive_seed(0, "order"), derive_seed(0, "order") == derive_seed(1, "order")
        (True, False)
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextlib.contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's generators for a block of code and restores them afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@dataclass
class TrainingState:
    """State of one neural expert between two epochs.

    Args:
        epoch: Number of finished epochs.
        done: Whether training is finished; then `tensors` hold the kept parameters alone.
        best_epoch: Number of the epoch whose parameters are kept, from 0; -1 before the first.
        best_score: Score of that epoch and, to break ties, its negative loss.
        history: One entry per epoch.
        seconds: Time spent so far.
        tensors: Tensors named "model.*", "optimizer.*" and "best.*".
    """

    epoch: int = 0
    done: bool = False
    best_epoch: int = -1
    best_score: tuple[float, float] = (-float("inf"), -float("inf"))
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """Returns the tensors below a name, without it. Inverse: `put`."""
        return {key.removeprefix(f"{name}."): t for key, t in self.tensors.items() if key.startswith(f"{name}.")}

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Replaces the tensors below a name by copies of others."""
        for key in [key for key in self.tensors if key.startswith(f"{name}.")]:
            del self.tensors[key]
        for key, tensor in tensors.items():
            self.tensors[f"{name}.{key}"] = tensor.detach().to("cpu", copy=True).contiguous()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Returns the running values of an optimiser, named by parameter number. Inverse: `restore_optimizer`."""
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Sets the running values of an optimiser. Inverse: `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class StateStore:
    """Saved states of the neural experts of one training run, one safetensors file each, replaced atomically.

    Args:
        folder: Folder of the predictor; None saves nothing.
        fingerprint: Settings and digests that identify the run; a state of another run is refused.
    """

    def __init__(self, folder: Path | None, fingerprint: Mapping[str, Any]):
        self._folder = None if folder is None else folder / FOLDER
        self._fingerprint = json.loads(json.dumps(fingerprint))

    def save(self, name: str, state: TrainingState) -> None:
        """Writes the state of an expert. Inverse: `load`."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        values = {
            "fingerprint": self._fingerprint,
            "epoch": state.epoch,
            "done": state.done,
            "best_epoch": state.best_epoch,
            "best_score": state.best_score,
            "history": state.history,
            "seconds": state.seconds,
        }
        # numbers and tensors share one file, so that a crash cannot separate them
        write_atomically(self._path(name), save(state.tensors, {"state": json.dumps(values)}))

    def load(self, name: str) -> TrainingState | None:
        """Reads the state of an expert; returns None where there is none.

        Raises:
            TrainingError: The state is damaged, or belongs to a run with other settings or another zoo.
        """
        if self._folder is None or not self._path(name).is_file():
            return None
        path = self._path(name)
        try:
            with safe_open(path, framework="pt") as file:
                values = json.loads(file.metadata()["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            state = TrainingState(
                epoch=values["epoch"],
                done=values["done"],
                best_epoch=values["best_epoch"],
                best_score=(values["best_score"][0], values["best_score"][1]),
                history=values["history"],
                seconds=values["seconds"],
                tensors=tensors,
            )
            before = dict(values["fingerprint"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, IndexError) as error:
            raise TrainingError(f"{path}: damaged ({error})", START_AGAIN) from None
        for key in sorted(before.keys() | self._fingerprint.keys()):
            then, now = before.get(key), self._fingerprint.get(key)
            if then != now:
                change = f"{key} was {then!r} and is now {now!r}"
                if key in DIGESTS:
                    change = f"{DIGESTS[key]} changed since it began"
                raise TrainingError(
                    f"{path.parent.parent}: cannot resume, {change}; use the settings of the first run", START_AGAIN
                )
        return state

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name}.safetensors"
