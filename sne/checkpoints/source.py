"""Sources of tensors: the contract that all readers share, and the source of a state dict."""

import abc
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.scales import Scaling, apply_scaling, find_scalings
from sne.errors import CheckpointError
from sne.networks import Hint, TensorInfo

_KEPT = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class CheckpointSource(abc.ABC):
    """A `TensorSource` that applies scales, refuses values that are not finite, and gives hints.

    A reader implements `_stored`, the values of one tensor as they lie in the file.

    Args:
        name: the file or object, as messages call it.
        infos: every stored tensor.
        hints: what the reader knows beyond names and shapes.
        scalings: how narrow tensors are scaled; by default what `find_scalings` finds.
        notes: what else the file holds that is not a weight, by name.
    """

    def __init__(
        self,
        name: str,
        infos: Iterable[TensorInfo],
        *,
        hints: Mapping[str, Hint] | None = None,
        scalings: Mapping[str, Scaling] | None = None,
        notes: Mapping[str, str] | None = None,
    ):
        self._name = name
        self._infos = {info.name: info for info in infos}
        self._scalings = dict(find_scalings(self._infos) if scalings is None else scalings)
        self._hints = _scaling_hints(self._scalings, self._infos, hints or {})
        self._notes = dict(notes or {})

    @property
    def name(self) -> str:
        """The file or object, as messages call it."""
        return self._name

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Every stored tensor, by name. Reading this loads no values."""
        return self._infos

    @property
    def hints(self) -> Mapping[str, Hint]:
        """What the reader knows beyond names and shapes."""
        return self._hints

    @property
    def notes(self) -> Mapping[str, str]:
        """What else the file holds, and why it is not read."""
        return self._notes

    @abc.abstractmethod
    def _stored(self, name: str) -> Tensor:
        """The values of one tensor as stored, on the CPU."""

    @final
    def load(self, name: str) -> Tensor:
        """The values of one tensor, scales applied, in a floating type, on the CPU.

        Args:
            name: one of `infos`.

        Returns:
            float64, float32, float16 or bfloat16 as stored; float32 for everything narrower.

        Raises:
            CheckpointError: where there is no such tensor, its shape is not the declared one, or it holds
                NaN or infinity.
        """
        if name not in self._infos:
            raise CheckpointError(self._name, f"holds no tensor {name!r}")
        values = self._stored(name)
        if tuple(values.shape) != self._infos[name].shape:
            raise CheckpointError(
                self._name,
                f"tensor {name!r} has shape {list(values.shape)}, expected {list(self._infos[name].shape)}",
            )
        if name in self._scalings:
            values = apply_scaling(values, self._scalings[name], self._stored)
        elif values.dtype not in _KEPT:
            values = (values.real if values.is_complex() else values).to(torch.float32)
        if values.numel() and not all(torch.isfinite(end) for end in torch.aminmax(values)):
            bad = int((~torch.isfinite(values)).sum())
            raise CheckpointError(self._name, f"tensor {name!r} holds {bad} NaN or infinite values of {values.numel()}")
        return values


class StateDictSource(CheckpointSource):
    """The tensors of a state dict; those that share their memory are known to be tied.

    Args:
        state: tensors by name.
        name: what messages call it.
        hints: what is known beyond names and shapes.
        notes: what else came with the state dict.

    Raises:
        CheckpointError: where an entry is not a tensor.
    """

    def __init__(
        self,
        state: Mapping[str, Any],
        *,
        name: str = "state dict",
        hints: Mapping[str, Hint] | None = None,
        notes: Mapping[str, str] | None = None,
    ):
        for key, value in state.items():
            if not isinstance(key, str) or not isinstance(value, Tensor):
                kind = type(value).__name__
                raise CheckpointError(name, f"entry {key!r} is of type {kind}, expected a tensor by name")
        self._state = state
        infos = [
            TensorInfo(key, tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in state.items()
        ]
        marks = {key: _mark(value) for key, value in state.items()}
        super().__init__(name, infos, hints=tied_hints(marks, hints or {}), notes=notes)

    def _stored(self, name: str) -> Tensor:
        value = self._state[name].detach()
        if value.is_meta:
            raise CheckpointError(self.name, f"tensor {name!r} is on the meta device and has no values")
        if value.is_quantized:
            value = value.dequantize()
        if value.layout is not torch.strided:
            value = value.to_dense()
        return value.cpu()


def tied_hints(marks: Mapping[str, object], hints: Mapping[str, Hint]) -> dict[str, Hint]:
    """Adds ties to hints.

    Args:
        marks: by tensor name, what is equal for two names of one tensor; None where that is unknown.
        hints: the hints so far.

    Returns:
        Hints in which tensors of one mark carry one `tied`.
    """
    names: dict[object, list[str]] = {}
    for name, mark in marks.items():
        if mark is not None:
            names.setdefault(mark, []).append(name)
    result = dict(hints)
    for group in names.values():
        if len(group) > 1:
            first = min(group)
            for name in group:
                result[name] = replace(result.get(name, Hint()), tied=first)
    return result


def _mark(value: Tensor) -> object:
    if value.is_meta or value.layout is not torch.strided or value.numel() == 0 or value.is_quantized:
        return None
    place = value.data_ptr()
    return (place, tuple(value.shape), value.stride(), value.dtype) if place else None


def _scaling_hints(
    scalings: Mapping[str, Scaling], infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint]
) -> dict[str, Hint]:
    result = dict(hints)
    for name, scaling in scalings.items():
        result[name] = replace(result.get(name, Hint()), is_scaled=True)
        for companion in (scaling.scale, scaling.zero_point):
            if companion is not None and companion in infos:
                what = "scale" if companion == scaling.scale else "zero point"
                reason = f"{what} of {name}, applied as that is loaded"
                result[companion] = replace(result.get(companion, Hint()), unused=reason)
    return result
