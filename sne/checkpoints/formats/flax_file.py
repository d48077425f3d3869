"""Reader of Flax checkpoints (.msgpack), as `flax.serialization.to_bytes` writes them.

The file is scanned by our own code, which keeps the places of arrays and no values. Its counts are checked against what
is left of the file.

Source: flax.serialization (0.12); MessagePack specification.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from sne.checkpoints.formats.arrays import ArrayTensors, StoredArray
from sne.checkpoints.formats.channels_last import read_channels_last
from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.raw_data import DTYPES, read_bytes
from sne.checkpoints.remote.path import FilePath
from sne.errors import CheckpointError

_MAX_DEPTH, _MAX_ITEMS, _MAX_AXES = 100, 2_000_000, 32
_ARRAY, _SCALAR = 1, 3  # extension types of Flax
_WRAPPERS = ("target", "model", "state", "variables", "train_state", "optimizer")
_OTHER = "stored next to params, which is read"
_OPTIMISER = "state of an optimiser, not a weight"
_SMALL = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_NUMBERS = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}


def is_flax(start: FileStart) -> bool:
    """Whether a file starts with a MessagePack map whose first key is a text."""
    first, *rest = start.head[:2] if len(start.head) > 1 else b"\0\0"
    skip = {0xDE: 3, 0xDF: 5}.get(first, 1 if 0x81 <= first <= 0x8F else 0)
    key = start.head[skip : skip + 1]
    letter = start.head[skip + 1 : skip + 2]
    return bool(skip and rest and key and letter) and 0xA1 <= key[0] <= 0xBF and letter.isascii() and letter.isalnum()


@dataclass(frozen=True)
class _Place:
    """An array in the file.

    Args:
        shape: Shape.
        dtype: Element type, a key of `DTYPES`.
        start: Offset of its values.
    """

    shape: tuple[int, ...]
    dtype: str
    start: int


def open_flax(file: FilePath, select: str | None = None) -> ArrayTensors:
    """Opens a checkpoint of Flax. Values are read one array at a time.

    Args:
        file: Path of the file.
        select: Ignored; of several collections, `params` and `batch_stats` are read.

    Returns:
        The parameters, turned to the names and axes of torch.

    Raises:
        CheckpointError: If the file is damaged or holds no parameters.
    """
    try:
        with file.open("rb") as stream:
            scan = _Scan(file, stream, file.stat().st_size)
    except OSError as error:
        raise CheckpointError(file, f"cannot be read: {error.strerror or error}") from error
    pieces = _joined(file, scan.arrays, scan.axes)
    arrays, notes = _parameters(pieces)
    reading = read_channels_last(arrays)

    def read(array: StoredArray) -> Tensor:
        values = []
        for place in pieces[array.key][1]:
            element = DTYPES[place.dtype]
            content = read_bytes(file, place.start, prod(place.shape) * element.itemsize, f"array {array.key!r}")
            values.append(content.view(element))
        return (values[0] if len(values) == 1 else torch.cat(values)).reshape(array.shape)

    notes = {**scan.notes, **notes, **reading.notes}
    return ArrayTensors(str(file), reading.turned, read, hints=reading.hints, notes=notes)


def _joined(
    file: FilePath, arrays: Mapping[str, _Place], axes: Mapping[str, int]
) -> dict[str, tuple[StoredArray, list[_Place]]]:
    """Joins the pieces of large arrays, which Flax cuts; other arrays are one piece."""
    found: dict[str, tuple[StoredArray, list[_Place]]] = {}
    cut: dict[str, dict[int, _Place]] = {}
    for path, place in arrays.items():
        stem, _, number = path.rpartition("/chunks/")
        if stem and number.isdigit() and len(number) < _MAX_AXES:
            cut.setdefault(stem, {})[int(number)] = place
        else:
            found[path] = (StoredArray(path, place.shape, place.dtype), [place])
    for stem, pieces in cut.items():
        places = [pieces[number] for number in sorted(pieces)]
        if sorted(pieces) != list(range(len(pieces))) or len({place.dtype for place in places}) != 1:
            raise CheckpointError(file, f"array {stem!r} lacks some of its pieces")
        shape = []
        while (size := axes.get(f"{stem}/shape/{len(shape)}")) is not None:
            shape.append(size)
        held = sum(prod(place.shape) for place in places)
        if held != prod(shape):
            raise CheckpointError(file, f"array {stem!r} of shape {shape} needs {prod(shape)} entries, has {held}")
        found[stem] = (StoredArray(stem, tuple(shape), places[0].dtype), places)
    return found


def _parameters(
    pieces: Mapping[str, tuple[StoredArray, list[_Place]]],
) -> tuple[dict[str, StoredArray], dict[str, str]]:
    """Chooses the parameters among the collections of a checkpoint, and says why the rest is not read."""
    start, notes = "", dict[str, str]()
    arrays = {path: array for path, (array, _) in pieces.items()}
    for _ in range(_MAX_DEPTH):
        tops = {path[len(start) :].partition("/")[0] for path in arrays if path.startswith(start)}
        inner = "params" if "params" in tops else next((name for name in _WRAPPERS if name in tops), None)
        below = f"{start}{inner}/"
        if inner is None or not any(path.startswith(below) for path in arrays):
            break
        is_last = inner == "params" and not any(path.startswith(f"{below}params/") for path in arrays)
        beside = f"{start}batch_stats/" if is_last else below
        for path in [path for path in arrays if not path.startswith((below, beside))]:
            top = path[: len(start)] + path[len(start) :].partition("/")[0]
            notes[top.replace("/", ".")] = _OPTIMISER if "opt" in top else _OTHER
            del arrays[path]
        if is_last:  # statistics stand under the same modules as the parameters
            return {
                path[len(below) if path.startswith(below) else len(beside) :]: a for path, a in arrays.items()
            }, notes
        start = below
    return {path[len(start) :]: array for path, array in arrays.items()}, notes


class _Scan:
    """One pass over a MessagePack file, which keeps the places of its arrays.

    Args:
        file: Path of the file, for error messages.
        stream: The file from its first byte on.
        size: Size of the file in bytes.
    """

    def __init__(self, file: FilePath, stream: io.BufferedIOBase, size: int):
        self._file, self._stream, self._size = file, stream, size
        self.axes: dict[str, int] = {}
        self.arrays: dict[str, _Place] = {}
        self.notes: dict[str, str] = {}
        items = 0
        pending: list[tuple[str, int, bool]] = [("", 1, False)]  # path, values to come, whether they have keys
        while pending:
            path, left, is_map = pending.pop()
            if not left:
                continue
            items += 1
            if len(pending) > _MAX_DEPTH or items > _MAX_ITEMS:
                raise CheckpointError(file, "the content is nested without end, or has too many entries")
            pending.append((path, left - 1, is_map))
            inner = f"{path}/{self._key()}".lstrip("/") if is_map else path
            if (opened := self._value(inner)) is not None:
                pending.append(opened)
        if stream.tell() != size:
            raise CheckpointError(file, f"the content ends at byte {stream.tell()}, the file has {size} bytes")

    def _read(self, length: int) -> bytes:
        content = self._stream.read(length) if length <= self._size else b""
        if len(content) != length:
            raise CheckpointError(self._file, f"truncated: the file ends at byte {self._size}")
        return content

    def _number(self, width: int) -> int:
        return int.from_bytes(self._read(width), "big")

    def _skip(self, length: int) -> None:
        if length > self._size - self._stream.tell():
            raise CheckpointError(self._file, f"truncated: the file ends at byte {self._size}")
        self._stream.seek(length, io.SEEK_CUR)

    def _text_length(self, code: int) -> int | None:
        if 0xA0 <= code <= 0xBF:
            return code & 31
        return self._number(1 << (code - 0xD9)) if 0xD9 <= code <= 0xDB else None

    def _key(self) -> str:
        code = self._number(1)
        length = self._text_length(code)
        if length is not None:
            return self._read(min(length, self._size)).decode("utf-8", errors="replace")
        if code <= 0x7F:
            return str(code)
        raise CheckpointError(self._file, f"a key that is no text at byte {self._stream.tell() - 1}")

    def _value(self, path: str) -> tuple[str, int, bool] | None:
        """Reads a value, or returns the map or list that begins: path, number of values, whether they have keys."""
        code = self._number(1)
        if 0x80 <= code <= 0x8F or code in (0xDE, 0xDF):
            return path, self._count(code & 15 if code <= 0x8F else self._number(2 << (code - 0xDE)), 2), True
        if 0x90 <= code <= 0x9F or code in (0xDC, 0xDD):
            return path, self._count(code & 15 if code <= 0x9F else self._number(2 << (code - 0xDC)), 1), False
        length = self._text_length(code)
        if length is not None or 0xC4 <= code <= 0xC6:
            self._skip(self._number(1 << (code - 0xC4)) if length is None else length)
        elif code in _SMALL:
            self._extension(path, _SMALL[code])
        elif 0xC7 <= code <= 0xC9:
            self._extension(path, self._number(1 << (code - 0xC7)))
        elif code <= 0x7F or 0xCC <= code <= 0xCF:
            number = code if code <= 0x7F else self._number(_NUMBERS[code])
            if "/shape/" in path:
                self.axes[path] = number
        elif code in _NUMBERS:
            self._skip(_NUMBERS[code])
        elif code == 0xC1:
            raise CheckpointError(self._file, f"an unknown value at byte {self._stream.tell() - 1}")
        return None

    def _count(self, count: int, bytes_each: int) -> int:
        if count * bytes_each > self._size - self._stream.tell():
            raise CheckpointError(self._file, f"a map or list claims {count} entries, more than the file can hold")
        return count

    def _extension(self, path: str, length: int) -> None:
        kind = self._number(1)
        end = self._stream.tell() + length
        if end > self._size:
            raise CheckpointError(self._file, f"truncated: the file ends at byte {self._size}")
        if kind == _ARRAY:
            self._array(path, end)
        elif kind != _SCALAR:
            self.notes[path.replace("/", ".")] = "a value of a type that Flax does not write; not read"
        self._stream.seek(end)

    def _array(self, path: str, end: int) -> None:
        """Reads the header of an array: a list of its shape, the name of its type and its values."""
        if self._number(1) != 0x93:
            raise CheckpointError(self._file, f"array {path!r} is not a shape, a type and values")
        code = self._number(1)
        rank = code & 15 if 0x90 <= code <= 0x9F else _MAX_AXES + 1
        if rank > _MAX_AXES:
            raise CheckpointError(self._file, f"array {path!r} has no shape of at most {_MAX_AXES} axes")
        shape = tuple(self._axis(path) for _ in range(rank))
        length = self._text_length(self._number(1))
        dtype = self._read(min(length or 0, 30)).decode("ascii", errors="replace")
        code = self._number(1)
        if not 0xC4 <= code <= 0xC6:
            raise CheckpointError(self._file, f"array {path!r} has no values")
        held = self._number(1 << (code - 0xC4))
        start = self._stream.tell()
        if dtype not in DTYPES:
            self.notes[path.replace("/", ".")] = f"an array of type {dtype}, which is not read"
        elif held != prod(shape) * DTYPES[dtype].itemsize or start + held > end:
            needed = prod(shape) * DTYPES[dtype].itemsize
            raise CheckpointError(self._file, f"array {path!r} of shape {list(shape)} needs {needed} bytes, has {held}")
        else:
            self.arrays[path] = _Place(shape, dtype, start)

    def _axis(self, path: str) -> int:
        code = self._number(1)
        if code <= 0x7F:
            return code
        if 0xCC <= code <= 0xCF:
            return self._number(1 << (code - 0xCC))
        raise CheckpointError(self._file, f"array {path!r} has a shape that is no list of numbers")
