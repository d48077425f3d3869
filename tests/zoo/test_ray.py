"""Zoos made on real Ray clusters of this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from making_cases import assert_same_bytes, tiny_recipe

from sne.zoo import ZooError
from sne.zoo.executors import ProcessPool, RayCluster
from sne.zoo.making import make_recipe

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
RECIPE = {"networks": 8, "length": 300, "keep": (0, 300)}


@pytest.fixture
def cluster() -> Iterator:
    """Two nodes, a core each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    yield made, made.add_node(**NODE)
    made.shutdown()


def test_a_node_dies_and_the_zoo_is_the_same(cluster, image_file: Path, tmp_path: Path):
    import ray

    nodes, second = cluster
    recipe, images = tiny_recipe(image_file, **RECIPE)
    pool = make_recipe(tmp_path / "pool", recipe, images, ProcessPool(1))
    seen = []

    def progress(done: int, total: int) -> None:
        seen.append(done)
        if done == 3:
            running = ray.available_resources().get("CPU", 0)
            assert total == 8 and len([n for n in ray.nodes() if n["Alive"]]) == 2 and running < 2  # in flight
            nodes.remove_node(second, allow_graceful=False)

    zoo = make_recipe(tmp_path / "ray", recipe, images, RayCluster(nodes.address), progress=progress)
    assert seen == list(range(9)) and not ray.is_initialized()
    assert_same_bytes(pool, zoo)


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
    address = refused("auto", tmp_path, "--networks", "1", "--steps", "2")
    assert address.startswith("sne: Ray cluster auto cannot be reached: Could not find any running Ray instance")
