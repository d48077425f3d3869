"""Reader of .gguf files, the format of llama.cpp, whose weights are dequantised when they are loaded."""

import io
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.raw_data import DTYPES, read_bytes
from sne.checkpoints.remote.path import FilePath
from sne.checkpoints.stored import StoredTensors
from sne.errors import CheckpointError, install_hint
from sne.networks import Hint, TensorInfo
from sne.networks.claims import MAX_TENSORS

_PLAIN = {
    0: "float32", 1: "float16", 24: "int8", 25: "int16", 26: "int32", 27: "int64", 28: "float64", 30: "bfloat16",
}  # fmt: skip
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_DEPTH, _MAX_AXES, _MAX_NAME, _MAX_KEPT = 4, 8, 10_000, 16
_MAX_ALIGNMENT = 1_000_000
_MAX_EXPERTS = 10_000
_FEW_TENSORS = 20_000
_BYTES_PER_EXPERT = 64  # far fewer than an expert has; each becomes a tensor of its own, which takes memory
_CHUNK = 4_000_000  # entries that are dequantised at once
_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
_PERMUTED = (
    "in the files of this architecture the rows of queries and keys are in the order of llama.cpp and of Meta, "
    "not in that of transformers"
)
_ROTARY = "rotary frequencies, not a weight"


_MODULES = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"embd", "embed"),
        (r"token_types", "token_type_embed"),
        (r"(attn_output_norm|post_attention_norm)\.", "post_attn_norm."),
        (r"(layer_output_norm|post_ffw_norm)\.", "post_ffn_norm."),
        (r"\.ffn_gate_inp\.", ".ffn.router."),
        (r"\.ffn_(\w+)_exps\.", r".ffn.experts.\1."),
        (r"\.ffn_(\w+)_shexp\.", r".ffn.shared_expert.\1."),
        (r"\.(cross_attn|attn|ffn|ssm)_(?!norm|pre_norm|post_norm)", r".\1."),
    )
)
"""Flat names of llama.cpp (`attn_q`), and the modules that they stand for (`attn.q`). All rows are applied."""


def module_name(name: str) -> str:
    """Returns the name of a tensor of llama.cpp with the modules that its flat name stands for.

    Example:
        >>> module_name("blk.0.attn_q.weight"), module_name("token_embd.weight"), module_name("output.weight")
        ('blk.0.attn.q.weight', 'token_embed.weight', 'output.weight')
    """
    if "blk." in name or name.startswith(("token_", "position_")):
        for pattern, words in _MODULES:
            name = pattern.sub(words, name)
    return name


def is_gguf(start: FileStart) -> bool:
    """Whether a file starts with the magic bytes of GGUF."""
    return start.head.startswith(b"GGUF")


@dataclass(frozen=True)
class _Place:
    """Where the values of a tensor are, and how.

    Args:
        start: Offset in the file.
        kind: Number of the GGML type.
        block: Entries per block of the type.
        block_bytes: Size of a block.
    """

    start: int
    kind: int
    block: int
    block_bytes: int


