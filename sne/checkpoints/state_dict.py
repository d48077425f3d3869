"""State dicts: finding the one in a checkpoint among wrappers and training state, and reading it."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.described import DescribedTensor
from sne.checkpoints.stored import StoredTensors, is_row_major, mark_tied, read_range
from sne.errors import CheckpointError
from sne.networks import Hint, TensorInfo


@final
class StateDictTensors(StoredTensors):
    """The tensors of a state dict. Tensors that share their memory are known to be tied.

    Args:
        state: Tensors by name.
        name: Name of the source in messages.
        hints: Hints in addition to names and shapes, by the name of a tensor or module.
        notes: Reasons why other entries of the state dict are not read, by name.

    Raises:
        CheckpointError: If an entry is not a tensor.

    Example:
        >>> stored = StateDictTensors({"fc.weight": torch.ones(2, 3)})
        >>> stored.infos["fc.weight"].shape, stored.read_stored("fc.weight").sum().item()
        ((2, 3), 6.0)
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
            if not isinstance(key, str) or not isinstance(value, Tensor | DescribedTensor):
                kind = type(value).__name__
                raise CheckpointError(name, f"entry {key!r} is of type {kind}, expected a tensor under a string key")
        self._state = state
        infos = [
            TensorInfo(key, tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in state.items()
        ]
        places = {key: _place(value) for key, value in state.items()}
        super().__init__(name, infos, hints=mark_tied(hints or {}, places), notes=notes)

    def read_stored(self, name: str) -> Tensor:
        """Returns one tensor on the CPU, dense and without torch's own quantisation."""
        value = self._state[name]
        if isinstance(value, DescribedTensor):
            if value.refusal:
                raise CheckpointError(self.name, f"tensor {name!r} is {value.refusal}")
            return value.read(name)
        value = value.detach()
        if value.is_meta:
            raise CheckpointError(self.name, f"tensor {name!r} is on the meta device and has no values")
        if value.is_quantized:
            value = value.dequantize()
        if value.layout is not torch.strided:
            value = value.to_dense()
        return value.cpu()

    def read_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Reads some entries of one tensor, if they lie together."""
        value = self._state[name]
        if isinstance(value, DescribedTensor):
            return None if value.refusal else read_range(value, name, start, stop)
        is_plain = value.layout is torch.strided and not (value.is_meta or value.is_quantized)
        if not is_plain or not is_row_major(tuple(value.shape), value.stride()):
            return None
        return value.detach().reshape(-1)[start:stop].cpu()


def _place(value: Tensor | DescribedTensor) -> object:
    """Identifies the memory of a tensor; None if that is not possible."""
    if isinstance(value, DescribedTensor):
        return value.place
    if value.is_meta or value.layout is not torch.strided or value.numel() == 0 or value.is_quantized:
        return None
    pointer = value.data_ptr()
    return (pointer, tuple(value.shape), value.stride(), value.dtype) if pointer else None
