"""A zoo made on a real Ray cluster of this machine."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import making_cases
import pytest
from making_cases import assert_same_bytes, children, tiny_recipe, wait_until, waiting
from ray_lock import ray_to_itself

from sne.making.make import make_recipe
from sne.work import ProcessPool, RayCluster

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
