import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from making_cases import FAMILIES, LENGTH, assert_same_bytes, children, wait_until

from sne.making import make
from sne.making.packs import RunPacks
from sne.zoo import Zoo

SCRIPT = Path(__file__).with_name("making_script.py")
TESTS = SCRIPT.parent.parent


def heed_ctrl_c() -> None:
    """Lets a child react to Ctrl-C even where these tests run in the background, which makes children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(moment: str, out: Path, images: Path, **settings) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), moment, str(out), str(images), json.dumps(settings)]
    paths = os.pathsep.join([str(TESTS), *sys.path])
    return subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def go_on(out: Path, image_file: Path, **settings) -> tuple[Zoo, list[int]]:
    seen: list[int] = []
    settings = {"families": FAMILIES, "networks": 2, "workers": 1} | LENGTH | settings
    zoo = make(out, images=image_file, progress=lambda done, total: seen.append(done), **settings)
    return zoo, seen


def num_finished(out: Path) -> int:
    """Counts whole runs without touching what a maker may be writing."""
    copy = out.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    if not list(out.glob(".making/*.pack")):
        return 0
    shutil.copytree(out / ".making", copy)
    return len(RunPacks(copy))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, image_file: Path, made_zoo: Zoo) -> Path:
    """A folder whose maker was killed when all networks were trained and the shards written."""
    out = tmp_path_factory.mktemp("kills") / "trained"
    process = start("shards written", out, image_file)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (out / "networks.parquet").exists()
    assert num_finished(out) == 4 and list(out.glob(".writing/weights-*"))
    return out


def test_killed_while_training(made_zoo: Zoo, image_file: Path, tmp_path: Path):
    out = tmp_path / "zoo"
    process = start("none", out, image_file)
    wait_until(lambda: num_finished(out) or process.poll() is not None)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    before = num_finished(out)
    assert 1 <= before < 4
    wait_until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers))
    zoo, seen = go_on(out, image_file)
    assert seen == list(range(before, 5))
    assert_same_bytes(made_zoo, zoo)


def test_killed_while_a_run_is_written(made_zoo: Zoo, image_file: Path, tmp_path: Path):
    out = tmp_path / "zoo"
    process = start("half a run written", out, image_file)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and num_finished(out) == 1
    zoo, seen = go_on(out, image_file)
    assert seen[0] == 1
    assert_same_bytes(made_zoo, zoo)


def test_killed_between_shards_and_index(made_zoo: Zoo, image_file: Path, trained: Path, tmp_path: Path):
    out = tmp_path / "zoo"
    shutil.copytree(trained, out)
    zoo, seen = go_on(out, image_file)
    assert seen == [4]
    assert_same_bytes(made_zoo, zoo)


@pytest.mark.parametrize("moment", ["one shard in place", "zoo in place"])
def test_killed_while_files_move(made_zoo: Zoo, image_file: Path, trained: Path, tmp_path: Path, moment: str):
    out = tmp_path / "zoo"
    shutil.copytree(trained, out)
    process = start(moment, out, image_file)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (out / "weights-00000.safetensors").exists()
    assert (out / "networks.parquet").exists() == (moment == "zoo in place") and (out / ".making").exists()
    assert_same_bytes(made_zoo, go_on(out, image_file)[0])


def command(out: Path, image_file: Path, **kwargs) -> subprocess.Popen:
    settings = ["--family", ",".join(FAMILIES), "--images", str(image_file), "--networks", "2", "--workers", "1"]
    settings += ["--steps", str(LENGTH["steps"]), "--keep", ",".join(map(str, LENGTH["keep"]))]
    return subprocess.Popen(
        [sys.executable, "-m", "sne.cli.main", "zoo", "make", str(out), *settings],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs,
    )  # fmt: skip


def test_ctrl_c(made_zoo: Zoo, image_file: Path, tmp_path: Path):
    out = tmp_path / "zoo"
    process = command(out, image_file, start_new_session=True, preexec_fn=heed_ctrl_c)
    wait_until(lambda: num_finished(out) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    said, complained = process.communicate(timeout=30)
    assert process.returncode == 130 and said == ""
    last = complained.splitlines()[-1]
    assert last == f"sne: stopped; finished work is kept in {out}, and the same command continues it"
    assert "Traceback" not in complained
    before = num_finished(out)
    zoo, seen = go_on(out, image_file)
    assert seen[0] == before >= 1
    assert_same_bytes(made_zoo, zoo)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB; a plain folder where none can be mounted."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)]
    is_mounted = shutil.which("mount") is not None and subprocess.run(mount, capture_output=True).returncode == 0
    yield path
    if is_mounted:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("moment", ["training", "assembling"])
def test_full_disk(made_zoo: Zoo, image_file: Path, trained: Path, disk: Path, moment: str):
    out, room = disk / "zoo", (trained / ".making" / "runs-00000.pack").stat().st_size // 2
    if moment == "assembling":
        shutil.copytree(trained, out, ignore=shutil.ignore_patterns(".writing"))
    if disk.is_mount():
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free // 4096 * 4096 - room // 4096 * 4096))
        reason, limit = "no space left on device", None
    else:
        reason, limit = "file too large", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    process = command(out, image_file, preexec_fn=limit)
    said, complained = process.communicate()
    assert process.returncode == 2 and said == ""
    last = complained.splitlines()[-1]
    assert last.startswith(f"sne: cannot write {out}/") and reason in last, last
    assert sorted(path.name for path in out.iterdir()) == [".making", "recipe.json"]  # nothing half-written
    (disk / "filler").unlink(missing_ok=True)
    zoo, seen = go_on(out, image_file)
    assert seen[0] == 4 if moment == "assembling" else 1 <= seen[0] < 4
    assert_same_bytes(made_zoo, zoo)
