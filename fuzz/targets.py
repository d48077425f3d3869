"""What is fuzzed: functions that read a file or a folder whole, and the limits that hold while they run."""

import contextlib
import io
import os
import resource
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import sne
from sne.checkpoints.formats import FORMATS

MOST_SECONDS = 2.0
MOST_MEMORY = 100 << 20
MEMORY_PER_BYTE = 10
_MOST_ROWS = 8
_NO_SUFFIX = ".tar"  # of formats that are recognised by their content alone


class LimitError(Exception):
    """A file took more time or memory than is allowed."""


@dataclass(frozen=True)
class Target:
    """Something that reads files.

    Args:
        name: Name on the command line.
        suffix: Suffix of the file; empty for a folder, whose files are the members of a zip archive.
        read: Reads a file or a folder whole.
    """

    name: str
    suffix: str
    read: Callable[[Path], None]

    def run(self, data: bytes, folder: Path) -> bool:
        """Writes and reads one input.

        Args:
            data: Content of the file, or an archive of the files of a folder.
            folder: An existing folder of its own, best in memory.

        Returns:
            Whether it was read; False if it was refused.

        Raises:
            LimitError: Reading took more than `MOST_SECONDS` of processor time, or more memory than ten times the
                size of the input and `MOST_MEMORY`.
            Exception: Whatever else than `sne.SneError` reading raises.
        """
        path = folder / f"input{self.suffix}"
        if self.suffix:
            path.write_bytes(data)
        elif not _unpack(data, path):
            return False
        peak, memory, start = _peak(), _resident(), time.process_time()
        try:
            self.read(path)
            is_read = True
        except sne.SneError as error:
            assert "\n" not in str(error), f"the message has several lines: {error!r}"
            is_read = False
        seconds, taken = time.process_time() - start, _peak() - memory
        if seconds > MOST_SECONDS:
            raise LimitError(f"{seconds:.1f} s of processor time, at most {MOST_SECONDS} are allowed")
        # The peak of the process only tells about this input if it has risen.
        if _peak() > peak and taken > MOST_MEMORY + MEMORY_PER_BYTE * len(data):
            raise LimitError(f"{taken >> 20} MiB for {len(data)} bytes")
        return is_read


def read_checkpoint(path: Path) -> None:
    """Reads a network and every tensor of it."""
    network = sne.read_network(path)
    for _, part in network.parts():
        with contextlib.suppress(sne.CheckpointError):  # the next tensor may be read
            network.read(part)


def read_predictor(folder: Path) -> None:
    """Loads a predictor, and predicts a network."""
    predictor = sne.Predictor.load(folder)
    predictor.predict({"fc1.weight": _VALUES[:, :3], "fc1.bias": _VALUES[0, :4], "fc2.weight": _VALUES[:2]})


def read_zoo(folder: Path) -> None:
    """Opens a zoo, and reads the weights, layers and symmetries of its first rows."""
    zoo = sne.Zoo.open(folder)
    repr(zoo)
    for row in range(min(len(zoo), _MOST_ROWS)):
        with contextlib.suppress(sne.SneError):
            zoo.symmetry(row)
        network = zoo.network(row)
        for _, part in network.parts():
            network.read(part)


def _sample_values():
    import torch

    return torch.linspace(-1, 1, 16).reshape(4, 4)


_VALUES = _sample_values()
_FOLDERS = {"folder": read_checkpoint, "predictor": read_predictor, "zoo": read_zoo}

TARGETS: dict[str, Target] = {
    known.name: Target(known.name, (*known.suffixes, _NO_SUFFIX)[0], read_checkpoint) for known in FORMATS
} | {name: Target(name, "", read) for name, read in _FOLDERS.items()}
"""Every format of checkpoints, and folders of each kind, by name."""


def pack(folder: Path) -> bytes:
    """Returns the files of a folder as an input of a target for folders."""
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        for file in sorted(folder.iterdir()):
            if file.is_file():
                archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes())
    return result.getvalue()


def _unpack(data: bytes, folder: Path) -> bool:
    """Writes the members of an archive to a folder; False if it is none."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                name = PurePosixPath(member.filename).name
                if member.file_size < 10**6 and name not in ("", ".", ".."):
                    (folder / name[:100].replace("\0", "")).write_bytes(archive.read(member))
    except Exception:  # the archive is no part of what is tested
        return False
    return True


def _peak() -> int:
    """Largest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _resident() -> int:
    """Resident memory of this process, in bytes; its peak where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 (called for every input)
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _peak()
