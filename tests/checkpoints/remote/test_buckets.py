"""Buckets, through fsspec: a store in memory that is the real one of fsspec, and what is said where packages lack."""

import logging
from pathlib import Path

import fsspec
import pytest
from checkpoint_files import branching, same_values
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.torch import save_file

from sne.checkpoints import read_network
from sne.checkpoints.remote import version_of
from sne.errors import CheckpointError, RemoteError


class Counted(MemoryFileSystem):
    """The file system in memory of fsspec, with ETags."""

    protocol = "counted"
    fetched = 0

    def info(self, path: str, **kwargs: object) -> dict:
        found = super().info(path, **kwargs)
        if found["type"] == "file":
            found["ETag"] = str(hash(super().cat_file(path)))
        return found

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: object) -> bytes:
        content = super().cat_file(path, start, end, **kwargs)
        type(self).fetched += len(content)
        return content


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch):
    Counted.store.clear()
    Counted.fetched = 0
    real = fsspec.filesystem
    monkeypatch.setattr(fsspec, "filesystem", lambda scheme, **given: Counted() if scheme == "s3" else real(scheme))
    save_file(branching().state_dict(), tmp_path / "model.safetensors")
    system = Counted()
    system.pipe_file("/models/runs/a/model.safetensors", (tmp_path / "model.safetensors").read_bytes())
    system.pipe_file("/models/runs/a/config.json", b'{"model_type": "branching"}')
    yield system
    Counted.store.clear()


@pytest.mark.parametrize("address", ["s3://models/runs/a", "s3://models/runs/a/model.safetensors"])
def test_an_object_and_a_folder_are_read(bucket, tmp_path: Path, address: str):
    remote = read_network(address)
    assert remote.name == address and remote.source.name == "s3://models/runs/a/model.safetensors"
    assert remote.source.config == {"model_type": "branching"}
    assert same_values(remote, read_network(tmp_path / "model.safetensors"))


def test_an_object_that_is_replaced_is_refused(bucket, tmp_path: Path):
    before = version_of("s3://models/runs/a")
    save_file({f"{n}.weight": branching(n).fc.weight.repeat(200, 20) for n in range(6)}, tmp_path / "big.safetensors")
    content = (tmp_path / "big.safetensors").read_bytes()
    bucket.pipe_file("/models/runs/a/model.safetensors", content)
    assert version_of("s3://models/runs/a") not in ("", before)
    network = read_network("s3://models/runs/a")
    bucket.pipe_file("/models/runs/a/model.safetensors", content[:-4] + b"\0\0\0\0")
    with pytest.raises(RemoteError, match="the file has changed on the server while it was read"):
        [network.read(part) for _, part in network.parts()]


def test_what_is_missing_is_named(bucket):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        read_network("s3://models/runs/b.pt")
    with pytest.raises(RemoteError, match="the address names no bucket"):
        read_network("s3://")


def test_the_package_that_is_missing_is_named(monkeypatch):
    def refuse(scheme: str, **given: object) -> None:
        raise ImportError(f"Install the package for {scheme}")

    monkeypatch.setattr(fsspec, "filesystem", refuse)
    with pytest.raises(RemoteError, match="needs the package gcsfs: pip install gcsfs"):
        read_network("gs://models/a.pt")
    with pytest.raises(RemoteError, match="needs the package s3fs: pip install s3fs"):
        read_network("s3://models/a.pt")


def test_buckets_without_credentials(bucket, monkeypatch):
    def refuse(*given: object, **more: object) -> None:
        raise RuntimeError("Unable to locate credentials")

    monkeypatch.setattr(Counted, "info", refuse)
    with pytest.raises(RemoteError, match=r"Unable to locate credentials; FSSPEC_S3_ANON=true .* reads public buckets"):
        read_network("s3://models/runs/a/model.safetensors")


def test_warnings_of_gcsfs_about_the_kind_of_a_bucket_are_not_shown(bucket, caplog):
    read_network("s3://models/runs/a")
    for module, text in (("extended_gcsfs", "Could not determine bucket type"), ("core", "Retrying")):
        record = logging.LogRecord("gcsfs", logging.WARNING, f"/gcsfs/{module}.py", 1, text, None, None)
        logging.getLogger("gcsfs").handle(record)
    assert caplog.messages == ["Retrying"]
