"""What stands for the objects that a pickle names. It is built from the pickle, and does nothing."""

from collections.abc import Callable
from typing import Any, final

from sne.checkpoints.described import InertObject

UNIT = 64
"""Bytes of memory that one unit of a pickle's allowance stands for."""

_FEW = 16
_STRINGS = frozenset({str, bytes})
_SIZED = frozenset({tuple, list, dict}) | _STRINGS
_SMALL_KEY = 1 << 20


class PickleError(ValueError):
    """A pickle is damaged, or hostile, or describes something in an unknown way."""


@final
class Global(InertObject):
    """A class or function that a pickle names. It stands for the name alone.

    Args:
        name: Name of the class or function with its package.
        call: Function of the reader that is called in its place; None if there is none.
    """

    __slots__ = ("call",)

    def __init__(self, name: str, call: Callable[..., Any] | None):
        super().__init__(name)
        self.call = call


class Stateful(InertObject):
    """An object that a reader makes and that understands the state which follows it in the pickle."""

    __slots__ = ()

    def set_state(self, state: Any) -> None:
        """Takes the state.

        Args:
            state: Whatever the pickle gives.
        """
        raise NotImplementedError


def make(func: Any, args: Any) -> Any:
    """Returns what stands for the result of a call or for a new object.

    Args:
        func: What the pickle calls: a name, for which the reader may have a function, or any other object.
        args: Arguments.

    Raises:
        PickleError: If the arguments are not a tuple, or the reader's function refuses them.
    """
    if type(args) is not tuple:
        raise PickleError("damaged: the arguments of a call are not a tuple")
    if type(func) is Global and func.call is not None:
        return func.call(*args)
    return InertObject(func.class_name if isinstance(func, InertObject) else type(func).__name__, args)


def cost(values: Any) -> int:
    """Returns the units that a copy of arguments or of a state may take; pickles can give the same ones many times.

    Args:
        values: The arguments, or the state.
    """
    if type(values) is dict:
        return 2 * len(values)
    units = 0
    for value in values if type(values) is tuple else (values,):
        if type(value) in _SIZED and len(value) > _FEW:
            units += len(value) // UNIT if type(value) in _STRINGS else 2 * len(value)
    return units


def set_item(target: Any, key: Any, value: Any) -> None:
    """Sets one entry of a mapping.

    Args:
        target: The mapping, or an object that stands for one.
        key: Key of the entry.
        value: Value of the entry.

    Raises:
        PickleError: If the target is no mapping, or the key cannot be a key.
    """
    entries = _mapping(target)
    entries[key if type(key) is str else _key(key)] = value


def set_items(target: Any, items: list[Any]) -> None:
    """Sets entries of a mapping.

    Args:
        target: The mapping, or an object that stands for one.
        items: Keys and values by turns.

    Raises:
        PickleError: If the target is no mapping, a key cannot be a key, or the last key has no value.
    """
    entries = _mapping(target)
    if len(items) % 2:
        raise PickleError("damaged: a key has no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        entries[key if type(key) is str else _key(key)] = value


def _mapping(target: Any) -> dict[Any, Any]:
    if type(target) is dict:
        return target
    if not isinstance(target, InertObject):
        raise PickleError(f"damaged: an object of type {type(target).__name__} is no mapping")
    return target.mapping


def _key(key: Any) -> Any:
    """Returns something that is quick to hash and stands for the key."""
    kind = type(key)
    if kind is str or kind is bytes or key is None or kind is bool:
        return key
    if kind is int:
        return key if -_SMALL_KEY < key < _SMALL_KEY else hex(key)
    if kind is float:
        return repr(key)
    if kind is tuple or kind is list:  # a list stands for a frozen set
        return "(" + ", ".join(str(_key(item)) if type(item) in (str, int) else "..." for item in key[:8]) + ")"
    if kind is dict:
        raise PickleError("damaged: a container is the key of a mapping")
    return key


def extend(target: Any, items: list[Any]) -> None:
    """Appends entries to a list.

    Args:
        target: The list, or an object that stands for one.
        items: The entries.

    Raises:
        PickleError: If the target is no list.
    """
    if type(target) is not list:
        if not isinstance(target, InertObject):
            raise PickleError(f"damaged: an object of type {type(target).__name__} is no list")
        target = target.sequence
    target.extend(items)


def set_state(target: Any, state: Any) -> None:
    """Gives an object its state. Containers, tensors and names take none.

    Args:
        target: The object.
        state: Its attributes by name, a pair of attributes and slots by name, or anything else.
    """
    if isinstance(target, Stateful):
        target.set_state(state)
        return
    if type(target) is not InertObject:
        return
    if type(state) is tuple and len(state) == 2 and all(part is None or type(part) is dict for part in state):
        for part in state:  # attributes and slots
            target.fields.update(part or {})
    elif type(state) is dict:
        target.fields = {**target.fields, **state} if target.fields else state
    else:
        target.fields["state"] = state
