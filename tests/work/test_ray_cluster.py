"""Work on real Ray clusters of this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from making_cases import wait_until
from pool_cases import note_or_die, with_shared
from ray_lock import ray_to_itself

from sne.errors import WorkError, install_hint
from sne.work import RayCluster, in_order

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def one_at_a_time() -> Iterator[None]:
    with ray_to_itself():
        yield


def test_a_local_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    (tmp_path / "notes").mkdir()
    cluster = RayCluster("local", workers=1, attempts=2)
    assert not cluster.shares_disk
    items = {0: ["a"], 1: ["b", "a"], 2: []}
    chosen = in_order(cluster.run(with_shared, items, shared={"a": "x", "b": "y"}, needs=items.__getitem__))
    assert [answer.result for answer in chosen] == ["0x", "1yx", "2"]
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ and capsys.readouterr().out == ""


def test_failures_stop_no_other_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    cluster = RayCluster("local", workers=1, attempts=2)
    answers = {a.item: a for a in cluster.run(partial(note_or_die, folder=tmp_path), range(6))}
    assert [answers[i].result for i in range(6)] == [0, None, None, None, 8, 10]
    broken, refused, lost = (answers[i].failure for i in (1, 2, 3))
    assert broken is not None and broken.reason == "ValueError: one is enough" and "in note" in broken.trace
    assert refused is not None and str(refused.error) == "two is refused"
    assert lost is not None and lost.is_lost and len(list(tmp_path.glob("died-*"))) == 2
    assert lost.reason == "lost 2 times with its Ray worker (perhaps out of memory)"


@pytest.mark.slow
def test_nodes_without_the_function():
    with pytest.raises(WorkError, match="lack something that this machine has: No module named 'pool_cases'"):
        list(RayCluster("local", workers=1).run(with_shared, [0]))


def refused(address: str, home: Path, *more: str) -> str:
    """The last line of a command that ends with status 2."""
    command = [sys.executable, "-m", "sne.cli.main", "zoo", "make", str(home / "zoo"), "--ray", address, *more]
    paths = os.pathsep.join([str(home), *sys.path])
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "HOME": str(home)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_ray_is_not_installed(tmp_path: Path):
    (tmp_path / "ray.py").write_text("raise ImportError('no ray here')\n")
    assert refused("local", tmp_path) == f"sne: a Ray cluster needs the package ray; {install_hint('ray')}"
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize("address", ["somewhere", "host:", ":6379", "host:port", "host:99999", ""])
def test_what_is_no_address(address: str):
    with pytest.raises(WorkError, match=r"Ray address .* is not known, expected auto, local or HOST:PORT"):
        RayCluster(address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no.such.host.invalid:6379"])
def test_nobody_answers(address: str):
    with pytest.raises(WorkError, match=f"Ray cluster {address} cannot be reached: "):
        list(RayCluster(address).run(len, ["item"]))


def test_someone_else_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(WorkError, match=f"{address} cannot be reached: no Ray cluster answered in 4 s"):
            list(RayCluster(address, patience=4.0).run(len, ["item"]))


def test_no_cluster_of_this_machine(tmp_path: Path):
    from ray._private.services import find_gcs_addresses

    wait_until(lambda: not find_gcs_addresses())  # those of other tests, on their way out
    address = refused("auto", tmp_path, "--networks", "1", "--steps", "2")
    assert address.startswith("sne: Ray cluster auto cannot be reached: Could not find any running Ray instance")
