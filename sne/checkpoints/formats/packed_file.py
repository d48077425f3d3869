"""Reader of checkpoints that were packed: gzip, tar and zip files, policies of stable-baselines3."""

import gzip
import os
import tarfile
import tempfile
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torch import Tensor

from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.stored_bytes import FileBytes, MappedFile, StoredBytes, most_memory
from sne.checkpoints.formats.zip_archive import read_members
from sne.checkpoints.remote.path import FilePath
from sne.checkpoints.stored import StoredTensors, read_range
from sne.errors import CheckpointError, Remedy

_PREFERRED = ("policy.pth", "model_weights.ckpt", "serialized_state_dict.pt")
"""Members that hold the network in archives of stable-baselines3, of NeMo, and of torch.export before torch 2.8."""

_OPTIMISERS = ("optim", "training_args", "scheduler", "scaler", "rng_state", "random_states", "pytorch_variables")
_STEP = 1 << 20
_MOST_MEMBERS = 10_000
_TAR_MARK = 257
_HEAD = 64
_MOST_LEVELS = 3
_LEVEL = threading.local()

Open = Callable[[FilePath, str | None], StoredTensors]


@dataclass(frozen=True)
class Member:
    """A file within an archive.

    Args:
        name: Its name.
        stored: Its content.
    """

    name: str
    stored: StoredBytes

    @property
    def holds_weights(self) -> bool:
        """Whether the content starts like a torch, safetensors or HDF5 file, and is no state of the training."""
        base = self.name.rpartition("/")[2].lower()
        if self.stored.size < _HEAD or any(word in base for word in _OPTIMISERS):
            return False
        head = self.stored.read_bytes(0, _HEAD)
        is_safetensors = head[8:9] == b"{" and int.from_bytes(head[:8], "little") < self.stored.size
        is_pickle = head[:1] == b"\x80" and head[1] in range(2, 6)
        return is_pickle or is_safetensors or head.startswith((b"PK\x03\x04", b"\x89HDF", b"GGUF"))


def is_packed(start: FileStart) -> bool:
    """Whether a file is a gzip or tar file, or a zip archive with files inside that may be checkpoints."""
    if start.head.startswith(b"\x1f\x8b") or is_tar(start.path):
        return True
    return any(name.lower().endswith((".pt", ".pth", ".ckpt", ".bin", ".safetensors")) for name in start.members)


def is_tar(file: FilePath) -> bool:
    """Whether a file is a tar file.

    Args:
        file: Path of the file.
    """
    with file.open("rb") as stream:
        stream.seek(_TAR_MARK)
        return stream.read(5) == b"ustar"


def open_packed(file: FilePath, select: str | None, open_file: Open) -> StoredTensors:
    """Opens the checkpoint within a gzip, tar or zip file.

    The checkpoint is unpacked to a temporary file, which is removed with the returned object. Names of members are
    never used as paths.

    Args:
        file: Path of the packed file.
        select: Name of the member to read, or of the network within the only one; None for the main network.
        open_file: Opens the unpacked file.

    Returns:
        Its tensors.

    Raises:
        CheckpointError: If the file is damaged, unpacks to far more than its size, or holds no or several checkpoints.
    """
    with file.open("rb") as stream:
        head = stream.read(_HEAD)
    if head.startswith(b"\x1f\x8b"):
        return UnpackedTensors(file, "", _gunzip(file), select, open_file, {})
    members = _tar_members(file) if is_tar(file) else _zip_members(file)
    found = {member.name: member for member in members if member.holds_weights}
    chosen = _choose(file, found, select)
    inner = None if select == chosen.name else select
    notes = {
        name: f"another file of the archive, of which {chosen.name!r} is read" for name in found if name != chosen.name
    }
    return UnpackedTensors(file, chosen.name, _parts(chosen.stored), inner, open_file, notes)


def _choose(file: FilePath, found: Mapping[str, Member], select: str | None) -> Member:
    """Returns the member that holds the network."""
    if select is not None and select in found:
        return found[select]
    names = [name for name in found if name.rpartition("/")[2] in _PREFERRED] or list(found)
    if not names:
        raise CheckpointError(file, "an archive without a checkpoint that is known")
    if len(names) > 1:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        remedy = Remedy("select", names[0], "reads the first of them")
        raise CheckpointError(file, f"an archive of {len(names)} checkpoints: {shown}", remedy)
    return found[names[0]]


