"""Zoos made on real Ray clusters of this machine."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import making_cases
import pytest
from making_cases import assert_same_bytes, children, killed_at, refuses, tiny_recipe, wait_until, waiting
from ray_lock import ray_to_itself

from sne.making.executors import Job, ProcessPool, RayCluster
from sne.making.make import make_recipe
from sne.making.recipe import Unit
from sne.zoo import ZooError

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(autouse=True)
def one_at_a_time() -> Iterator[None]:
    with ray_to_itself():
        yield


@pytest.fixture(autouse=True)
def importable_trainers(monkeypatch: pytest.MonkeyPatch):
    """Nodes that a test starts find the tests' trainers."""
    monkeypatch.setenv("PYTHONPATH", str(Path(making_cases.__file__).parent))


@pytest.fixture
def cluster() -> Iterator:
    """Two nodes, a core each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    yield made, made.add_node(**NODE)
    made.shutdown()


def test_a_node_dies_and_the_zoo_is_the_same(cluster, image_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    import ray

    nodes, second = cluster
    recipe, images = tiny_recipe(image_file, networks=8)
    pool = make_recipe(tmp_path / "pool", recipe, images, ProcessPool(1))
    notes, seen = tmp_path / "notes", []
    notes.mkdir()
    raylet = second.all_processes["raylet"][0].process.pid  # the parent of the workers of the second node

    def progress(done: int, total: int) -> None:
        seen.append(done)
        if done == 3:
            wait_until(lambda: len(list(notes.glob(f"begin.{raylet}.*"))) > len(list(notes.glob(f"end.{raylet}.*"))))
            workers = children(raylet)
            nodes.remove_node(second, allow_graceful=False)
            for worker in workers:  # a machine takes its processes with it
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            (notes / "go").touch()

    trainer = partial(waiting, notes)
    zoo = make_recipe(
        tmp_path / "ray", recipe, images, RayCluster(nodes.address), trainer=trainer, progress=progress
    )  # fmt: skip
    assert seen == list(range(9)) and not ray.is_initialized()
    assert len(list(notes.glob("begin.*"))) > 8  # one was lost and done again
    assert_same_bytes(pool, zoo)
    assert capsys.readouterr().out == ""


def test_a_cluster_of_its_own(image_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    recipe, images = tiny_recipe(image_file)
    units = [(unit,) for unit in recipe.units()]
    executor = RayCluster("local", workers=1)
    with pytest.raises(ZooError, match="mlp-00000: rate is cursed"):
        list(executor.train(Job(recipe, images, refuses), units))
    killed = tmp_path / "killed"
    killed.mkdir()
    came = [run.unit for run in executor.train(Job(recipe, images, partial(killed_at, 1, 1, killed)), units)]
    assert sorted(came, key=lambda unit: unit.index) == recipe.units() and len(list(killed.iterdir())) == 1
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ and capsys.readouterr().out == ""


@pytest.mark.slow
def test_nodes_without_the_trainer(image_file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PYTHONPATH")
    recipe, images = tiny_recipe(image_file)
    with pytest.raises(ZooError, match="lack something that this machine has: No module named 'making_cases'"):
        list(RayCluster("local", workers=1).train(Job(recipe, images, refuses), [(Unit("mlp", 0),)]))


@pytest.mark.slow
def test_a_network_that_kills_every_worker_is_named(image_file: Path, tmp_path: Path):
    recipe, images = tiny_recipe(image_file)
    trainer = partial(killed_at, 2, 99, tmp_path)
    with pytest.raises(ZooError, match="mlp-00002 was lost 3 times with its Ray worker"):
        list(RayCluster("local", workers=1).train(Job(recipe, images, trainer), [(Unit("mlp", 2),)]))
    assert len(list(tmp_path.iterdir())) == 3


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
    assert refused("local", tmp_path) == "sne: --ray needs the package ray; install it with: pip install 'sne[ray]'"
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize("address", ["somewhere", "host:", ":6379", "host:port", "host:99999", ""])
def test_what_is_no_address(address: str):
    with pytest.raises(ZooError, match=r"Ray address .* is not known, expected auto, local or HOST:PORT"):
        RayCluster(address)


def test_nobody_answers(image_file: Path, tmp_path: Path):
    recipe, images = tiny_recipe(image_file)
    for address in ("127.0.0.1:1", "no.such.host.invalid:6379"):
        with pytest.raises(ZooError, match=f"Ray cluster {address} cannot be reached: "):
            make_recipe(tmp_path / "zoo", recipe, images, RayCluster(address))


def test_someone_else_answers(image_file: Path, tmp_path: Path):
    recipe, images = tiny_recipe(image_file)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ZooError, match=f"{address} cannot be reached: no Ray cluster answered in 4 s"):
            make_recipe(tmp_path / "zoo", recipe, images, RayCluster(address, patience=4.0))


def test_no_cluster_of_this_machine(tmp_path: Path):
    from ray._private.services import find_gcs_addresses

    wait_until(lambda: not find_gcs_addresses())  # those of other tests, on their way out
    address = refused("auto", tmp_path, "--networks", "1", "--steps", "2")
    assert address.startswith("sne: Ray cluster auto cannot be reached: Could not find any running Ray instance")
