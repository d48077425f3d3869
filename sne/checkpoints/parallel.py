"""Tensor-parallel parts of one network: files that each hold a slice of every matrix."""

from collections.abc import Mapping
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from sne.checkpoints.stored import StoredTensors, read_range
from sne.errors import CheckpointError
from sne.networks import TensorInfo

_ROWS = frozenset({"wq", "wk", "wv", "w1", "w3", "output"})
_COLUMNS = frozenset({"wo", "w2"})
_LARGEST_COMPARED = 1_000_000


@final
class ParallelTensors(StoredTensors):
    """The tensors of Llama models as Meta publishes them, `consolidated.00.pth` and so on, joined.

    Args:
        name: The folder, as messages call it.
        parts: The tensors of each file, by file name, in order.

    Raises:
        CheckpointError: If the parts do not hold the same names, or a tensor is cut in a way that is not known.

    Source: ColumnParallelLinear and RowParallelLinear in github.com/meta-llama/llama, llama/model.py.
    Differs: the axis of the embedding, which Llama 3 cuts by tokens and Llama 2 by features, follows from the width of
        the norms.
    """

    def __init__(self, name: str, parts: Mapping[str, StoredTensors]):
        self._parts = list(parts.values())
        self._axes: dict[str, int | None] = {}
        first = self._parts[0]
        width = next((info.shape[0] for key, info in first.infos.items() if key.endswith("norm.weight")), None)
        infos = []
        for key, info in first.infos.items():
            shapes = [part.infos[key].shape if key in part.infos else None for part in self._parts]
            if any(len(part.infos) != len(first.infos) for part in self._parts) or shapes != [info.shape] * len(shapes):
                raise CheckpointError(name, f"{_describe(parts)}; tensor {key!r} is not in all of them with one shape")
            axis = _axis(key, info, width, len(shapes))
            if axis is None and not self._are_equal(key, info):
                raise CheckpointError(name, f"{_describe(parts)}, and it is not known how they cut tensor {key!r}")
            self._axes[key] = axis
            infos.append(info if axis is None else replace(info, shape=_joined(info.shape, axis, len(shapes))))
        notes = {file: "a tensor-parallel part, joined with the others" for file in parts}
        super().__init__(name, infos, hints=first.hints, notes={**first.notes, **notes}, metadata=first.metadata)

    def read_stored(self, name: str) -> Tensor:
        """Reads one tensor from all parts and joins them."""
        axis = self._axes[name]
        if axis is None:
            return self._parts[0].read_stored(name)
        return torch.cat([part.read_stored(name) for part in self._parts], dim=axis)

    def read_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Reads some entries of one tensor, if the parts hold groups of its rows."""
        axis = self._axes[name]
        if axis is None:
            return read_range(self._parts[0], name, start, stop)
        if axis:
            return None
        size = self._parts[0].infos[name].num_entries
        found = []
        for index, part in enumerate(self._parts):
            first, last = max(start - index * size, 0), min(stop - index * size, size)
            if first < last:
                found.append(read_range(part, name, first, last))
        pieces = [piece for piece in found if piece is not None]
        return torch.cat(pieces) if pieces and len(pieces) == len(found) else None

    def _are_equal(self, name: str, info: TensorInfo) -> bool:
        """Whether a small tensor has the same values in all parts."""
        if info.num_entries > _LARGEST_COMPARED:
            return False
        first = self._parts[0].read_stored(name)
        return all(torch.equal(part.read_stored(name), first) for part in self._parts[1:])


def _axis(name: str, info: TensorInfo, width: int | None, count: int) -> int | None:
    """Returns the axis along which a tensor is cut; None if it is not cut, or that is not known."""
    module, _, own = name.rpartition(".")
    last = module.rpartition(".")[2]
    if own != "weight" or len(info.shape) != 2:
        return None
    if last in _ROWS and width in (None, info.shape[1]):
        return 0
    if last in _COLUMNS and width in (None, info.shape[0]):
        return 1
    if last == "tok_embeddings" and width in (info.shape[1], info.shape[1] * count):
        return 0 if info.shape[1] == width else 1
    return None


def _joined(shape: tuple[int, ...], axis: int, count: int) -> tuple[int, ...]:
    return tuple(size * count if a == axis else size for a, size in enumerate(shape))


def _describe(parts: Mapping[str, StoredTensors]) -> str:
    names = list(parts)
    return f"the folder has {len(names)} parts of one network, {names[0]} to {names[-1]}"
