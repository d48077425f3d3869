"""The opcodes of pickle, protocols 0 to 5, on a stack of objects that do nothing."""

# ruff: noqa: D102 (`pickletools` documents each opcode)

import struct
from collections.abc import Callable
from typing import Any, final

from sne.checkpoints.described import InertObject
from sne.checkpoints.formats.pickles.lines import quoted_text, read_line, unicode_text, whole_number
from sne.checkpoints.formats.pickles.stand_ins import (
    UNIT,
    Global,
    PickleError,
    cost,
    extend,
    make,
    set_item,
    set_items,
    set_state,
)
from sne.checkpoints.formats.stored_bytes import StoredBytes

_LAST_PROTOCOL = 5
_LONG_BYTES = 4096
_MOST_BYTES_OF_NUMBER = 1000
_MOST_OF_FLOAT = 100
_BOOLEANS = {"00": False, "01": True}

_uint16 = struct.Struct("<H").unpack_from
_uint32 = struct.Struct("<I").unpack_from
_uint64 = struct.Struct("<Q").unpack_from
_int32 = struct.Struct("<i").unpack_from
_float64 = struct.Struct(">d").unpack_from


@final
class Execution:
    """The execution of one pickle.

    Methods with the name of an opcode do what `pickletools` says of it, with objects that do nothing in the place of
    those that the pickle names. They take the position after the opcode and return that of the next opcode; the other
    methods serve several opcodes. What takes memory reduces the allowance.

    Args:
        data: What holds the bytes.
        first: Position of the first byte of `stored` in the data.
        stored: The bytes, to which the pickle belongs.
        find: Function that returns the stand-in for a module and a name.
        persistent: Function that resolves persistent ids.
    """

    __slots__ = (
        "allowance", "data", "end", "find", "first", "memo", "outer", "persistent", "sparse", "stack", "stored",
    )  # fmt: skip

    def __init__(
        self,
        data: Any,
        first: int,
        stored: StoredBytes,
        find: Callable[[Any, Any], Global],
        persistent: Callable[[Any], Any],
    ):
        self.data = data
        self.first = first
        self.end = first + stored.size
        self.stored = stored
        self.find = find
        self.persistent = persistent
        self.allowance = stored.most // UNIT
        """Units of memory that the pickle may still take."""
        self.stack: list[Any] = []
        """Objects above the last mark."""
        self.outer: list[list[Any]] = []
        """Objects below each mark, down to the mark before; the lowest first."""
        self.memo: list[Any] = []
        """Objects of the memo by their index, as long as indices are consecutive."""
        self.sparse: dict[int, Any] = {}
        """Objects of the memo with other indices."""

    def run(self, i: int) -> tuple[Any, int]:
        """Runs the pickle.

        Args:
            i: Position of its first byte.

        Returns:
            The object, and the position after the pickle.
        """
        data, methods, stop = self.data, _METHODS, _STOP
        while (opcode := data[i]) != stop:
            i = methods[opcode](self, i + 1)
            if self.allowance < 0:
                raise PickleError("hostile: it makes far more objects than its size allows")
        if self.outer or not self.stack:
            raise PickleError("damaged: it ends inside an object")
        return self.stack[-1], i + 1

    def unknown(self, i: int) -> int:
        raise PickleError(f"damaged: it has the unknown opcode {self.data[i - 1]:#04x} at byte {i - 1 - self.first}")

    # Protocol and frames.

    def proto(self, i: int) -> int:
        if self.data[i] > _LAST_PROTOCOL:
            raise PickleError(f"it has protocol {self.data[i]}, the last that is known is {_LAST_PROTOCOL}")
        return i + 1

    def frame(self, i: int) -> int:
        size = _uint64(self.data, i)[0]
        if i + 8 + size > self.end:
            raise PickleError(f"truncated: a frame of {size} bytes is claimed, {self.end - i - 8} are there")
        return i + 8

    # The stack.

    def mark(self, i: int) -> int:
        self.allowance -= 2
        self.outer.append(self.stack)
        self.stack = []
        return i

    def pop(self, i: int) -> int:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.outer.pop()
        return i

    def pop_mark(self, i: int) -> int:
        self.stack = self.outer.pop()
        return i

    def dup(self, i: int) -> int:
        self.stack.append(self.stack[-1])
        return i

    def since_mark(self) -> list[Any]:
        """Takes the objects since the last mark from the stack."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    # The memo: most indices are consecutive.

    def binput(self, i: int) -> int:
        index, memo = self.data[i], self.memo
        if index == len(memo):
            memo.append(self.stack[-1])
        else:
            self.sparse[index] = self.stack[-1]
        return i + 1

    def long_binput(self, i: int) -> int:
        index, memo = _uint32(self.data, i)[0], self.memo
        if index == len(memo):
            memo.append(self.stack[-1])
        else:
            self.allowance -= 2
            self.sparse[index] = self.stack[-1]
        return i + 4

    def put(self, i: int) -> int:
        text, i = read_line(self.data, i, self.end)
        index = whole_number(text)
        if index == len(self.memo):
            self.memo.append(self.stack[-1])
        else:
            self.allowance -= 2
            self.sparse[index] = self.stack[-1]
        return i

    def memoize(self, i: int) -> int:
        self.memo.append(self.stack[-1])
        return i

    def binget(self, i: int) -> int:
        index = self.data[i]
        self.stack.append(self.sparse[index] if index in self.sparse else self.memo[index])
        return i + 1

    def long_binget(self, i: int) -> int:
        index = _uint32(self.data, i)[0]
        self.stack.append(self.sparse[index] if index in self.sparse else self.memo[index])
        return i + 4

    def get(self, i: int) -> int:
        text, i = read_line(self.data, i, self.end)
        index = whole_number(text)
        self.stack.append(self.sparse[index] if index in self.sparse else self.memo[index])
        return i

    # Constants and numbers.

    def none(self, i: int) -> int:
        self.stack.append(None)
        return i

    def newtrue(self, i: int) -> int:
        self.stack.append(True)
        return i

    def newfalse(self, i: int) -> int:
        self.stack.append(False)
        return i

    def int_(self, i: int) -> int:
        text, i = read_line(self.data, i, self.end)
        self.stack.append(_BOOLEANS[text] if text in _BOOLEANS else whole_number(text))
        return i

    def binint1(self, i: int) -> int:
        self.stack.append(self.data[i])
        return i + 1

    def binint2(self, i: int) -> int:
        self.stack.append(_uint16(self.data, i)[0])
        return i + 2

    def binint(self, i: int) -> int:
        self.stack.append(_int32(self.data, i)[0])
        return i + 4

    def long(self, i: int) -> int:
        text, i = read_line(self.data, i, self.end)
        self.stack.append(whole_number(text.removesuffix("L")))
        return i

    def long1(self, i: int) -> int:
        return self.push_long(i + 1, self.data[i])

    def long4(self, i: int) -> int:
        return self.push_long(i + 4, _uint32(self.data, i)[0])

    def push_long(self, i: int, size: int) -> int:
        if size > _MOST_BYTES_OF_NUMBER or i + size > self.end:
            raise PickleError(f"hostile or truncated: it claims a number of {size} bytes")
        self.stack.append(int.from_bytes(self.data[i : i + size], "little", signed=True))
        return i + size

    def float_(self, i: int) -> int:
        text, i = read_line(self.data, i, self.end)
        self.stack.append(float(text[:_MOST_OF_FLOAT]))
        return i

    def binfloat(self, i: int) -> int:
        self.stack.append(_float64(self.data, i)[0])
        return i + 8

    # Text and bytes.

    def unicode(self, i: int) -> int:
        text, i = read_line(self.data, i, self.end)
        self.stack.append(unicode_text(text))
        return i

    def short_binunicode(self, i: int) -> int:
        return self.push_text(i + 1, self.data[i])

    def binunicode(self, i: int) -> int:
        return self.push_text(i + 4, _uint32(self.data, i)[0])

    def binunicode8(self, i: int) -> int:
        return self.push_text(i + 8, _uint64(self.data, i)[0])

    def push_text(self, i: int, size: int) -> int:
        last = i + size
        if last > self.end:
            raise PickleError(f"truncated: text of {size} bytes is claimed, {self.end - i} are there")
        self.stack.append(str(self.data[i:last], "utf-8", "surrogatepass"))
        return last

    def short_binbytes(self, i: int) -> int:
        return self.push_bytes(i + 1, self.data[i])

    def binbytes(self, i: int) -> int:
        return self.push_bytes(i + 4, _uint32(self.data, i)[0])

    def binbytes8(self, i: int) -> int:
        return self.push_bytes(i + 8, _uint64(self.data, i)[0])

    bytearray8 = binbytes8

    def push_bytes(self, i: int, size: int) -> int:
        last = i + size
        if last > self.end:
            raise PickleError(f"truncated: {size} bytes are claimed, {self.end - i} are there")
        is_long = size >= _LONG_BYTES
        self.stack.append(self.stored.part(i - self.first, size) if is_long else self.data[i:last])
        return last

    def string(self, i: int) -> int:
        text, i = read_line(self.data, i, self.end)
        self.stack.append(quoted_text(text))
        return i

    def short_binstring(self, i: int) -> int:
        return self.ascii_as_text(self.short_binbytes(i))

    def binstring(self, i: int) -> int:
        return self.ascii_as_text(self.binbytes(i))

    def ascii_as_text(self, i: int) -> int:
        """Converts what Python 2 wrote for text; its other strings stay bytes."""
        value = self.stack[-1]
        if type(value) is bytes and value.isascii():
            self.stack[-1] = str(value, "ascii")
        return i

    # Tuples, lists, sets and mappings.

    def empty_tuple(self, i: int) -> int:
        self.stack.append(())
        return i

    def tuple1(self, i: int) -> int:
        self.allowance -= 1
        self.stack[-1] = (self.stack[-1],)
        return i

    def tuple2(self, i: int) -> int:
        self.allowance -= 1
        last = self.stack.pop()
        self.stack[-1] = (self.stack[-1], last)
        return i

    def tuple3(self, i: int) -> int:
        self.allowance -= 1
        last = self.stack.pop()
        middle = self.stack.pop()
        self.stack[-1] = (self.stack[-1], middle, last)
        return i

    def tuple_(self, i: int) -> int:
        self.allowance -= 1
        items, self.stack = self.stack, self.outer.pop()
        self.stack.append(tuple(items))
        return i

    def empty_list(self, i: int) -> int:
        self.allowance -= 2
        self.stack.append([])
        return i

    def list_(self, i: int) -> int:
        items = self.since_mark()
        self.stack.append(items)
        return i

    def append(self, i: int) -> int:
        self.allowance -= 1
        last = self.stack.pop()
        extend(self.stack[-1], [last])
        return i

    def appends(self, i: int) -> int:
        items = self.since_mark()
        extend(self.stack[-1], items)
        return i

    # A list stands for a set, because hashing chosen entries can take for ever.
    empty_set, frozenset_, additems = empty_list, list_, appends

    def empty_dict(self, i: int) -> int:
        self.allowance -= 2
        self.stack.append({})
        return i

    def dict_(self, i: int) -> int:
        items = self.since_mark()
        self.allowance -= 3 + len(items)
        self.stack.append({})
        set_items(self.stack[-1], items)
        return i

    def setitem(self, i: int) -> int:
        self.allowance -= 3
        last = self.stack.pop()
        key = self.stack.pop()
        set_item(self.stack[-1], key, last)
        return i

    def setitems(self, i: int) -> int:
        items = self.since_mark()
        self.allowance -= 2 + len(items)
        set_items(self.stack[-1], items)
        return i

    # Names, calls, objects and their state.

    def global_(self, i: int) -> int:
        module, i = read_line(self.data, i, self.end)
        name, i = read_line(self.data, i, self.end)
        self.stack.append(self.find(module, name))
        return i

    def stack_global(self, i: int) -> int:
        name = self.stack.pop()
        self.stack[-1] = self.find(self.stack[-1], name)
        return i

    def reduce(self, i: int) -> int:
        args = self.stack.pop()
        self.allowance -= 4 + cost(args)
        self.stack[-1] = make(self.stack[-1], args)
        return i

    def newobj(self, i: int) -> int:
        args = self.stack.pop()
        self.allowance -= 5 + cost(args)
        self.stack[-1] = make(self.stack[-1], args)
        return i

    def newobj_ex(self, i: int) -> int:
        named, args = self.stack.pop(), self.stack.pop()
        self.allowance -= 5 + cost(args) + cost(named)
        self.stack[-1] = make(self.stack[-1], args)
        if type(self.stack[-1]) is InertObject:
            set_state(self.stack[-1], named)
        return i

    def obj(self, i: int) -> int:
        items = self.since_mark()
        args = tuple(items[1:])
        self.allowance -= 5 + cost(args)
        self.stack.append(make(items[0], args))
        return i

    def inst(self, i: int) -> int:
        module, i = read_line(self.data, i, self.end)
        name, i = read_line(self.data, i, self.end)
        args = tuple(self.since_mark())
        self.allowance -= 5 + cost(args)
        self.stack.append(make(self.find(module, name), args))
        return i

    def build(self, i: int) -> int:
        state = self.stack.pop()
        self.allowance -= 4 + cost(state)
        set_state(self.stack[-1], state)
        return i

    def persid(self, i: int) -> int:
        text, i = read_line(self.data, i, self.end)
        self.stack.append(self.persistent(text))
        return i

    def binpersid(self, i: int) -> int:
        self.allowance -= 2
        self.stack[-1] = self.persistent(self.stack[-1])
        return i


_STOP = 0x2E
OPCODES: dict[int, Callable[[Execution, int], int]] = {
    0x80: Execution.proto, 0x95: Execution.frame,
    0x28: Execution.mark, 0x30: Execution.pop, 0x31: Execution.pop_mark, 0x32: Execution.dup,
    0x70: Execution.put, 0x71: Execution.binput, 0x72: Execution.long_binput, 0x94: Execution.memoize,
    0x67: Execution.get, 0x68: Execution.binget, 0x6A: Execution.long_binget,
    0x4E: Execution.none, 0x88: Execution.newtrue, 0x89: Execution.newfalse,
    0x49: Execution.int_, 0x4A: Execution.binint, 0x4B: Execution.binint1, 0x4D: Execution.binint2,
    0x4C: Execution.long, 0x8A: Execution.long1, 0x8B: Execution.long4,
    0x46: Execution.float_, 0x47: Execution.binfloat,
    0x56: Execution.unicode, 0x8C: Execution.short_binunicode, 0x58: Execution.binunicode, 0x8D: Execution.binunicode8,
    0x43: Execution.short_binbytes, 0x42: Execution.binbytes, 0x8E: Execution.binbytes8, 0x96: Execution.bytearray8,
    0x53: Execution.string, 0x55: Execution.short_binstring, 0x54: Execution.binstring,
    0x29: Execution.empty_tuple, 0x85: Execution.tuple1, 0x86: Execution.tuple2, 0x87: Execution.tuple3,
    0x74: Execution.tuple_,
    0x5D: Execution.empty_list, 0x6C: Execution.list_, 0x61: Execution.append, 0x65: Execution.appends,
    0x8F: Execution.empty_set, 0x91: Execution.frozenset_, 0x90: Execution.additems,
    0x7D: Execution.empty_dict, 0x64: Execution.dict_, 0x73: Execution.setitem, 0x75: Execution.setitems,
    0x63: Execution.global_, 0x93: Execution.stack_global, 0x52: Execution.reduce, 0x81: Execution.newobj,
    0x92: Execution.newobj_ex, 0x6F: Execution.obj, 0x69: Execution.inst, 0x62: Execution.build,
    0x50: Execution.persid, 0x51: Execution.binpersid,
}  # fmt: skip
"""The method of each opcode but STOP, by its code."""

_METHODS = tuple(OPCODES.get(opcode, Execution.unknown) for opcode in range(256))
