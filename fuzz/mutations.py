"""Mutations of files that keep their structure, so that they reach what lies behind the first check.

A zip archive is changed in one member, a safetensors file in its header, a pickle in its opcodes, a protobuf message
in its fields, JSON in its values. Anything else, and everything from time to time, is changed byte by byte.
"""

import contextlib
import gzip
import io
import json
import math
import pickletools
import re
import tarfile
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

Generic = Callable[[bytes, Random], bytes]

NUMBERS = (0, 1, 2, 3, 7, 8, 16, 32, 127, 128, 255, 256, 1000, 4096, 65535, 2**16, 10**6, 10**9, 2**31 - 1, 2**31,
           2**32 - 1, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
"""Sizes, counts and offsets near a limit of some type."""

_TEXTS = (
    "", ".", "..", "../x", "/etc/passwd", "a" * 300, "weight", "0.weight", ".weight", "a..b", "x.bias", "\x1b[31m",
    "9" * 5000, "\u00b2.weight", "a." * 200, "F32", "I64", "U8", "qkv.weight", "weight_scale", "<script>",
)  # fmt: skip
_VALUES = (None, True, False, -1, 0.5, 1e308, float("nan"), float("inf"), 10**400, [], {}, [[]], *NUMBERS, *_TEXTS)
_OPCODES = (
    b"(", b".", b"0", b"1", b"2", b"N", b"\x88", b"]", b"}", b")", b"a", b"e", b"s", b"u", b"t", b"R", b"b", b"\x81",
    b"Q", b"\x85", b"\x86", b"\x87", b"\x8f", b"\x90", b"\x91", b"\x93", b"\x94", b"q\x00", b"r\xff\xff\xff\x7f",
    b"h\x00", b"K\x05", b"j\x00\x00\x00\x00", b"J\xff\xff\xff\xff", b"J\xff\xff\xff\x7f",
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"p99999999\n", b"X\x01\x00\x00\x00w", b"X\xff\xff\xff\x7f",
    b"\x8d" + b"\xff" * 7 + b"\x7f", b"B\xff\xff\xff\x7f", b"ccollections\nOrderedDict\n", b"cbuiltins\nbytearray\n",
    b"cos\nsystem\n", b"cnumpy\nndarray\n", b"\x82\x01", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n", b"cnumpy\ndtype\n", b"c__builtin__\nset\n", b"\x95" + b"\xff" * 8, b"I99999999999\n",
    b"F1e999\n", b"L9" + b"9" * 30 + b"L\n", b"(" * 50, b"]" * 50,
)  # fmt: skip


def mutate(data: bytes, draw: Random, generic: Generic | None = None) -> bytes:
    """Changes a file in one to four places.

    Args:
        data: Content of the file.
        draw: Source of randomness.
        generic: Changes bytes whose structure is not known; by default `change_bytes`.

    Returns:
        Another content. Most of it is as before.
    """
    for _ in range(draw.choice((1, 1, 1, 2, 2, 4))):
        data = _mutate_once(data, draw, generic or change_bytes)
    return data


def change_bytes(data: bytes, draw: Random) -> bytes:
    """Changes, removes, repeats or inserts bytes, or writes a number over some of them."""
    content = bytearray(data)
    at = draw.randrange(len(content) + 1)
    length = draw.choice((1, 1, 2, 4, 8, 32, 200))
    match draw.randrange(7):
        case 0 if content:
            content[min(at, len(content) - 1)] ^= 1 << draw.randrange(8)
        case 1 if content:
            content[min(at, len(content) - 1)] = draw.randrange(256)
        case 2:
            del content[at : at + length]
        case 3:
            content[at:at] = content[at : at + length] * draw.choice((1, 1, 1, 50))
        case 4:
            source = draw.randrange(len(content) + 1)
            content[at : at + length] = content[source : source + length]
        case 5:
            del content[at:]
        case _:
            size = draw.choice((1, 2, 4, 8))
            number = draw.choice(NUMBERS) % (1 << 8 * size)
            content[at : at + size] = number.to_bytes(size, draw.choice(("little", "little", "little", "big")))
    return bytes(content)


def _mutate_once(data: bytes, draw: Random, generic: Generic) -> bytes:
    if draw.random() < 0.15:
        return generic(data, draw)
    with contextlib.suppress(Exception):  # a file that is damaged already has no structure to keep
        if data.startswith(b"PK"):
            return _mutate_zip(data, draw, generic)
        if data.startswith(b"\x1f\x8b"):
            return gzip.compress(_mutate_once(gzip.GzipFile(fileobj=io.BytesIO(data)).read(10**6), draw, generic), 1)
        if data[257:262] == b"ustar":
            return _mutate_tar(data, draw, generic)
        if data[8:9] == b"{":
            return _mutate_safetensors(data, draw)
        if data[:1] in (b"{", b"["):
            return _mutate_json(data, draw)
        if data.startswith(b"\x80"):
            return _mutate_pickles(data, draw, generic)
        if data[:1] in (b"\x08", b"\x0a"):
            return _message_bytes(_mutate_message(_parse_message(data), draw, generic))
    return generic(data, draw)


def _mutate_zip(data: bytes, draw: Random, generic: Generic) -> bytes:
    """Changes one member of an archive, its name or whether it is there."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [[info, archive.read(info)] for info in archive.infolist() if info.file_size < 10**6]
    member = draw.choice(
        sorted(members, key=lambda one: not one[0].filename.endswith(("pkl", "json")))[
            : 1 + draw.randrange(len(members))
        ]
    )
    match draw.randrange(12):
        case 0:
            members.remove(member)
        case 1:
            member[0].filename = draw.choice((*_TEXTS[:6], member[0].filename + "x", draw.choice(members)[0].filename))
        case 2:
            member[1] = draw.choice(members)[1]
        case 3:
            member[0].compress_type = draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        case _:
            member[1] = _mutate_once(member[1], draw, generic)
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        for info, content in members:
            copy = zipfile.ZipInfo(info.filename)
            copy.compress_type = info.compress_type
            archive.writestr(copy, content)
    return result.getvalue()


def _mutate_tar(data: bytes, draw: Random, generic: Generic) -> bytes:
    """Changes the content of one member of an archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [[info, archive.extractfile(info).read() if info.isfile() else b""] for info in archive]  # type: ignore[union-attr]
    member = draw.choice(members)
    member[1] = _mutate_once(member[1], draw, generic)
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return result.getvalue()


def _mutate_safetensors(data: bytes, draw: Random) -> bytes:
    """Changes the header and keeps its length right. Mostly, the places of the tensors follow the change."""
    length = int.from_bytes(data[:8], "little")
    header, values = _mutate_json(data[8 : 8 + length], draw), data[8 + length :]
    if draw.random() < 0.7:
        with contextlib.suppress(Exception):
            header, values = _with_places(json.loads(header), values)
    return len(header).to_bytes(8, "little") + header + values


def _with_places(entries: dict[str, Any], values: bytes) -> tuple[bytes, bytes]:
    """Gives the tensors of a header places one after the other, as many bytes as their shapes need."""
    end = 0
    for name, entry in entries.items():
        if name != "__metadata__" and isinstance(entry, dict) and {"dtype", "shape"} <= entry.keys():
            bits = int(re.sub(r"\D.*", "", str(entry["dtype"])[1:].removeprefix("F")) or 8)
            shape = entry["shape"]
            if any(type(n) is not int for n in shape) or not 0 <= (size := math.prod(shape) * bits // 8) < 10**5 - end:
                break
            entry["data_offsets"] = [end, end + size]
            end += size
    return json.dumps(entries).encode("utf-8", "surrogatepass"), (values + bytes(10**5))[:end]


def _mutate_json(text: bytes, draw: Random) -> bytes:
    """Changes one value or key, adds one, removes one, or nests one."""
    root = [json.loads(text)]
    places: list[tuple[Any, Any]] = [(root, 0)]
    for holder, key in places:
        value = holder[key]
        if isinstance(value, dict | list):
            places += [(value, inner) for inner in (value if isinstance(value, dict) else range(len(value)))]
    holder, key = draw.choice(places)
    value = holder[key]
    match draw.randrange(9):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[draw.choice(_TEXTS)] = holder.pop(key)
        case 2:
            other = draw.choice(places)
            holder[key] = json.loads(json.dumps(other[0][other[1]]))
        case 3:
            for _ in range(draw.choice((1, 3, 60, 2000))):
                value = [value]
            holder[key] = value
        case 4 if isinstance(value, list):
            value += value * draw.choice((1, 1, 40)) or [1]
        case 5 if isinstance(value, dict):
            value[draw.choice(_TEXTS)] = draw.choice(_VALUES)
        case 6 if isinstance(value, int | float):
            holder[key] = value + draw.choice((-1, 1, 4, -8))
        case 7:
            shape, dtype = (
                draw.choice(([2, 3], [0], [2] * 40, [10**6], [4, 3, 3, 3])),
                draw.choice(("F32", "U8", "I32")),
            )
            holder[key] = {"dtype": dtype, "shape": shape, "data_offsets": [0, 24]}
        case _:
            holder[key] = draw.choice(_VALUES)
    return json.dumps(root[0] if root else None).encode("utf-8", "surrogatepass")


def _mutate_pickles(data: bytes, draw: Random, generic: Generic) -> bytes:
    """Removes, repeats, exchanges or inserts opcodes, or changes the argument of one, in one of several pickles."""
    stream, opcodes = io.BytesIO(data), []
    with contextlib.suppress(Exception):
        while stream.tell() < len(data) and len(opcodes) < 5000:
            opcodes += [at for _, _, at in pickletools.genops(stream)]
    opcodes.append(stream.tell())
    pieces = [data[a:b] for a, b in zip(opcodes, [*opcodes[1:], len(data)], strict=True)]
    at, other = draw.randrange(len(pieces)), draw.randrange(len(pieces))
    match draw.randrange(7):
        case 0:
            del pieces[at]
        case 1:
            pieces[at:at] = [pieces[other]] * draw.choice((1, 1, 3, 100))
        case 2:
            pieces[at], pieces[other] = pieces[other], pieces[at]
        case 3 | 4:
            pieces[at:at] = [draw.choice(_OPCODES)] * draw.choice((1, 1, 1, 3, 500))
        case 5:
            pieces[at] = draw.choice(_OPCODES)
        case _:
            pieces[at] = pieces[at][:1] + generic(pieces[at][1:], draw)
    return b"".join(pieces)


_Field = tuple[int, int, Any]  # number, wire type, and an integer, the bytes of a fixed number, or bytes


def _parse_message(data: bytes) -> list[_Field]:
    """Reads the fields of a protobuf message; raises an error if the bytes are none."""
    fields: list[_Field] = []
    at = 0
    while at < len(data):
        tag, at = _parse_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _parse_varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(wire)
            if size is None and wire == 2:
                size, at = _parse_varint(data, at)
            if size is None or at + size > len(data) or not number:
                raise ValueError("no protobuf message")
            value, at = data[at : at + size], at + size
        fields.append((number, wire, value))
    return fields


def _parse_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _varint_bytes(value: int) -> bytes:
    result = bytearray()
    value %= 1 << 64
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    return bytes([*result, value])


def _message_bytes(fields: list[_Field]) -> bytes:
    """Writes the fields of a protobuf message. Inverse: `_parse_message`."""
    parts = []
    for number, wire, value in fields:
        length = _varint_bytes(len(value)) if wire == 2 else b""
        parts += [_varint_bytes(number << 3 | wire), length, _varint_bytes(value) if wire == 0 else value]
    return b"".join(parts)


def _mutate_message(fields: list[_Field], draw: Random, generic: Generic) -> list[_Field]:
    """Changes, removes, repeats or moves one field of a message, or of a message inside it."""
    at = draw.randrange(len(fields))
    number, wire, value = fields[at]
    if wire == 2 and draw.random() < 0.85:
        with contextlib.suppress(ValueError, IndexError):
            inner = _mutate_message(_parse_message(value), draw, generic)
            return [*fields[:at], (number, wire, _message_bytes(inner)), *fields[at + 1 :]]
    match draw.randrange(8):
        case 0:
            del fields[at]
        case 1:
            fields[at:at] = [fields[at]] * draw.choice((1, 1, 2, 60))
        case 2:
            fields[at] = draw.choice(fields)
        case 3:
            fields[at] = (draw.choice((number + 1, number - 1, draw.randrange(1, 24))) or 1, wire, value)
        case 4 if wire == 2:
            for _ in range(draw.choice((1, 20, 150))):  # a message in itself
                value = _message_bytes([*fields[:2], (number, 2, value)])
            fields[at] = (number, wire, value)
        case 5 if wire == 2:
            fields[at] = (number, wire, draw.choice(_TEXTS).encode())
        case _ if wire == 0:
            fields[at] = (number, wire, draw.choice((value + 1, value - 1, draw.randrange(30), draw.choice(NUMBERS))))
        case _:
            fields[at] = (
                number,
                wire,
                generic(value, draw)[: 10**6 if wire == 2 else len(value)].ljust(1 if wire == 2 else len(value), b"\0"),
            )
    return fields
