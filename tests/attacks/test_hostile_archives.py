"""Zip archives of every format with members that expand without end, lie about their size, or have names of paths."""

import struct
import zipfile
import zlib

import pytest
from checkpoint_files import WRITERS, branching

from fuzz.targets import Target, read_checkpoint
from sne.checkpoints import CheckpointError, read_network

BOMB_BYTES = 200 << 20
DEFLATED = zipfile.ZIP_DEFLATED
ARCHIVES = (
    "state.pt",
    "wrapped.ckpt",
    "model_key.pth",
    "parallel.pt",
    "compiled.pt",
    "torch_without_suffix",
    "scripted.pt",
    "arrays.npz",
    "compressed.npz",
    "exported.pt2",
    "model.keras",
    "whole.pt",
    "traced.pt",
)
"""Files of `WRITERS` that are zip archives."""


@pytest.fixture(scope="module")
def bomb():
    """200 MB of zeros, deflated to 200 kB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(BOMB_BYTES >> 20)) + packer.flush()


def zipped(members):
    """An archive of (name, method, size that is claimed, stored bytes); the sizes and checksums may be wrong."""
    body, directory = bytearray(), bytearray()
    for name, method, size, stored in members:
        encoded = name.encode()
        fields = struct.pack("<HHHHHIII", 20, 0, method, 0, 33, zlib.crc32(stored), len(stored), size)
        directory += b"PK\x01\x02\x14\x00" + fields + struct.pack("<HHHHHII", len(encoded), 0, 0, 0, 0, 0, len(body))
        directory += encoded
        body += b"PK\x03\x04" + fields + struct.pack("<HH", len(encoded), 0) + encoded + stored
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return bytes(body + directory) + b"PK\x05\x06" + end


@pytest.fixture(scope="module", params=ARCHIVES)
def archive(request, tmp_path_factory):
    """Suffix and members of each archive."""
    file = tmp_path_factory.mktemp("archive") / request.param
    WRITERS[request.param](branching(), file)
    with zipfile.ZipFile(file) as opened:
        return file.suffix, [
            (info.filename, zipfile.ZIP_STORED, info.file_size, opened.read(info)) for info in opened.infolist()
        ]


def assert_read_within_limits(suffix, members, folder, is_right=False):
    """Reads an archive within the limits of the fuzzing."""
    outcome = Target("archive", suffix or ".bin", read_checkpoint).run(zipped(members), folder)
    assert outcome or not is_right


pytestmark = pytest.mark.filterwarnings("ignore")


def test_archives_are_written_as_meant(archive, tmp_path):
    suffix, members = archive
    assert_read_within_limits(suffix, members, tmp_path, is_right=True)


@pytest.mark.parametrize("claimed", [BOMB_BYTES, 100])
def test_members_that_expand(archive, claimed, bomb, tmp_path):
    """Each of the first members, and each pickle or header, in turn: 200 kB that expand to 200 MB."""
    suffix, members = archive
    for place, (name, *_) in enumerate(members):
        if place < 4 or name.endswith((".pkl", ".json", ".npy", ".h5", ".pth")):
            changed = [*members[:place], (name, DEFLATED, claimed, bomb), *members[place + 1 :]]
            assert_read_within_limits(suffix, changed, tmp_path)


def test_a_member_beside_the_network_that_expands(archive, bomb, tmp_path):
    suffix, members = archive
    root = members[0][0].partition("/")[0]
    assert_read_within_limits(suffix, [*members, (f"{root}/extra/notes", DEFLATED, BOMB_BYTES, bomb)], tmp_path)


@pytest.mark.parametrize("size", [2**32 - 1, 2**31])
def test_members_that_claim_to_be_large(archive, size, tmp_path):
    suffix, members = archive
    for place, (name, method, _, stored) in enumerate(members[:6]):
        assert_read_within_limits(
            suffix, [*members[:place], (name, method, size, stored), *members[place + 1 :]], tmp_path
        )


@pytest.mark.parametrize(
    "name", ["../../escaped", "/tmp/escaped-from-sne", "a/../../../escaped", "C:\\escaped", "a\0b"]
)
def test_names_of_members_are_no_paths(archive, name, tmp_path):
    """Nothing is ever unpacked to a path."""
    suffix, members = archive
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert_read_within_limits(suffix, [*members, (name, zipfile.ZIP_STORED, 4, b"data")], inner)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {f"input{suffix or '.bin'}"}


def test_many_members(tmp_path):
    members = [(f"a/{number}", zipfile.ZIP_STORED, 0, b"") for number in range(60_000)]
    (tmp_path / "a.pt").write_bytes(zipped(members))
    with pytest.raises(CheckpointError):
        read_network(tmp_path / "a.pt")
