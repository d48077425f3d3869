"""What a file is by its content, whatever its name says."""

import zipfile
from enum import StrEnum
from pathlib import Path

from sne.errors import CheckpointError

MAX_HEADER = 100_000_000
"""Bytes that a safetensors header may take."""


class Kind(StrEnum):
    """A format that is read."""

    SAFETENSORS = "safetensors"
    TORCH_ZIP = "torch zip"
    TORCHSCRIPT = "TorchScript archive"
    TORCH_LEGACY = "torch pickle"
    ONNX = "onnx"


SUFFIXES = {
    ".safetensors": Kind.SAFETENSORS, ".onnx": Kind.ONNX,
    ".pt": Kind.TORCH_ZIP, ".pth": Kind.TORCH_ZIP, ".bin": Kind.TORCH_ZIP, ".ckpt": Kind.TORCH_ZIP,
}  # fmt: skip
_MAGICS = (
    (b"\x89PNG", "a PNG image"), (b"\xff\xd8\xff", "a JPEG image"), (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF"), (b"BZh", "bzip2 data"),
    (b"\x1f\x8b", "gzip data"), (b"\x89HDF", "an HDF5 file"), (b"\x7fELF", "a program"), (b"MZ", "a program"),
    (b"GGUF", "a GGUF file"), (b"\x93NUMPY", "a NumPy array"), (b"PAR1", "a Parquet file"),
    (b"version https://git-lfs", "a Git LFS pointer: the file itself was not downloaded"),
    (b"<!DOCTYPE", "a web page"), (b"<html", "a web page"), (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"), (b"(\xb5/\xfd", "zstd data"), (b"\xfd7zXZ", "xz data"),
)  # fmt: skip
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def kind_of(file: Path) -> Kind:
    """Recognises a checkpoint by its first bytes, and by its name only where these leave it open.

    Args:
        file: an existing file.

    Returns:
        The format to read it as.

    Raises:
        CheckpointError: for an unreadable or empty file, or something else; says what it seems to be.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise CheckpointError(file, f"cannot be read: {error.strerror or error}") from error
    if not head:
        raise CheckpointError(file, "empty file, expected a checkpoint")
    is_header = head[8:9] == b"{"
    if is_header and int.from_bytes(head[:8], "little") <= MAX_HEADER:  # before all magics: a length may look like one
        return Kind.SAFETENSORS
    for magic, what in _MAGICS:
        if head.startswith(magic):
            raise CheckpointError(file, f"not a checkpoint: it seems to be {what}")
    if head.startswith(b"PK"):
        return _zip_kind(file)
    if is_header:
        return Kind.SAFETENSORS
    if head[:1] == b"\x80" and head[2:].startswith(_LEGACY_MAGIC):
        return Kind.TORCH_LEGACY
    suffix = SUFFIXES.get(file.suffix.lower())
    if head[:1] == b"\x80":
        return Kind.TORCH_LEGACY
    if suffix is Kind.SAFETENSORS or (suffix is Kind.ONNX and head[:1] == b"\x08"):
        return suffix
    if suffix is not None:
        raise CheckpointError(file, f"not a {suffix} file, although its name ends in {file.suffix}; {_guess(head)}")
    raise CheckpointError(file, f"not a checkpoint that can be read (safetensors, torch, onnx); {_guess(head)}")


def _zip_kind(file: Path) -> Kind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(file, f"truncated or damaged zip archive: {error}") from error
    roots = {name.partition("/")[0] for name in names}
    if not any(name.endswith("data.pkl") for name in names):
        seems = "a NumPy .npz" if any(name.endswith(".npy") for name in names) else "another zip archive"
        raise CheckpointError(file, f"a zip archive without data.pkl, so no torch checkpoint; it seems to be {seems}")
    if any(f"{root}/constants.pkl" in names for root in roots):
        return Kind.TORCHSCRIPT
    return Kind.TORCH_ZIP


def _guess(head: bytes) -> str:
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return f"it seems to be text: {head[:24].decode('ascii')!r}"
    return f"it starts with the bytes {head[:8].hex(' ')}"
