"""State dicts: finding the one in a checkpoint among wrappers and training state, and reading it."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.described import DescribedTensor, InertObject
from sne.checkpoints.stored import StoredTensors, mark_tied
from sne.errors import CheckpointError
from sne.networks import Hint, TensorInfo

WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "params", "weights",
    "params_ema", "model_ema", "ema_state_dict", "state_dict_ema", "ema", "generator",
)  # fmt: skip
"""Keys under which a checkpoint keeps its state dict; the first that is present is read. A new wrapper is one entry."""

_TRAINING = ("optim", "sched", "scaler", "callback", "loop", "loss", "hyper", "rng", "arg", "config", "lr")
_MAX_DEPTH = 20
_MAX_ENTRIES = 1_000_000


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


def unwrap(
    content: Any, name: str, select: str | None = None
) -> tuple[dict[str, Tensor | DescribedTensor], dict[str, str]]:
    """Finds the state dict in the content of a checkpoint.

    Args:
        content: Loaded content: a state dict, a wrapper around one, or a mapping of several, which are joined.
        name: Name of the file in messages.
        select: Keys that lead to the state dict to read, joined by dots, such as "model_ema"; None for the main one.

    Returns:
        The tensors by name, and the reason why it is not read for each other entry, by name.

    Raises:
        CheckpointError: If the content is not a mapping, holds no tensors, or is nested without end.

    Example:
        >>> state, notes = unwrap({"state_dict": {"fc.bias": torch.zeros(2)}, "epoch": 3}, "a.pt")
        >>> list(state), notes
        (['fc.bias'], {'epoch': "of type int, stored next to 'state_dict', which is read"})
    """
    if not isinstance(content, Mapping):
        kind = content.class_name if isinstance(content, InertObject) else type(content).__name__
        raise CheckpointError(name, f"the file holds an object of type {kind}, expected a state dict or a mapping")
    notes: dict[str, str] = {}
    for key in select.split(".") if select else ():
        if not isinstance(content, Mapping) or key not in content:
            raise CheckpointError(name, f"nothing is named {select!r}")
        content = content[key]
    for _ in range(_MAX_DEPTH):
        key = next((key for key in WRAPPERS if _is_wrapper(content, key)), None)
        if key is None:
            break
        for other, value in content.items():
            if other != key:
                notes[str(other)] = f"{_describe(str(other), value)}, stored next to {key!r}, which is read"
        content = content[key]
    state: dict[str, Tensor | DescribedTensor] = {}
    _flatten(content, name, state, notes)
    if not state:
        keys = ", ".join(repr(str(key)) for key in list(content)[:5])
        raise CheckpointError(name, f"the file holds no tensors, expected a state dict (keys: {keys or 'none'})")
    return state, notes


def _place(value: Tensor | DescribedTensor) -> object:
    """Identifies the memory of a tensor; None if that is not possible."""
    if isinstance(value, DescribedTensor):
        return value.place
    if value.is_meta or value.layout is not torch.strided or value.numel() == 0 or value.is_quantized:
        return None
    pointer = value.data_ptr()
    return (pointer, tuple(value.shape), value.stride(), value.dtype) if pointer else None


def _is_wrapper(content: Mapping[Any, Any], key: str) -> bool:
    """Whether a key holds the network: its value is a mapping with tensors, and there is no tensor next to it."""
    value = content.get(key)
    if not isinstance(value, Mapping) or not _holds_tensors(value):
        return False
    return not any(
        isinstance(other, Tensor | DescribedTensor) and other.ndim > 0 and "." in str(name)
        for name, other in content.items()
    )


def _holds_tensors(value: Any, seen: set[int] | None = None) -> bool:
    seen = set() if seen is None else seen
    if isinstance(value, Tensor | DescribedTensor):
        return True
    if not isinstance(value, Mapping) or id(value) in seen or len(seen) > _MAX_ENTRIES:
        return False
    seen.add(id(value))
    return any(_holds_tensors(inner, seen) for inner in value.values())


def _flatten(
    content: Mapping[Any, Any], name: str, state: dict[str, Tensor | DescribedTensor], notes: dict[str, str]
) -> None:
    """Joins nested mappings into `state`, with dotted names in the order of the file."""
    # Entries are taken from the end of the list, so they are put there in reverse order.
    pending: list[tuple[str, Any, int]] = [(str(key), value, 1) for key, value in reversed(list(content.items()))]
    while pending:
        path, value, depth = pending.pop()
        if depth > _MAX_DEPTH or len(state) + len(notes) + len(pending) > _MAX_ENTRIES:
            raise CheckpointError(name, "the mappings are nested without end")
        if isinstance(value, Tensor | DescribedTensor):
            state[path] = value
        elif isinstance(value, Mapping) and _holds_tensors(value):
            if _is_training(path):
                notes[path] = f"{_describe(path, value)}, not a weight"
            else:
                pending += [(f"{path}.{key}", inner, depth + 1) for key, inner in reversed(list(value.items()))]
        else:
            notes[path] = f"{_describe(path, value)}, not a tensor"


def _describe(path: str, value: Any) -> str:
    if isinstance(value, InertObject):
        return f"object of class {value.class_name[:200]}"
    if not _holds_tensors(value):
        return f"of type {type(value).__name__}"
    return "state of the training" if _is_training(path) else "another state dict"


def _is_training(path: str) -> bool:
    return any(word in path.rpartition(".")[2].lower() for word in _TRAINING)
