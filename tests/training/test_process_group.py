"""Training in two processes that torchrun starts: the result of one process, and clear errors."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tiny import write_tiny_zoo

from sne.predictors.experts.process_group import ProcessGroup, is_first_process, joined_processes
from sne.training import TrainingError, fit, preset_settings
from sne.zoo import Zoo

CPU = torch.device("cpu")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_two_processes_train_the_predictor_of_one(tmp_path):
    """Shares of 6 and 5 networks, missing labels, two batches per step, copies, and a validation set in three batches.

    The parameters agree to 1e-4 of the largest of each tensor; the paper's encoder has no dropout.
    """
    zoo = Zoo.open(write_tiny_zoo(tmp_path / "zoo", runs=20, known=lambda run: run % 3 > 0))
    command = ["train", str(zoo.path), "--preset", "paper", "--out", str(tmp_path / "both"), "--json"]
    command += ["--target", "test_accuracy", "--target", "config.activation", "--epochs", "2", "--batch-size", "3"]
    command += ["--accumulation", "4", "--invariance", "1", "--invariance-kinds", "scaling"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = subprocess.run([*TORCHRUN, "-m", "sne", *command], env=environment, capture_output=True, text=True)
    assert both.returncode == 0, both.stderr
    (line,) = both.stdout.splitlines()  # only the first process prints
    assert json.loads(line)["predictor"] == str(tmp_path / "both")
    assert not (tmp_path / "both" / ".training").exists()
    changes = {"accumulation": 4, "invariance": 1.0, "invariance_kinds": ("scaling",)}
    settings = preset_settings("paper", epochs=2, batch_size=3, **changes)
    fit(zoo, ["test_accuracy", "config.activation"], encoder="paper", settings=settings, out=tmp_path / "alone")
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", "both"))
    assert any(not torch.equal(tensor, expected[name]) for name, tensor in found.items()), "as if one alone had trained"
    for name, tensor in expected.items():
        scale = float(tensor.abs().max()) if tensor.numel() else 0.0
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-4 * scale, msg=name)
    one, other = (
        json.loads((tmp_path / name / "metrics.json").read_text())["experts"]["neural"]["folds"][0]["history"]
        for name in ("alone", "both")
    )
    assert len(one) == len(other) == 2
    for before, after in zip(one, other, strict=True):
        assert after == pytest.approx(before, rel=1e-3) and after["invariance"] > 0


def test_alone_nothing_is_added_up():
    group = ProcessGroup()
    parameter = torch.nn.Parameter(torch.ones(2))
    group.add_up_gradients([parameter])
    assert parameter.grad is None and group.add_up(torch.ones(2)).tolist() == [1, 1]
    assert group.share(range(5)) == range(5) and group.from_first(lambda: 3) == 3


def test_gradients_that_no_process_has_stay_missing(monkeypatch):
    mine, others, nobodys = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    mine.grad = torch.tensor([1.0, 2.0])
    of_other = torch.tensor([0, 0, 5, 6, 0, 0, 0, 1, 0])  # three gradients, and which of them it has
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.add_(of_other))
    ProcessGroup(0, 2).add_up_gradients([mine, others, nobodys])
    assert mine.grad.tolist() == [1, 2] and nobodys.grad is None
    assert others.grad is not None and others.grad.tolist() == [5, 6]


def test_shares_are_all_items_once():
    shares = [list(ProcessGroup(rank, 3).share(range(8))) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(8))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"WORLD_SIZE": "4"}, "WORLD_SIZE is 4, but RANK and .* are not set: start the processes with torchrun"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many', expected a number from 1"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0', expected a number from 1"),
        (
            {"WORLD_SIZE": "2", "RANK": "-1", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
            "RANK is '-1', expected a number from 0",
        ),
        (
            {"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
            "RANK is 2, expected less than WORLD_SIZE, 2",
        ),
    ],
)
def test_processes_that_cannot_be_joined_are_told(given, message, monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=message), joined_processes(CPU):
        pass


def test_more_processes_than_devices_are_told(monkeypatch):
    world = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in world.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert not is_first_process()
    with (
        pytest.raises(
            TrainingError, match=r"process 2 of this machine has no CUDA device, there are 1: .* 1; device='cpu' trains"
        ),
        joined_processes(torch.device("cuda")),
    ):
        pass


def test_processes_with_other_arguments_are_told(monkeypatch):
    def gather(values, value):
        values[:] = [{"seed": 0, "epochs": 5}, {"seed": 0, "epochs": 5}, {"seed": 1, "epochs": 5}]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    with pytest.raises(TrainingError, match="process 2 of 3 is started with another seed than process 0"):
        ProcessGroup(0, 3).check_equal({"seed": 0, "epochs": 5})
