"""The contract of checkpoint sources: named tensors, loaded one at a time, checked and ready to compute with."""

import abc
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from sne.checkpoints.composed import COMPOSITIONS
from sne.checkpoints.composed.weight import ComposedWeight, mark_composed
from sne.errors import CheckpointError
from sne.networks import Hint, TensorInfo

_KEPT = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class CheckpointSource(abc.ABC):
    """The tensors of a checkpoint: names, shapes and dtypes at once, values when they are asked for.

    A reader derives from this class, passes what it knows to the constructor and implements `read_stored`. Composed
    weights, conversion to floating dtypes and the checks of shapes and values are the same for every format.

    Args:
        name: The file or object, as messages call it.
        infos: Every stored tensor.
        hints: Hints in addition to names and shapes, by the name of a tensor or module.
        composed: Weights that are stored in another form; None to find them by name (see `COMPOSITIONS`).
        notes: Reasons why other contents of the file are not read, by name.
    """

    def __init__(
        self,
        name: str,
        infos: Iterable[TensorInfo],
        *,
        hints: Mapping[str, Hint] | None = None,
        composed: Iterable[ComposedWeight] | None = None,
        notes: Mapping[str, str] | None = None,
    ):
        stored = {info.name: info for info in infos}
        weights = find_composed(stored) if composed is None else composed
        self._name = name
        self._composed = {weight.info.name: weight for weight in weights}
        self._infos = stored | {name: weight.info for name, weight in self._composed.items()}
        self._hints = mark_composed(hints or {}, self._composed)
        self._notes = dict(notes or {})

    @property
    def name(self) -> str:
        """The file or object, as messages call it."""
        return self._name

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Every stored tensor and composed weight, by name. This loads no values."""
        return self._infos

    @property
    def hints(self) -> Mapping[str, Hint]:
        """Hints in addition to names and shapes, by the name of a tensor or module."""
        return self._hints

    @property
    def notes(self) -> Mapping[str, str]:
        """Reasons why other contents of the file are not read, by name."""
        return self._notes

    @abc.abstractmethod
    def read_stored(self, name: str) -> Tensor:
        """Reads one tensor exactly as it is stored.

        Args:
            name: Name of a stored tensor, one of the `infos` passed to the constructor.

        Returns:
            The values in their stored dtype, on the CPU.
        """

    @final
    def load(self, name: str) -> Tensor:
        """Loads one tensor or composed weight.

        Args:
            name: A key of `infos`.

        Returns:
            The values on the CPU: float64, float32, float16 or bfloat16 as stored, float32 for every other dtype.

        Raises:
            CheckpointError: If there is no such tensor, if its shape is not the declared one, or if it holds NaN or
                infinity.
        """
        if name not in self._infos:
            raise CheckpointError(self._name, f"there is no tensor {name!r}")
        if name in self._composed:
            values = self._check_shape(name, self._composed[name].compose(self._read_checked))
        else:
            values = self._read_checked(name)
        if values.dtype not in _KEPT:
            values = (values.real if values.is_complex() else values).to(torch.float32)
        if values.numel() and not all(torch.isfinite(end) for end in torch.aminmax(values)):
            bad = int((~torch.isfinite(values)).sum())
            raise CheckpointError(self._name, f"tensor {name!r} has {bad} NaN or infinite values of {values.numel()}")
        return values

    def _read_checked(self, name: str) -> Tensor:
        return self._check_shape(name, self.read_stored(name))

    def _check_shape(self, name: str, values: Tensor) -> Tensor:
        shape = self._infos[name].shape
        if tuple(values.shape) != shape:
            raise CheckpointError(self._name, f"tensor {name!r} has shape {list(values.shape)}, expected {list(shape)}")
        return values


def mark_tied(hints: Mapping[str, Hint], places: Mapping[str, object]) -> dict[str, Hint]:
    """Adds hints for tied tensors, those that are stored once under several names.

    Args:
        hints: Hints so far, by the name of a tensor or module.
        places: Where the values of each tensor lie, by name: equal for two names of one tensor, None if unknown.

    Returns:
        Hints in which all names of one tensor have the same `tied`.
    """
    names: dict[object, list[str]] = {}
    for name, place in places.items():
        if place is not None:
            names.setdefault(place, []).append(name)
    result = dict(hints)
    for group in names.values():
        if len(group) > 1:
            first = min(group)
            for name in group:
                result[name] = replace(result.get(name, Hint()), tied=first)
    return result


def find_composed(infos: Mapping[str, TensorInfo]) -> list[ComposedWeight]:
    """Finds every composed weight among stored tensors.

    Args:
        infos: Every stored tensor, by name.

    Returns:
        The composed weights. If two rows of `COMPOSITIONS` claim one weight, the first row takes it.
    """
    found: dict[str, ComposedWeight] = {}
    for find in COMPOSITIONS.values():
        for weight in find(infos):
            found.setdefault(weight.info.name, weight)
    return list(found.values())
