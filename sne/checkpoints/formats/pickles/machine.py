"""A machine that runs pickles without importing, calling or making anything that they name."""

import struct
from codecs import escape_decode
from collections.abc import Callable, Mapping
from typing import Any, final

from sne.checkpoints.described import InertObject
from sne.checkpoints.formats.stored_bytes import StoredBytes
from sne.errors import CheckpointError
from sne.work.collection import paused_collection

_LONG_BYTES = 4096
_LARGE_NUMBER = 1000
_UNIT = 64  # bytes of memory that one unit of the allowance stands for
_FEW = 16
_SMALL_KEY = 1 << 20


class PickleError(ValueError):
    """A pickle is damaged, or hostile, or describes something in an unknown way."""


@final
class Global(InertObject):
    """A class or function that a pickle names. It stands for the name alone."""

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


@final
class PickleMachine:
    """Runs the pickles of one run of bytes.

    A pickle is a program for a machine with a stack and a memo. This machine knows containers, numbers and text.
    Whatever else a pickle names becomes an `InertObject`, unless `calls` has a function for the name. The function
    belongs to the reader, never to the pickle.

    No length is believed: memory is taken for bytes that are there. Objects and copies are counted, so that a pickle
    takes memory in proportion to its file. Memo indices that are not consecutive are kept in a mapping, so that a large
    one costs nothing. Keys of mappings are text, small numbers, or converted to text, because hashing nested or chosen
    keys can take for ever or exhaust the stack. Long bytes are not read; they become `StoredBytes`.

    Args:
        stored: The bytes.
        calls: Functions of the reader by the name that stands for them in the pickle.
        persistent: Function that resolves persistent ids; None if there are none.

    Source: the opcodes of CPython's `pickletools`, protocols 0 to 5.
    """

    def __init__(
        self,
        stored: StoredBytes,
        calls: Mapping[str, Callable[..., Any]],
        persistent: Callable[[Any], Any] | None = None,
    ):
        self._stored = stored
        self._calls = calls
        self._persistent = persistent or _refuse_persistent
        self._buffer: tuple[Any, int] | None = None
        self._globals: dict[tuple[str, str], Global] = {}

    def load(self, start: int = 0) -> tuple[Any, int]:
        """Runs one pickle.

        Args:
            start: Offset of its first byte.

        Returns:
            The object, and the offset of the byte after the pickle.

        Raises:
            PickleError: If the pickle is damaged or hostile.
        """
        try:
            with paused_collection():
                return self._run(start)
        except (PickleError, CheckpointError):
            raise
        except (IndexError, KeyError, struct.error) as error:
            raise PickleError("truncated or damaged: it takes something that is not there") from error
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise PickleError(f"damaged ({str(error)[:80]})") from error

    def _run(self, start: int) -> tuple[Any, int]:
        if self._buffer is None:
            self._buffer = self._stored.buffer()
        data, first = self._buffer
        i, end = first + start, first + self._stored.size
        allowance = self._stored.most // _UNIT
        persistent, find = self._persistent, self._find
        stack: list[Any] = []
        outer: list[list[Any]] = []
        memo: list[Any] = []
        sparse: dict[int, Any] = {}
        while True:
            if allowance < 0:
                raise PickleError("hostile: it makes far more objects than its size allows")
            op = data[i]
            i += 1
            if op == 0x71:  # BINPUT
                index = data[i]
                i += 1
                if index == len(memo):
                    memo.append(stack[-1])
                else:
                    sparse[index] = stack[-1]
            elif op == 0x68:  # BINGET
                index = data[i]
                i += 1
                stack.append(sparse[index] if index in sparse else memo[index])
            elif op == 0x72:  # LONG_BINPUT
                index = data[i] | data[i + 1] << 8 | data[i + 2] << 16 | data[i + 3] << 24
                i += 4
                if index == len(memo):
                    memo.append(stack[-1])
                else:
                    allowance -= 2
                    sparse[index] = stack[-1]
            elif op == 0x4B:  # BININT1
                stack.append(data[i])
                i += 1
            elif op == 0x74:  # TUPLE
                allowance -= 1
                inner, stack = stack, outer.pop()
                stack.append(tuple(inner))
            elif op == 0x28:  # MARK
                allowance -= 2
                outer.append(stack)
                stack = []
            elif op == 0x58 or op == 0x8C or op == 0x8D:  # BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
                width = 4 if op == 0x58 else 1 if op == 0x8C else 8
                last = i + width + int.from_bytes(data[i : i + width], "little")
                i += width
                if last > end:
                    raise PickleError(f"truncated: text of {last - i} bytes is claimed, {end - i} are there")
                stack.append(str(data[i:last], "utf-8", "surrogatepass"))
                i = last
            elif op == 0x52:  # REDUCE
                args = stack.pop()
                allowance -= 4 + _cost(args)
                stack[-1] = self._make(stack[-1], args)
            elif op == 0x51:  # BINPERSID
                allowance -= 2
                stack[-1] = persistent(stack[-1])
            elif op == 0x29:  # EMPTY_TUPLE
                stack.append(())
            elif op == 0x85:  # TUPLE1
                allowance -= 1
                stack[-1] = (stack[-1],)
            elif op == 0x86:  # TUPLE2
                allowance -= 1
                last = stack.pop()
                stack[-1] = (stack[-1], last)
            elif op == 0x87:  # TUPLE3
                allowance -= 1
                last = stack.pop()
                middle = stack.pop()
                stack[-1] = (stack[-1], middle, last)
            elif op == 0x89:  # NEWFALSE
                stack.append(False)
            elif op == 0x88:  # NEWTRUE
                stack.append(True)
            elif op == 0x94:  # MEMOIZE
                memo.append(stack[-1])
            elif op == 0x4D:  # BININT2
                stack.append(data[i] | data[i + 1] << 8)
                i += 2
            elif op == 0x4A:  # BININT
                stack.append(int.from_bytes(data[i : i + 4], "little", signed=True))
                i += 4
            elif op == 0x6A:  # LONG_BINGET
                index = data[i] | data[i + 1] << 8 | data[i + 2] << 16 | data[i + 3] << 24
                i += 4
                stack.append(sparse[index] if index in sparse else memo[index])
            elif op == 0x75:  # SETITEMS
                items, stack = stack, outer.pop()
                allowance -= 2 + len(items)
                _set_items(stack[-1], items)
            elif op == 0x73:  # SETITEM
                allowance -= 3
                last = stack.pop()
                key = stack.pop()
                _set_items(stack[-1], [key, last])
            elif op == 0x7D:  # EMPTY_DICT
                allowance -= 2
                stack.append({})
            elif op == 0x5D or op == 0x8F:  # EMPTY_LIST, EMPTY_SET
                allowance -= 2
                stack.append([])
            elif op == 0x4E:  # NONE
                stack.append(None)
            elif op == 0x47:  # BINFLOAT
                stack.append(struct.unpack(">d", data[i : i + 8])[0])
                i += 8
            elif op == 0x61:  # APPEND
                last = stack.pop()
                allowance -= 1
                _extend(stack[-1], [last])
            elif op == 0x65 or op == 0x90:  # APPENDS, ADDITEMS
                items, stack = stack, outer.pop()
                _extend(stack[-1], items)
            elif op == 0x62:  # BUILD
                last = stack.pop()
                allowance -= 4 + _cost(last)
                _set_state(stack[-1], last)
            elif op == 0x63:  # GLOBAL
                module, i = _line(data, i, end)
                name, i = _line(data, i, end)
                stack.append(find(module, name))
            elif op == 0x93:  # STACK_GLOBAL
                name = stack.pop()
                stack[-1] = find(stack[-1], name)
            elif op == 0x81:  # NEWOBJ
                args = stack.pop()
                allowance -= 5 + _cost(args)
                stack[-1] = self._make(stack[-1], args)
            elif op == 0x2E:  # STOP
                if outer or not stack:
                    raise PickleError("damaged: it ends inside an object")
                return stack[-1], i - first
            elif op == 0x80:  # PROTO
                if data[i] > 5:
                    raise PickleError(f"it has protocol {data[i]}, the last that is known is 5")
                i += 1
            elif op == 0x95:  # FRAME
                count = int.from_bytes(data[i : i + 8], "little")
                i += 8
                if i + count > end:
                    raise PickleError(f"truncated: a frame of {count} bytes is claimed, {end - i} are there")
            elif op in _BYTES:
                width = _BYTES[op]
                last = i + width + int.from_bytes(data[i : i + width], "little")
                i += width
                if last > end:
                    raise PickleError(f"truncated: {last - i} bytes are claimed, {end - i} are there")
                value = self._stored.part(i - first, last - i) if last - i >= _LONG_BYTES else data[i:last]
                if op in b"TU" and type(value) is bytes and value.isascii():  # text of Python 2
                    value = str(value, "ascii")
                stack.append(value)
                i = last
            elif op == 0x8A or op == 0x8B:  # LONG1, LONG4
                width = 1 if op == 0x8A else 4
                count = int.from_bytes(data[i : i + width], "little")
                i += width
                if count > _LARGE_NUMBER or i + count > end:
                    raise PickleError(f"hostile or truncated: it claims a number of {count} bytes")
                stack.append(int.from_bytes(data[i : i + count], "little", signed=True))
                i += count
            elif op == 0x30:  # POP
                if stack:
                    stack.pop()
                else:
                    stack = outer.pop()
            elif op == 0x31:  # POP_MARK
                stack = outer.pop()
            elif op == 0x32:  # DUP
                stack.append(stack[-1])
            elif op == 0x91 or op == 0x6C:  # FROZENSET, LIST
                items, stack = stack, outer.pop()
                stack.append(items)
            elif op == 0x64:  # DICT
                items, stack = stack, outer.pop()
                allowance -= 3 + len(items)
                stack.append({})
                _set_items(stack[-1], items)
            elif op == 0x92:  # NEWOBJ_EX
                named, args = stack.pop(), stack.pop()
                allowance -= 5 + _cost(args) + _cost(named)
                stack[-1] = self._make(stack[-1], args)
                if type(stack[-1]) is InertObject:
                    _set_state(stack[-1], named)
            elif op == 0x6F:  # OBJ
                items, stack = stack, outer.pop()
                args = tuple(items[1:])
                allowance -= 5 + _cost(args)
                stack.append(self._make(items[0], args))
            elif op == 0x69:  # INST
                module, i = _line(data, i, end)
                name, i = _line(data, i, end)
                items, stack = stack, outer.pop()
                args = tuple(items)
                allowance -= 5 + _cost(args)
                stack.append(self._make(find(module, name), args))
            elif op == 0x70:  # PUT
                text, i = _line(data, i, end)
                index = _number(text)
                if index == len(memo):
                    memo.append(stack[-1])
                else:
                    allowance -= 2
                    sparse[index] = stack[-1]
            elif op == 0x67:  # GET
                text, i = _line(data, i, end)
                index = _number(text)
                stack.append(sparse[index] if index in sparse else memo[index])
            elif op == 0x50:  # PERSID
                text, i = _line(data, i, end)
                stack.append(persistent(text))
            elif op in b"IFLSV":
                text, i = _line(data, i, end)
                stack.append(_text_value(op, text))
            else:
                raise PickleError(f"damaged: it has the unknown opcode {op:#04x} at byte {i - 1 - first}")

    def _find(self, module: Any, name: Any) -> Global:
        """Returns the stand-in for a name."""
        if type(module) is not str or type(name) is not str:
            raise PickleError("hostile: it names a class by something that is not text")
        found = self._globals.get((module, name))
        if found is None:
            full = f"{module}.{name}"
            found = self._globals[module, name] = Global(full, self._calls.get(full))
        return found

    def _make(self, func: Any, args: Any) -> Any:
        """Returns what stands for the result of a call or for a new object."""
        if type(args) is not tuple:
            raise PickleError("damaged: the arguments of a call are not a tuple")
        if type(func) is Global and func.call is not None:
            return func.call(*args)
        return InertObject(func.class_name if isinstance(func, InertObject) else type(func).__name__, args)


