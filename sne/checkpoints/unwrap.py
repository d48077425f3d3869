"""Finding the state dict inside what a checkpoint holds: wrappers, training state, nested modules."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sne.errors import CheckpointError

WRAPPERS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "params", "weights",
    "params_ema", "model_ema", "ema_state_dict", "state_dict_ema", "ema", "generator",
)  # fmt: skip
_TRAINING = ("optim", "sched", "scaler", "callback", "loop", "loss", "hyper", "rng", "arg", "config", "lr")
_MAX_DEPTH = 20
_MAX_ENTRIES = 1_000_000


def unwrap(content: Any, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state dict in a checkpoint.

    Args:
        content: what was loaded: a state dict, a wrapper around one, or a mapping of several.
        name: the file, for messages.

    Returns:
        Tensors by name, and for everything else its name and why it is not read.

    Raises:
        CheckpointError: where there is no tensor, or the content is no mapping.
    """
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise CheckpointError(name, f"holds an object of type {kind}, expected a state dict or a mapping with one")
    notes: dict[str, str] = {}
    for _ in range(_MAX_DEPTH):
        key = next((key for key in WRAPPERS if _is_wrapper(content, key)), None)
        if key is None:
            break
        for other, value in content.items():
            if other != key:
                notes[str(other)] = f"{_what(str(other), value)} beside {key!r}, which is read"
        content = content[key]
    state: dict[str, Tensor] = {}
    _flatten(content, name, state, notes)
    if not state:
        keys = ", ".join(repr(str(key)) for key in list(content)[:5])
        raise CheckpointError(name, f"holds no tensors, expected a state dict (it has: {keys or 'nothing'})")
    return state, notes


def _is_wrapper(content: Mapping[Any, Any], key: str) -> bool:
    """Whether a key holds the network: it is a mapping with tensors, and no tensor stands beside it."""
    value = content.get(key)
    if not isinstance(value, Mapping) or not _holds_tensors(value):
        return False
    return not any(isinstance(other, Tensor) and other.ndim > 0 for other in content.values())


def _holds_tensors(value: Any, seen: set[int] | None = None) -> bool:
    seen = set() if seen is None else seen
    if isinstance(value, Tensor):
        return True
    if not isinstance(value, Mapping) or id(value) in seen or len(seen) > _MAX_ENTRIES:
        return False
    seen.add(id(value))
    return any(_holds_tensors(inner, seen) for inner in value.values())


def _flatten(content: Mapping[Any, Any], name: str, state: dict[str, Tensor], notes: dict[str, str]) -> None:
    # taken from the end, so laid down in reverse: names keep the order of the file
    pending: list[tuple[str, Any, int]] = [(str(key), value, 1) for key, value in reversed(list(content.items()))]
    while pending:
        path, value, depth = pending.pop()
        if depth > _MAX_DEPTH or len(state) + len(notes) + len(pending) > _MAX_ENTRIES:
            raise CheckpointError(name, "mappings are nested without end")
        if isinstance(value, Tensor):
            state[path] = value
        elif isinstance(value, Mapping) and _holds_tensors(value):
            if _is_training(path):
                notes[path] = _what(path, value) + ", not a weight"
            else:
                pending += [(f"{path}.{key}", inner, depth + 1) for key, inner in reversed(list(value.items()))]
        else:
            notes[path] = f"of type {type(value).__name__}, not a tensor"


def _what(path: str, value: Any) -> str:
    if not _holds_tensors(value):
        return f"of type {type(value).__name__}"
    return "state of the training" if _is_training(path) else "another state dict"


def _is_training(path: str) -> bool:
    return any(word in path.rpartition(".")[2].lower() for word in _TRAINING)
