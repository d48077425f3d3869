"""A member's training state on disk, from which training goes on with the same bits."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sne.errors import TrainingError
from sne.training.settings import SETTINGS_ADDED_LATER
from sne.work import write_atomically

FOLDER = ".training"


@dataclass
class MemberState:
    """What is known of one member between two epochs.

    Args:
        epoch: epochs that are done.
        done: whether the member is finished; then `tensors` hold its kept parameters alone.
        best_epoch: number of the epoch whose parameters are kept, from 0; -1 before the first.
        best_score: its score and, against ties, minus its loss.
        history: one entry an epoch.
        seconds: time spent so far.
        tensors: "model.*", "optimizer.*", "averaged.*" and "best.*".
    """

    epoch: int = 0
    done: bool = False
    best_epoch: int = -1
    best_score: tuple[float, float] = (-float("inf"), -float("inf"))
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors below a name, without it. Inverse: `put`."""
        return {key.removeprefix(f"{name}."): t for key, t in self.tensors.items() if key.startswith(f"{name}.")}

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keeps copies of tensors below a name, in place of those before."""
        for key in [key for key in self.tensors if key.startswith(f"{name}.")]:
            del self.tensors[key]
        for key, tensor in tensors.items():
            self.tensors[f"{name}.{key}"] = tensor.detach().to("cpu", copy=True).contiguous()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's running values, named by parameter number. Inverse: `restore_optimizer`."""
    return {
        f"{number}.{name}": torch.as_tensor(value)
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Sets an optimiser's running values. Inverse: `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class StateStore:
    """The states of a run's members, one safetensors file each, replaced atomically.

    Args:
        folder: the predictor's folder; None keeps nothing.
        fingerprint: what the run is made of; a state of another run is refused.
    """

    def __init__(self, folder: Path | None, fingerprint: Mapping[str, Any]):
        self._folder = None if folder is None else folder / FOLDER
        self._fingerprint = json.loads(json.dumps(fingerprint))

    def save(self, member: str, state: MemberState) -> None:
        """Writes a member's state. Inverse: `load`."""
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
        # one file holds numbers and tensors, so that no crash can part them
        write_atomically(self._path(member), save(state.tensors, {"state": json.dumps(values)}))

    def load(self, member: str) -> MemberState | None:
        """Reads a member's state; None where there is none.

        Raises:
            TrainingError: the state is damaged, or belongs to a run with other settings or another zoo.
        """
        if self._folder is None or not self._path(member).is_file():
            return None
        path = self._path(member)
        try:
            with safe_open(path, framework="pt") as file:
                values = json.loads(file.metadata()["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            state = MemberState(
                epoch=values["epoch"],
                done=values["done"],
                best_epoch=values["best_epoch"],
                best_score=(values["best_score"][0], values["best_score"][1]),
                history=values["history"],
                seconds=values["seconds"],
                tensors=tensors,
            )
            before = {**SETTINGS_ADDED_LATER, **values["fingerprint"]}
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, IndexError) as error:
            raise TrainingError(f"{path}: damaged ({error}); start again without --resume") from None
        for key in sorted(before.keys() | self._fingerprint.keys()):
            then, now = before.get(key), self._fingerprint.get(key)
            if then != now:
                raise TrainingError(
                    f"{path.parent.parent}: cannot resume, {key} was {then!r} and is now {now!r}; "
                    "give what was given before, or start again with --overwrite"
                )
        return state

    def _path(self, member: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{member}.safetensors"