_BYTES = {0x42: 4, 0x43: 1, 0x8E: 8, 0x96: 8, 0x54: 4, 0x55: 1}
"""Widths of the lengths of BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8, BINSTRING and SHORT_BINSTRING."""


def _cost(values: Any) -> int:
    """Returns the units that a copy of the arguments of a call may take; pickles can give the same ones many times."""
    cost = 0
    if type(values) is dict:
        return 2 * len(values)
    for value in values if type(values) is tuple else (values,):
        kind = type(value)
        if kind is tuple or kind is list or kind is dict:
            cost += 2 * len(value) if len(value) > _FEW else 0
        elif kind is str or kind is bytes:
            cost += len(value) // _UNIT
    return cost


def _refuse_persistent(reference: Any) -> Any:
    raise PickleError("it refers to something outside of itself")


def _line(data: Any, i: int, end: int) -> tuple[str, int]:
    """Returns the text up to the end of the line, and the position after it."""
    last = data.find(b"\n", i, end)
    if last < 0:
        raise PickleError("truncated: a line has no end")
    return str(data[i:last], "utf-8", "surrogateescape"), last + 1


def _number(text: str) -> int:
    """Returns a number written in decimals."""
    if len(text) > 2 * _LARGE_NUMBER:
        raise PickleError(f"hostile: it holds a number of {len(text)} digits")
    return int(text)


