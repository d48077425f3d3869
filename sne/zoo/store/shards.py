"""Shards: files that hold the weights of many networks end to end, memory-mapped when read."""

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
WEIGHTS = "weights"
SHARD_NAME = re.compile(r"weights-(\d{5,})\.safetensors")


class Place(NamedTuple):
    """Where a network's vector stands: the shard, the first entry in it, the checksum of its bytes."""

    shard: str
    offset: int
    checksum: str


class ShardWriter:
    """Writes vectors into one shard after another. All vectors of a shard are of one type.

    Args:
        folder: where the shards appear.
        shard_bytes: size at which a shard is closed.
        first: number of the first shard.
    """

    def __init__(self, folder: Path, *, shard_bytes: int, first: int = 0) -> None:
        self._folder = folder
        self._shard_bytes = shard_bytes
        self._next = first
        self._vectors: list[Tensor] = []
        self._length = 0
        self.names: list[str] = []

    def add(self, vector: Float[Tensor, " entries"]) -> Place:
        """Adds a vector as it is; it must not change until the shard is closed."""
        if self._vectors:
            size = (self._length + len(vector)) * vector.element_size()
            if size > self._shard_bytes or self._vectors[0].dtype != vector.dtype:
                self.close()
        place = Place(shard_name(self._next), self._length, checksum(vector))
        self._vectors.append(vector)
        self._length += len(vector)
        return place

    def close(self) -> None:
        """Writes the shard that is open, if there is one.

        Raises:
            ZooError: the disk is full or fails.
        """
        if not self._vectors:
            return
        name, joined = shard_name(self._next), torch.cat(self._vectors)
        with replacing(self._folder / name) as partial:
            save_file({WEIGHTS: joined}, partial)
        self.names.append(name)
        self._vectors, self._length, self._next = [], 0, self._next + 1


class Shards:
    """Reads vectors from the shards of a folder. A shard is opened when first asked for, and stays mapped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._joined: dict[str, Tensor] = {}

    def vector(self, shard: str, offset: int, num_entries: int) -> Float[Tensor, " entries"]:
        """A vector, as stored: a view of the mapped file, to be read and never written to.

        Raises:
            ZooError: the shard is missing or damaged, or ends before the vector does.
        """
        joined = self._joined.get(shard)
        if joined is None:
            joined = self._joined[shard] = self._tensor(shard, WEIGHTS)
        if not 0 <= offset <= len(joined) - num_entries:
            end = offset + num_entries
            raise ZooError(f"{self._folder / shard} holds {len(joined)} weights, asked for {offset} to {end}")
        return joined[offset : offset + num_entries]

    def vector_by_id(self, shard: str, id: str, num_entries: int) -> Float[Tensor, " entries"]:
        """A vector of the first format, in which a shard holds a tensor for each id; otherwise as `vector`."""
        tensor = self._tensor(shard, id)
        if len(tensor) != num_entries:
            raise ZooError(f"{self._folder / shard}: {id} has {len(tensor)} weights, its layout has {num_entries}")
        return tensor

    def _tensor(self, shard: str, key: str) -> Tensor:
        path = self._folder / shard
        if not SHARD_NAME.fullmatch(shard):
            raise ZooError(f"{self._folder}: shard {shard!r} is not a plain file name such as {shard_name(0)}")
        try:
            if shard not in self._files:
                self._files[shard] = safe_open(path, framework="pt")
            tensor = self._files[shard].get_tensor(key)
        except (SafetensorError, OSError) as error:
            raise ZooError(f"{path}: {key} cannot be read: {error}") from None
        if tensor.ndim != 1 or not tensor.is_floating_point():
            raise ZooError(f"{path}: {key} is {tensor.dtype} {list(tensor.shape)}, expected one axis of floats")
        return tensor


def checksum(stored: Tensor) -> str:
    """CRC-32 of a contiguous tensor's bytes as they are stored, eight hex digits."""
    return f"{zlib.crc32(stored.view(torch.uint8).numpy().data):08x}"


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"weights-{number:05d}.safetensors"
