"""Pickles with code, damaged archives and bombs: refused, and nothing of them is executed."""

import collections
import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from sne.checkpoints import CheckpointError, read_network

ARCHIVE_NAMES = ("state.pt", "scripted.pt")


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def rewrite(file: Path, change) -> None:
    """Writes an archive again with `change(name, content) -> content or None` applied to its members."""
    with zipfile.ZipFile(file) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            changed = change(name, content)
            if changed is not None:
                archive.writestr(name, changed)


def write_archives(folder: Path) -> list[Path]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    files = [folder / name for name in ARCHIVE_NAMES]
    torch.save(module.state_dict(), files[0])
    torch.jit.save(torch.jit.script(module), str(files[1]))
    return files


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("place", ["alone", "inside"])
def test_code_in_a_torch_file(is_zip, place, tmp_path):
    target = tmp_path / "executed"
    content = Touch(target) if place == "alone" else {"a.weight": torch.ones(2), "x": Touch(target)}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=is_zip)
    if place == "alone":
        with pytest.raises(CheckpointError, match=r"expected a state dict"):
            read_network(tmp_path / "a.pt")
    else:
        (note,) = [note for note in read_network(tmp_path / "a.pt").notes if note.tensor == "x"]
        assert "object of class posix.system" in note.reason
    assert not target.exists()
    torch.load(tmp_path / "a.pt", weights_only=False)  # the attack itself is real
    assert target.exists()


@pytest.mark.parametrize("name", ["a.pt", "a.bin", "noname"])
def test_plain_pickle_with_code(name, tmp_path):
    target = tmp_path / "executed"
    for protocol in range(2, 5):
        (tmp_path / name).write_bytes(pickle.dumps(Touch(target), protocol))
        with pytest.raises(CheckpointError):
            read_network(tmp_path / name)
    assert not target.exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("member", ["data.pkl", "constants.pkl"])
def test_code_in_a_torchscript_archive(member, tmp_path):
    target = tmp_path / "executed"
    file = write_archives(tmp_path)[1]
    rewrite(file, lambda n, c: pickle.dumps(Touch(target), 2) if n.endswith(f"/{member}") else c)
    if member == "data.pkl":
        with pytest.raises(CheckpointError, match="holds no tensors"):
            read_network(file)
    else:
        notes = {note.tensor: note.reason for note in read_network(file).notes}
        assert "object of class posix.system" in notes["constants"]
    assert not target.exists()


@pytest.mark.filterwarnings("ignore")
def test_torchscript_code_is_not_compiled(tmp_path):
    file = write_archives(tmp_path)[1]
    rewrite(file, lambda n, c: b"this is no code" if n.endswith(".py") else c)
    assert len(read_network(file).layers) == 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", [0, 1])
def test_damaged_archives(which, tmp_path):
    file = write_archives(tmp_path)[which]
    content = file.read_bytes()
    for end in (4, 30, len(content) // 2, len(content) - 10):
        file.write_bytes(content[:end])
        with pytest.raises(CheckpointError, match="truncated or damaged"):
            read_network(file)
    file.write_bytes(content)
    rewrite(file, lambda n, c: c[:4] if "/data/" in n else c)
    with pytest.raises(CheckpointError):
        network = read_network(file)
        for _, part in network.parts():
            network.read(part)
    file.write_bytes(content)
    rewrite(file, lambda n, c: None if "/data/" in n else c)
    with pytest.raises(CheckpointError):
        read_network(file)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("which", [0, 1])
def test_doubled_and_compressed_members(which, tmp_path):
    file = write_archives(tmp_path)[which]
    content = file.read_bytes()
    with zipfile.ZipFile(file, "a") as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data/0"))
        archive.writestr(name, b"other values....")
    with pytest.raises(CheckpointError, match="twice"):
        read_network(file)
    file.write_bytes(content)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data/9", bytes(10_000_000))
    assert len(read_network(file).layers) == 2, "a member that nothing refers to is not decompressed"


def test_zip_that_is_no_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("x.txt", b"")
    with pytest.raises(CheckpointError, match=r"without data.pkl.*x\.txt"):
        read_network(tmp_path / "a.pt")


NOT_NETWORKS = {
    "number": 3,
    "tensor": torch.ones(2, 3),
    "list": [torch.ones(2)],
    "text": {"a": "b", "c": 3},
    "empty": {},
    "empty wrapper": {"state_dict": collections.OrderedDict()},
}


@pytest.mark.parametrize("case", NOT_NETWORKS)
def test_content_without_tensors(case, tmp_path):
    torch.save(NOT_NETWORKS[case], tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"expected a state dict"):
        read_network(tmp_path / "a.pt")


def test_endless_mappings(tmp_path):
    loop: dict = {}
    loop["a"] = loop
    loop["w"] = torch.ones(2, 2)
    torch.save(loop, tmp_path / "loop.pt")
    laughs: dict = {"w": torch.ones(2, 2)}
    for _ in range(30):
        laughs = {str(i): laughs for i in range(10)}
    torch.save(laughs, tmp_path / "laughs.pt")
    for name in ("loop.pt", "laughs.pt"):
        with pytest.raises(CheckpointError, match="nested without end"):
            read_network(tmp_path / name)


@pytest.mark.filterwarnings("ignore")
def test_endless_torchscript(tmp_path):
    file = write_archives(tmp_path)[1]
    laughs: list = []
    for _ in range(40):
        laughs = [laughs] * 10
    loop: list = []
    loop.append(loop)
    for value in (laughs, loop):
        rewrite(file, lambda n, c, v=value: pickle.dumps(v, 2) if n.endswith("/data.pkl") else c)
        with pytest.raises(CheckpointError, match="nested without end"):
            read_network(file)


def scripted_pickle(body: bytes) -> bytes:
    """`{"w": tensor}` with a tensor of 2 numbers whose shape and stride are `body`."""
    storage = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ"
    return b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n" + storage + body + b"\x88NtRs."


@pytest.mark.filterwarnings("ignore")
def test_torchscript_tensor_beyond_its_storage(tmp_path):
    file = write_archives(tmp_path)[1]

    def put(body):
        rewrite(file, lambda n, c: scripted_pickle(body) if n.endswith("/data.pkl") else c)

    put(b"K\x00(K\x02t(K\x01t")
    assert read_network(file).source.load("w").shape == (2,)
    for body in (
        b"K\x00(K\x09t(K\x01t",
        b"K\x01(K\x02t(K\x01t",
        b"K\x00(K\x02t(K\x09t",
        b"J\xff\xff\xff\xff(K\x02t(K\x01t",
    ):
        put(body)
        with pytest.raises(CheckpointError, match=r"beyond its storage|not whole numbers"):
            read_network(file)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_storage_of_unknown_type(tmp_path):
    file = write_archives(tmp_path)[1]
    body = scripted_pickle(b"K\x00(K\x02t(K\x01t").replace(b"ctorch\nFloatStorage\n", b"X\x03\x00\x00\x00odd")
    rewrite(file, lambda n, c: body if n.endswith("/data.pkl") else c)
    with pytest.raises(CheckpointError, match="unknown element type 'odd'"):
        read_network(file)


def test_error_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(CheckpointError("a.pt", "no\ngood")))
    assert (str(error), error.file, error.reason) == ("a.pt: no good", "a.pt", "no good")
    assert isinstance(error, ValueError)
    assert io.StringIO(str(error)).read().count("\n") == 0