def _text_value(op: int, text: str) -> Any:
    """Returns the value that an opcode of protocol 0 writes as text."""
    if op == 0x49:  # INT
        return {"00": False, "01": True}[text] if text in ("00", "01") else _number(text)
    if op == 0x4C:  # LONG
        return _number(text.removesuffix("L"))
    if op == 0x46:  # FLOAT
        return float(text[:100])
    if op == 0x56:  # UNICODE
        return text.encode("utf-8", "surrogateescape").decode("raw-unicode-escape", "surrogateescape")
    quoted = text.strip().encode("utf-8", "surrogateescape")  # STRING
    if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in (b"'", b'"'):
        raise PickleError("damaged: a text has no quotes")
    value = escape_decode(quoted[1:-1])[0]
    assert isinstance(value, bytes)
    return value.decode("ascii") if value.isascii() else value


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


def _set_items(target: Any, items: list[Any]) -> None:
    """Sets the entries of a mapping: keys and values by turns."""
    if type(target) is not dict:
        if not isinstance(target, InertObject):
            raise PickleError(f"damaged: an object of type {type(target).__name__} is no mapping")
        target = target.mapping
    if len(items) % 2:
        raise PickleError("damaged: a key has no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[key if type(key) is str else _key(key)] = value


def _extend(target: Any, items: list[Any]) -> None:
    """Appends entries to a list."""
    if type(target) is not list:
        if not isinstance(target, InertObject):
            raise PickleError(f"damaged: an object of type {type(target).__name__} is no list")
        target = target.sequence
    target.extend(items)


def _set_state(target: Any, state: Any) -> None:
    """Gives an object its state. Containers, tensors and names take none."""
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