@final
class GgufTensors(StoredTensors):
    """The tensors of a GGUF file, with axes in the order of torch. Experts that share a tensor are read apart.

    Args:
        file: Path of the file.
        select: Ignored; the file holds one flat list of tensors.

    Raises:
        CheckpointError: If the file is damaged, or if it is quantised and the package gguf is not installed.
    """

    def __init__(self, file: FilePath, select: str | None = None):
        self._file = file
        self._places: dict[str, _Place] = {}
        try:
            size = file.stat().st_size
            with file.open("rb") as stream:
                header = _Header(file, stream, size)
        except OSError as error:
            raise CheckpointError(file, f"cannot be read: {error.strerror or error}") from error
        self._most = min(MAX_TENSORS, _FEW_TENSORS + size // _BYTES_PER_EXPERT)
        infos: dict[str, TensorInfo] = {}
        notes = dict(header.notes)
        hints: dict[str, Hint] = {}
        sizes = _block_sizes(file, header.tensors)
        end = 0
        for name, (shape, kind, start) in sorted(header.tensors.items(), key=lambda item: item[1][2]):
            if kind not in sizes:
                notes[name] = f"packed in the GGML type {kind}, which is not known; not read"
                continue
            block, block_bytes, dtype = sizes[kind]
            if prod(shape) % block:
                raise CheckpointError(file, f"tensor {name!r} has {prod(shape)} entries, expected blocks of {block}")
            num_bytes = prod(shape) // block * block_bytes
            if start < end:
                raise CheckpointError(file, f"tensor {name!r} overlaps the one before it")
            end = start + num_bytes
            if end > size:
                raise CheckpointError(file, f"truncated: tensor {name!r} ends at byte {end}, the file has {size} bytes")
            self._add(TensorInfo(name, shape, dtype), _Place(start, kind, block, block_bytes), infos)
            if name.startswith("rope_f"):
                hints[name] = Hint(unused=_ROTARY)
        if not infos:
            raise CheckpointError(file, "the file holds no tensors that can be read")
        super().__init__(str(file), infos.values(), hints=hints, notes=notes, metadata=header.metadata)

    def _add(self, info: TensorInfo, place: _Place, infos: dict[str, TensorInfo]) -> None:
        """Adds a tensor, or one for each expert if the first axis counts experts."""
        name = module_name(info.name)
        if name in infos:
            raise CheckpointError(self._file, f"there are two tensors {name!r}")
        before, found, after = name.rpartition(".experts.")
        if found and len(info.shape) == 3 and info.shape[0] <= _MAX_EXPERTS:
            if len(infos) + info.shape[0] > self._most:
                raise CheckpointError(self._file, "its tensors claim more experts than a file of its size holds")
            step = prod(info.shape[1:]) // place.block * place.block_bytes
            for expert in range(info.shape[0]):
                one = f"{before}.experts.{expert}.{after}"
                infos[one] = TensorInfo(one, info.shape[1:], info.dtype)
                self._places[one] = replace(place, start=place.start + expert * step)
        else:
            infos[name] = TensorInfo(name, info.shape, info.dtype)
            self._places[name] = place

    def read_stored(self, name: str) -> Tensor:
        """Reads one tensor, in float32 if it is quantised."""
        info = self.infos[name]
        return self.read_range(name, 0, info.num_entries).reshape(info.shape)

    def read_range(self, name: str, start: int, stop: int) -> Tensor:
        """Reads some entries of one tensor, and the other entries of the blocks that they are in."""
        place = self._places[name]
        first, last = start // place.block, -(-stop // place.block)
        num_bytes = (last - first) * place.block_bytes
        content = read_bytes(self._file, place.start + first * place.block_bytes, num_bytes, f"tensor {name!r}")
        if place.kind in _PLAIN:
            return content.view(DTYPES[_PLAIN[place.kind]])
        from gguf import GGMLQuantizationType, quants

        values = torch.empty((last - first) * place.block, dtype=torch.float32)
        step = max(_CHUNK // place.block, 1)
        for block in range(0, last - first, step):
            blocks = content[block * place.block_bytes : (block + step) * place.block_bytes]
            decoded = quants.dequantize(blocks.numpy(), GGMLQuantizationType(place.kind))
            values[block * place.block : block * place.block + decoded.size] = torch.from_numpy(decoded.reshape(-1))
        return values[start - first * place.block : stop - first * place.block]


def _block_sizes(file: FilePath, tensors: Mapping[str, Any]) -> dict[int, tuple[int, int, str]]:
    """Returns entries per block, bytes per block and a name for each type that can be read."""
    sizes = {kind: (1, DTYPES[dtype].itemsize, dtype) for kind, dtype in _PLAIN.items()}
    if all(kind in _PLAIN for _, kind, _ in tensors.values()):
        return sizes
    try:
        from gguf import GGML_QUANT_SIZES, quants
    except ImportError as error:
        raise CheckpointError(file, f"reading quantised GGUF needs the package gguf; {install_hint('gguf')}") from error
    for kind in quants._type_traits:
        if int(kind) not in sizes:
            sizes[int(kind)] = (*GGML_QUANT_SIZES[kind], kind.name.lower())
    return sizes


class _Header:
    """The header of a GGUF file: metadata and the list of tensors. Every count is checked against what is left.

    Args:
        file: Path of the file, for error messages.
        stream: The file from its first byte on.
        size: Size of the file in bytes.
    """

    def __init__(self, file: FilePath, stream: io.BufferedIOBase, size: int):
        self._file, self._stream, self._size = file, stream, size
        self.metadata: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.tensors: dict[str, tuple[tuple[int, ...], int, int]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        stream.seek(4)
        version = self._number("I")
        if version not in (2, 3):
            hint = "; big-endian files are not read" if version & 0xFFFF == 0 else ""
            raise CheckpointError(file, f"a GGUF file of version {version}, expected 2 or 3{hint}")
        num_tensors, num_pairs = self._count(24), self._count(13)
        for _ in range(num_pairs):
            self._pair()
        for _ in range(num_tensors):
            self._tensor()
        stated = self.metadata.get("general.alignment", "32")
        alignment = int(stated) if stated.isdigit() and len(stated) < _MAX_AXES else 0
        if not 0 < alignment <= _MAX_ALIGNMENT:
            raise CheckpointError(file, f"values are aligned to {stated[:40]!r} bytes, expected 1 to {_MAX_ALIGNMENT}")
        start = -(-stream.tell() // alignment) * alignment
        self.tensors = {name: (shape, kind, start + at) for name, (shape, kind, at) in self.tensors.items()}
        if self.metadata.get("general.architecture") == "llama":
            self.notes["general.architecture"] = _PERMUTED

    def _read(self, length: int) -> bytes:
        content = self._stream.read(length)
        if len(content) != length:
            raise CheckpointError(self._file, f"truncated: the header ends at byte {self._size}")
        return content

    def _number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._read(struct.calcsize(f"<{code}")))[0]

    def _count(self, bytes_each: int) -> int:
        """Reads a count of things that take so many bytes each, at least."""
        count = self._number("Q")
        if count * bytes_each > self._size - self._stream.tell():
            raise CheckpointError(self._file, f"the header claims {count} entries, more than the file can hold")
        return count

    def _text(self, limit: int = _MAX_NAME) -> str:
        length = self._count(1)
        if length > limit:
            self._stream.seek(length, 1)
            return ""
        return self._read(length).decode("utf-8", errors="replace")

    def _pair(self) -> None:
        key, kind = self._text(), self._number("I")
        value = self._value(kind, 0)
        if isinstance(value, list):
            if key.startswith(_ORIGINAL_SHAPE) and all(type(entry) is int and entry >= 0 for entry in value):
                self._shapes[key.removeprefix(_ORIGINAL_SHAPE)] = tuple(value)
        elif value is not None:
            self.metadata[key] = str(value)

    def _value(self, kind: int, depth: int) -> Any:
        """Reads a value; arrays of more than a few numbers, and arrays of other things, are passed over."""
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY or depth > _MAX_DEPTH:
            raise CheckpointError(self._file, f"the metadata has a value of unknown type {kind}, or nested too deeply")
        inner = self._number("I")
        if inner in _SCALARS:
            width = struct.calcsize(_SCALARS[inner])
            count = self._count(width)
            if count <= _MAX_KEPT:
                return [self._number(_SCALARS[inner]) for _ in range(count)]
            self._stream.seek(count * width, 1)
            return None
        for _ in range(self._count(8)):
            if inner == _STRING:
                self._stream.read(self._count(1))
            else:
                self._value(inner, depth + 1)
        return None

    def _tensor(self) -> None:
        name, num_axes = self._text(), self._number("I")
        if not name or name in self.tensors:
            raise CheckpointError(self._file, f"there are two tensors {name[:80]!r}, or one without a name")
        if num_axes > _MAX_AXES:
            raise CheckpointError(self._file, f"tensor {name!r} has {num_axes} axes, at most {_MAX_AXES} are read")
        shape = tuple(self._number("Q") for _ in range(num_axes))[::-1]
        kind, start = self._number("I"), self._number("Q")
        original = self._shapes.get(name)
        if original is not None and prod(original) == prod(shape):
            shape = original
        self.tensors[name] = (shape, kind, start)
