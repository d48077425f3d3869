"""What inert objects of a pickle stand for: whole modules become state dicts, arrays tensors, mappings mappings."""

import copy
from collections.abc import Iterable
from typing import Any, final

from sne.checkpoints.described import DescribedTensor, InertObject
from sne.checkpoints.formats.pickles.numpy_arrays import NumpyArray
from sne.checkpoints.formats.pickles.stand_ins import Global, PickleError
from sne.checkpoints.packed_params import unpack_entries
from sne.work.collection import paused_collection

_MOST_DEPTH = 100
_MOST_SHARING = 10
_CONTAINERS = frozenset({dict, list, tuple})
_SCALARS = frozenset({str, int, float, bool, bytes, complex, type(None)})


def present(content: Any) -> Any:
    """Replaces inert objects by what they stand for.

    A module, an object with parameters, buffers and modules, becomes the mapping that its `state_dict` would return,
    whose tensors know the class of their module. NumPy arrays of numbers become tensors. Objects of unknown classes
    that are mappings or lists become such, and so do objects that hold a module. All others stay as they are.

    Args:
        content: What a pickle holds.

    Returns:
        Mappings, lists, plain values, tensors and inert objects.

    Raises:
        PickleError: If modules are nested without end.
    """
    with paused_collection():
        return _Presenter().convert(content, 0)


def is_module(value: Any) -> bool:
    """Whether an inert object was a `torch.nn.Module`.

    Args:
        value: Anything.
    """
    return isinstance(value, InertObject) and type(value.fields.get("_modules")) is dict


@final
class _Presenter:
    """Converts a tree in place. Its parts may be shared and may contain themselves."""

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}

    def convert(self, value: Any, depth: int) -> Any:
        """Returns what a value stands for."""
        kind = type(value)
        if (not value and kind in _CONTAINERS) or kind in _SCALARS or isinstance(value, DescribedTensor):
            return value
        if id(value) in self._done:
            return self._done[id(value)]
        if depth > _MOST_DEPTH:
            return InertObject("nested too deeply")
        if kind is dict:
            return self._dict(value, depth)
        if kind is list:
            self._done[id(value)] = value
            for index, inner in enumerate(value):
                if type(inner) not in _SCALARS:
                    value[index] = self.convert(inner, depth + 1)
            return value
        if kind is tuple:
            converted = [inner if type(inner) in _SCALARS else self.convert(inner, depth + 1) for inner in value]
            is_same = all(new is old for new, old in zip(converted, value, strict=True))
            self._done[id(value)] = value if is_same else tuple(converted)
            return self._done[id(value)]
        return self._object(value, depth) if isinstance(value, InertObject) else value

    def _dict(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        self._done[id(value)] = value
        for key, inner in value.items():
            if type(inner) not in _SCALARS and not isinstance(inner, DescribedTensor):
                value[key] = self.convert(inner, depth + 1)
        unpacked = unpack_entries(value)
        if unpacked is not value:
            value.clear()
            value.update(unpacked)
        return value

    def _object(self, value: InertObject, depth: int) -> Any:
        if isinstance(value, NumpyArray):
            result: Any = value.tensor if value.tensor is not None else value
        elif isinstance(value, Global):
            result = value
        elif is_module(value):
            result = self._module(value)
        elif value.mapping:
            return self.convert(value.mapping, depth)
        elif value.sequence:
            return self.convert(value.sequence, depth)
        elif depth == 0 or any(is_module(inner) for inner in value.fields.values()):
            return self.convert(value.fields, depth) if value.fields else value
        else:
            result = value
        self._done[id(value)] = result
        return result

    def _module(self, root: InertObject) -> dict[str, Any]:
        """Returns the state dict of a module, in the order of torch."""
        state: dict[str, Any] = {}
        pending: list[tuple[str, InertObject, int]] = [("", root, 0)]
        seen: set[int] = set()
        visits = 0
        while pending:
            path, module, depth = pending.pop()
            fields = module.fields
            seen.add(id(module))
            hidden = fields.get("_non_persistent_buffers_set")
            hidden = set(_names(hidden)) if type(hidden) is list else set()
            own = [*_entries(fields.get("_parameters")), *_entries(fields.get("_buffers"))]
            visits += 1
            if depth > _MOST_DEPTH or visits > _MOST_SHARING * (len(seen) + 1000):
                raise PickleError("hostile: modules are nested without end")
            for name, value in own:
                if value is not None and name not in hidden:
                    state[path + name] = _owned(value.tensor if isinstance(value, NumpyArray) else value, module)
            state.update((path + name, value) for name, value in _packed(fields))
            inner = [(name, child) for name, child in _entries(fields.get("_modules")) if child is not None]
            for name, child in reversed(inner):
                if is_module(child):
                    pending.append((f"{path}{name}.", child, depth + 1))
                else:
                    state[path + name] = child
        return unpack_entries(state)


def _names(values: Iterable[Any]) -> list[str]:
    return [value for value in values if type(value) is str]


def _entries(mapping: Any) -> list[tuple[str, Any]]:
    """Returns the named entries of a mapping."""
    if isinstance(mapping, InertObject):
        mapping = mapping.mapping
    return [(str(name), value) for name, value in mapping.items()] if type(mapping) is dict else []


def _owned(value: Any, module: InertObject) -> Any:
    """Returns a tensor that knows the class of its module."""
    if not isinstance(value, DescribedTensor):
        return value
    owned = copy.copy(value)
    owned.module_class = module.class_name.rpartition(".")[2]
    if owned.module_class == "Conv1D" and "nf" not in module.fields:
        owned.module_class = ""  # only that of transformers stores [in, out]
    return owned


def _packed(fields: dict[Any, Any]) -> list[tuple[str, Any]]:
    """Returns the attributes of a quantised module that its `state_dict` would hold beside tensors and modules."""
    found: list[tuple[str, Any]] = []
    for name in ("_packed_params", "param"):
        if isinstance(fields.get(name), InertObject) and not is_module(fields[name]):
            found.append((name, fields[name]))
    return found
