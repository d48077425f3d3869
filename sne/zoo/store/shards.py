"""Shards: files that hold the weights of many networks end to end; memory-mapped when read."""

import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sne.errors import ZooError
from sne.work import replacing

STORAGE = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Types in which weights can be stored."""

SHARD_BYTES = 64 << 20
"""Size at which a shard is closed."""

SHARD_NAME = re.compile(r"weights-(\d{5,})\.safetensors")
_WEIGHTS = "weights"  # the one tensor in a shard


class Place(NamedTuple):
    """The place of a network's flat vector: its shard, the index of its first entry there, and its checksum."""

    shard: str
    offset: int
    checksum: str


class ShardWriter:
    """Writes vectors into one shard after another. All vectors of a shard have one type.

    Args:
        folder: Folder of the shards.
        shard_bytes: Size at which a shard is closed.
        first: Number of the first shard.
    """

    def __init__(self, folder: Path, *, shard_bytes: int, first: int = 0) -> None:
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._next = first
        self._vectors: list[Tensor] = []
        self._length = 0
        self.names: list[str] = []

    def add(self, vector: Float[Tensor, " entries"]) -> Place:
        """Adds a vector in its own type. The vector must not change until the shard is closed."""
        if self._vectors:
            size = (self._length + len(vector)) * vector.element_size()
            if size > self._shard_bytes or self._vectors[0].dtype != vector.dtype:
                self.close()
        place = Place(_shard_name(self._next), self._length, checksum(vector))
        self._vectors.append(vector)
        self._length += len(vector)
        return place

    def close(self) -> None:
        """Writes the open shard, if there is one.

        Raises:
            WriteError: The disk is full or fails.
        """
        if not self._vectors:
            return
        name, joined = _shard_name(self._next), torch.cat(self._vectors)
        with replacing(self._folder / name) as partial:
            save_file({_WEIGHTS: joined}, partial)
        self.names.append(name)
        self._vectors, self._length, self._next = [], 0, self._next + 1


class Shards:
    """Reads vectors from the shards of a folder. A shard is opened when it is first used, and stays mapped.

    Args:
        folder: Folder of the shards.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._joined: dict[str, Tensor] = {}

    def vector(self, shard: str, offset: int, num_entries: int) -> Float[Tensor, " entries"]:
        """Returns a vector in its stored type, as a view of the mapped file that must not be changed.

        Raises:
            ZooError: The shard is missing or damaged, or ends before the vector does.
        """
        joined = self._joined.get(shard)
        if joined is None:
            joined = self._joined[shard] = self._open(shard)
        if not 0 <= offset <= len(joined) - num_entries:
            end = offset + num_entries
            raise ZooError(f"{self._folder / shard} holds {len(joined)} weights, asked for {offset} to {end}")
        return joined[offset : offset + num_entries]

    def _open(self, shard: str) -> Tensor:
        path = self._folder / shard
        if not SHARD_NAME.fullmatch(shard):
            raise ZooError(f"{self._folder}: shard {shard!r} is not a plain file name such as {_shard_name(0)}")
        try:
            file: Any = safe_open(path, framework="pt")
            tensor = file.get_tensor(_WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise ZooError(f"{path}: {_WEIGHTS} cannot be read: {error}") from None
        if tensor.ndim != 1 or not tensor.is_floating_point():
            raise ZooError(f"{path}: {_WEIGHTS} is {tensor.dtype} {list(tensor.shape)}, expected one axis of floats")
        return tensor


def checksum(stored: Tensor) -> str:
    """Returns the CRC-32 of the stored bytes of a contiguous tensor, as eight hexadecimal digits."""
    return f"{zlib.crc32(stored.view(torch.uint8).numpy().data):08x}"


def next_shard(names: set[str]) -> int:
    """Returns the number of the first shard after some shards."""
    numbers = [int(match[1]) for name in names if (match := SHARD_NAME.fullmatch(name))]
    return max(numbers, default=-1) + 1


def _shard_name(number: int) -> str:
    return f"weights-{number:05d}.safetensors"