@final
class UnpackedTensors(StoredTensors):
    """The tensors of a checkpoint that was unpacked to a temporary file.

    Args:
        file: Path of the packed file.
        member: Name of the checkpoint in the archive; empty if the file is no archive.
        content: Content of the checkpoint, in pieces.
        select: Name of the network to read.
        open_file: Opens the unpacked file.
        notes: Reasons why other members are not read, by name.
    """

    def __init__(
        self,
        file: FilePath,
        member: str,
        content: Iterator[bytes],
        select: str | None,
        open_file: Open,
        notes: Mapping[str, str],
    ):
        handle, path = tempfile.mkstemp(prefix="sne-", suffix=Path(member or file.stem).suffix[:20])
        self._remove = weakref.finalize(self, _remove, path)
        self._shown = f"{file} ({member})" if member else str(file)
        with os.fdopen(handle, "wb") as stream:
            for piece in content:
                stream.write(piece)
        with self._renamed(), _deeper(file):
            self._inner = open_file(Path(path), select)
        inner = self._inner
        super().__init__(
            str(file),
            inner.infos.values(),
            hints=inner.hints,
            composed=inner.composed,
            notes={**inner.notes, **notes},
            metadata=inner.metadata,
        )

    def read_stored(self, name: str) -> Tensor:
        """Reads one tensor from the unpacked file."""
        with self._renamed():
            return self._inner.read_stored(name)

    def read_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Reads some entries of one tensor from the unpacked file."""
        with self._renamed():
            return read_range(self._inner, name, start, stop)

    @contextmanager
    def _renamed(self) -> Iterator[None]:
        """Lets errors name the packed file."""
        try:
            yield
        except CheckpointError as error:
            raise CheckpointError(self._shown, error.reason, *error.remedies) from error


@contextmanager
def _deeper(file: FilePath) -> Iterator[None]:
    """Refuses archives in archives in archives; some contain themselves."""
    level = getattr(_LEVEL, "value", 0)
    if level >= _MOST_LEVELS:
        raise CheckpointError(file, "archives are packed into archives without end")
    _LEVEL.value = level + 1
    try:
        yield
    finally:
        _LEVEL.value = level


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _gunzip(file: FilePath) -> Iterator[bytes]:
    """Decompresses a gzip file in pieces, as far as its size makes sense."""
    left = most_memory(file.stat().st_size)
    try:
        with file.open("rb") as packed, gzip.open(packed) as stream:
            while piece := stream.read(_STEP):
                left -= len(piece)
                if left < 0:
                    raise CheckpointError(file, "it is compressed far too well for weights; decompress it yourself")
                yield piece
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CheckpointError(file, f"truncated or damaged gzip file: {error}") from error


def _parts(stored: StoredBytes) -> Iterator[bytes]:
    """Yields content in pieces."""
    if stored.is_seekable:
        for start in range(0, stored.size, _STEP):
            yield stored.read_bytes(start, _STEP)
    else:
        yield stored.read_bytes(0, stored.size)


def _zip_members(file: FilePath) -> list[Member]:
    return [Member(name, stored) for name, stored in list(read_members(file).items())[:_MOST_MEMBERS]]


def _tar_members(file: FilePath) -> list[Member]:
    """Lists the regular files of a tar file."""
    return [Member(name, stored) for name, stored in read_tar(file).items()]


def read_tar(file: FilePath) -> dict[str, StoredBytes]:
    """Lists the regular files of an uncompressed tar file; reads no content.

    Args:
        file: Path of the tar file.

    Returns:
        The files by name; of several with one name the last.

    Raises:
        CheckpointError: If the file is damaged.
    """
    mapped = MappedFile(file)
    members: dict[str, StoredBytes] = {}
    try:
        with file.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for index, member in enumerate(archive):
                if index >= _MOST_MEMBERS:
                    raise CheckpointError(file, f"the archive has more than {_MOST_MEMBERS} members")
                if not member.isreg() or member.issparse():
                    continue
                if member.offset_data + member.size > mapped.size:
                    raise CheckpointError(file, f"truncated: {member.name!r} ends behind the file")
                members[member.name] = FileBytes(mapped, member.offset_data, member.size)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(file, f"truncated or damaged tar file: {error}") from error
    return members
