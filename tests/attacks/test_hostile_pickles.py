"""Pickles with code, damaged archives and bombs: refused, and nothing of them is executed."""

import collections
import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
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


OBJECTS = 100_000
HEAD = b"\x80\x02"
ENTRIES = b"}(" + b"".join(b"M" + struct.pack("<H", index) + b"N" for index in range(60_000)) + b"u"
SAME_HASH = [b"\x8a\x0b" + (index * (2**61 - 1)).to_bytes(11, "little") for index in range(1, 20_000)]
BOMBS = {
    "memo": HEAD + b"]r" + struct.pack("<I", 671_442_960) + b".",
    "lists": HEAD + b"(" + b"]" * 1_000_000 + b"l.",
    "mappings": HEAD + b"(" + b"}K\x01K\x01s" * 30_000 + b"l.",
    "sets": b"\x80\x04(" + b"\x8f" * 1_000_000 + b"l.",
    "marks": HEAD + b"(" * 2_000_000,
    "nested tuples": HEAD + b"N" + b"\x85" * OBJECTS + b".",
    "nested tuple as key": HEAD + b"}N" + b"\x85" * OBJECTS + b"Ns.",
    "nested lists": HEAD + b"]" * OBJECTS + b"a" * (OBJECTS - 1) + b".",
    "nested mappings": HEAD + b"}" + b"K\x01}" * OBJECTS + b"s" * OBJECTS + b".",
    "long number": HEAD + b"\x8b" + struct.pack("<i", 2**31 - 1) + b".",
    "digits": b"(lp0\nL" + b"9" * 1_000_000 + b"L\na.",
    "text": HEAD + b"X" + struct.pack("<I", 2**32 - 1) + b"a.",
    "bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**63) + b"a.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
    "keys of one hash": HEAD + b"}(" + b"".join(key + b"N" for key in SAME_HASH) + b"u.",
    "objects": HEAD + b"cos\nsystem\nq\x00(" + b"h\x00)\x81" * 30_000 + b"l.",
    "copies of a list": HEAD + b"(" + b"K\x01" * 200_000 + b"lq\x00ccollections\ndeque\nq\x01h\x00\x85q\x02("
    + b"h\x01h\x02R" * 20_000 + b"l.",
    "copies of a mapping": HEAD + ENTRIES + b"q\x00ccollections\nCounter\nq\x01h\x00\x85q\x02("
    + b"h\x01h\x02R" * 20_000 + b"l.",
    "copies of text": HEAD + b"X" + struct.pack("<I", 200_000) + b"a" * 200_000
    + b"q\x00c_codecs\nencode\nq\x01h\x00X\x06\x00\x00\x00latin1\x86q\x02(" + b"h\x01h\x02R" * 20_000 + b"l.",
    "copies of a state": HEAD + ENTRIES + b"q\x00cos\nsystem\nq\x01(" + b"h\x01)Rh\x00b" * 20_000 + b"l.",
    "laughs": HEAD + b"]q\x00" + b"".join(
        b"](" + (b"h" + bytes([level])) * 10 + b"eq" + bytes([level + 1]) for level in range(100)
    ) + b".",
    "recursion": HEAD + b"}q\x00X\x05\x00\x00\x00modelh\x00s.",
    "array": HEAD + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01"
    b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftcnumpy\ndtype\n(U\x02f4K\x00K\x01tR\x89U\x04abcdtb.",
    "extension": HEAD + b"\x82\x01.",
    "protocol": b"\x80\x05\x97\x98.",
}  # fmt: skip


def peak() -> int:
    """Largest memory of this process so far, in bytes."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure memory")
@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_take_memory_in_proportion_to_the_file(bomb, tmp_path):
    (tmp_path / "a.pt").write_bytes(BOMBS[bomb])
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = peak()
    with pytest.raises(CheckpointError):
        read_network(tmp_path / "a.pt")
    assert peak() - before < 10 * len(BOMBS[bomb]) + 100 * 2**20


@pytest.mark.parametrize("bomb", ["memo", "text", "frame", "nested tuple as key", "keys of one hash"])
@pytest.mark.filterwarnings("ignore")
def test_bombs_in_archives(bomb, tmp_path):
    for file, member in zip(write_archives(tmp_path), ("data.pkl", "constants.pkl"), strict=True):
        rewrite(file, lambda n, c, m=member: BOMBS[bomb] if n.endswith(f"/{m}") else c)
        refused = False
        try:
            read_network(file)
        except CheckpointError:
            refused = True
        assert refused or member == "constants.pkl"  # constants without tensors are no fault


def test_python_would_fall_for_these():
    """The bombs are real: CPython's unpickler crashes, or takes gigabytes, and is only shown a smaller one here."""
    loaded = pickle.loads(HEAD + b"N" + b"\x85" * 50 + b".")
    assert loaded != (None,)
    tracemalloc.start()
    pickle.loads(HEAD + b"]r" + struct.pack("<I", 10_000_000) + b".")
    assert tracemalloc.get_traced_memory()[1] > 100_000_000
    tracemalloc.stop()


PLACES = {
    "call": b"cposix\nsystem\n(S'%s'\ntR",
    "build": b"cos\nPathLike\n)R}X\x0c\x00\x00\x00__setstate__cposix\nsystem\nsbU\x01ab",
    "instance": b"(S'%s'\niposix\nsystem\n",
    "object": b"(cposix\nsystem\nS'%s'\no",
    "new": b"cposix\nsystem\n(S'%s'\nt\x81",
    "method": b"c__builtin__\ngetattr\n(cposix\nsystem\nS'__call__'\ntR(S'%s'\ntR",
    "eval": b'c__builtin__\neval\n(S\'__import__("os").system("%s")\'\ntR',
    "type": b"ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\nctorch\nTensor\n(S'%s'\nt}tR",
    "dtype": b"cnumpy\ndtype\n(cposix\nsystem\n\x89\x88tR",
    "reconstruct": b"cnumpy.core.multiarray\n_reconstruct\n(cposix\nsystem\n(S'%s'\ntU\x01btR",
    "default": b"ccollections\ndefaultdict\n(cposix\nsystem\ntR",
    "class": b"cposix\nsystem\n}U\x08__call__cposix\nsystem\nsb",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("place", PLACES)
def test_code_at_every_place(place, tmp_path):
    target = tmp_path / "executed"
    attack = PLACES[place].replace(b"%s", f"touch {target}".encode())
    body = b"}U\x01x" + attack + b"s."
    plain = HEAD + body
    (tmp_path / "plain.pkl").write_bytes(plain)
    for file in write_archives(tmp_path):
        rewrite(file, lambda n, c: plain if n.endswith(("/data.pkl", "/constants.pkl")) else c)
    with zipfile.ZipFile(tmp_path / "sb3.zip", "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", (tmp_path / "state.pt").read_bytes())
    for name in ("plain.pkl", "sb3.zip", *ARCHIVE_NAMES):
        with pytest.raises(CheckpointError):
            read_network(tmp_path / name)
    assert not target.exists()


def test_nothing_that_a_pickle_names_is_imported(tmp_path):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    (tmp_path / "a.pkl").write_bytes(HEAD + b"}U\x01xctrap\nTrap\n)Rs.")
    program = "import sys; from sne import read_network, CheckpointError\ntry: read_network('a.pkl')\n"
    program += "except CheckpointError: print('trap' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "False\n", run.stderr


def test_modules_in_modules_without_end(tmp_path):
    def module(inner: bytes) -> bytes:
        return b"ctorch.nn\nModule\n)\x81}(U\x0b_parameters}U\x08_buffers}U\x08_modules" + inner + b"ub"

    level = b"}"
    parts = [HEAD]
    for index in range(40):
        parts.append(module(level) + b"q" + bytes([index]) + b"0")
        level = b"}(" + b"".join(b"K" + bytes([k]) + b"h" + bytes([index]) for k in range(5)) + b"u"
    (tmp_path / "a.pkl").write_bytes(b"".join(parts) + b"h\x27.")
    with pytest.raises(CheckpointError, match="nested without end"):
        read_network(tmp_path / "a.pkl")


def test_a_sparse_tensor_that_claims_a_million_million_entries(tmp_path):
    sparse = torch.sparse_coo_tensor(torch.zeros(2, 1), torch.ones(1), (10**6, 10**6), check_invariants=True)
    for tensor in (sparse, torch.ones(1, 1).expand(10**6, 10**6)):
        torch.save({"fc.weight": tensor}, tmp_path / "a.pt")
        network = read_network(tmp_path / "a.pt")
        with pytest.raises(CheckpointError, match="far more than the file stores"):
            network.source.load("fc.weight")


def test_zip_bombs_and_names_that_leave_the_folder(tmp_path):
    stream = io.BytesIO()
    torch.save({"fc.weight": torch.zeros(30_000_000)}, stream)  # 120 MB, which deflate takes to a thousandth
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../policy.pth", stream.getvalue())
    with pytest.raises(CheckpointError, match="compressed far too well"):
        read_network(tmp_path / "a.zip")
    (tmp_path / "a.gz").write_bytes(gzip.compress(stream.getvalue()))
    with pytest.raises(CheckpointError, match="compressed far too well"):
        read_network(tmp_path / "a.gz")
    names = {"../../escape.pth", "/etc/escape.pth", "C:\\escape.pth"}
    for name in names:
        small = io.BytesIO()
        torch.save({"fc.weight": torch.zeros(3, 3)}, small)
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            archive.writestr(name, small.getvalue())
        assert read_network(tmp_path / "b.zip").num_weights == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "a.zip", "b.zip"]


def test_an_archive_in_an_archive_without_end(tmp_path):
    content = b"nothing" * 100
    for _ in range(10):
        content = gzip.compress(content)
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(CheckpointError, match="without end"):
        read_network(tmp_path / "a.gz")


@pytest.mark.parametrize("is_zip", [True, False])
def test_storages_that_claim_more_than_there_is(is_zip, tmp_path):
    torch.save({"w": torch.ones(100, 3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=is_zip)
    content = (tmp_path / "a.pt").read_bytes()
    claim = b"M" + struct.pack("<H", 300)
    assert content.count(claim) == 1
    (tmp_path / "a.pt").write_bytes(content.replace(claim, b"M" + struct.pack("<H", 301)))
    with pytest.raises(CheckpointError, match=r"storage .*1204 bytes.* "):
        read_network(tmp_path / "a.pt")


def test_error_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(CheckpointError("a.pt", "no\ngood")))
    assert (str(error), error.file, error.reason) == ("a.pt: no good", "a.pt", "no good")
    assert isinstance(error, ValueError)
    assert io.StringIO(str(error)).read().count("\n") == 0
