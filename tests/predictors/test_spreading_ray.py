"""Predictions on a real Ray cluster of this machine, of which a node dies."""

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import spread_cases
from making_cases import children, wait_until
from ray_lock import ray_to_itself
from spread_cases import WaitingEncoder, make_predictor, write_checkpoints

from sne.work import RayCluster

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch):
    """Two nodes with a core each, which find the encoders of the tests."""
    from ray.cluster_utils import Cluster

    folders = {Path(spread_cases.__file__).parent, Path(spread_cases.__file__).parents[1]}
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")]))
    with ray_to_itself():
        made = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
        yield made, made.add_node(**NODE)
        made.shutdown()


def test_a_node_dies_and_the_predictions_are_the_same(cluster, tmp_path, capsys):
    nodes, second = cluster
    paths = write_checkpoints(tmp_path / "nets", 12)
    Path(paths[6]).write_bytes(b"nothing")
    expected = make_predictor().encode(paths, errors="skip")
    raylet = second.all_processes["raylet"][0].process.pid  # the parent of the workers of the second node
    failures = {}
    blocks = make_predictor(WaitingEncoder).predict_blocks(
        paths, batch_size=2, executor=RayCluster(nodes.address, attempts=2), errors=failures.__setitem__
    )

    def kill_a_node() -> None:
        wait_until(lambda: list((tmp_path / "nets").glob(f"begin-{raylet}-*")))
        workers = children(raylet)
        nodes.remove_node(second, allow_graceful=False)
        for worker in workers:  # a machine takes its processes with it
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        (tmp_path / "nets" / "go").touch()

    killer = threading.Thread(target=kill_a_node)
    killer.start()
    found = list(blocks)
    killer.join()
    assert [name for block in found for name in block.names] == [path for path in paths if path != paths[6]]
    np.testing.assert_allclose(np.concatenate([block.embedding for block in found]), expected, atol=1e-6)
    assert list(failures) == [paths[6]]
    assert len(list((tmp_path / "nets").glob("begin-*"))) > 6  # a part was lost and done again
    assert capsys.readouterr().out == ""
