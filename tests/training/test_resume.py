import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from slow_training import SETTINGS, train
from tiny import TinyEncoder, write_tiny_zoo

from sne.training import TrainingError, TrainingSettings, fit, is_finished
from sne.zoo import Zoo

SCRIPT = Path(__file__).with_name("slow_training.py")


@pytest.fixture(scope="module")
def zoo_path(tmp_path_factory):
    return write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "tiny", runs=16, known=lambda run: run % 3 > 0)


def epochs_done(state: Path) -> int:
    if not state.is_file():
        return 0
    with safe_open(state, framework="pt") as file:
        return json.loads(file.metadata()["state"])["epoch"]


def kill_when(process: subprocess.Popen, state: Path, epochs: int) -> None:
    deadline = time.monotonic() + 60
    while epochs_done(state) < epochs:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline, "training did not get that far"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_kill_and_resume_ends_with_the_same_bits(zoo_path, tmp_path):
    """Killed twice, in either member, by SIGKILL; dropout, accumulation and invariance are on."""
    whole = train(zoo_path, tmp_path / "whole")
    assert whole.record["symmetry"]["copied"] and whole.record["symmetry"]["unknown"]
    assert all(
        entry["invariance"] > 0 for member in whole.metrics["experts"]["neural"]["folds"] for entry in member["history"]
    )
    out = tmp_path / "killed"
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    for member, resume in (("neural-0", "anew"), ("neural-1", "resume")):
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(zoo_path), str(out), resume, "0.02"],
            env=environment,
            stderr=subprocess.PIPE,
        )
        kill_when(process, out / ".training" / f"{member}.safetensors", 3)
        assert not (out / "config.json").exists()
    train(zoo_path, out, resume=True)
    for name in ("model.safetensors", "metrics.json", "split.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert sorted(f.name for f in out.iterdir()) == [
        "config.json",
        "metrics.json",
        "model.safetensors",
        "split.json",
    ]


class Stop(Exception):
    pass


class StoppingEncoder(TinyEncoder):
    """Gives up in its n-th training batch."""

    left = 0

    def forward(self, batch):
        StoppingEncoder.left -= self.training
        if StoppingEncoder.left < 0:
            raise Stop
        return super().forward(batch)


def stop_midway(zoo_path, out, settings):
    zoo = Zoo.open(zoo_path)
    StoppingEncoder.left = 15
    with pytest.raises(Stop):
        fit(zoo, ["test_accuracy"], split=zoo.split, encoder=StoppingEncoder, settings=settings, out=out)
    StoppingEncoder.left = 10**9
    return zoo


SMALL = TrainingSettings(epochs=10, batch_size=8, checkpoint_seconds=0.0)


@pytest.mark.parametrize(
    ("values", "targets", "message"),
    [
        ({"epochs": 11}, ["test_accuracy"], "cannot resume, epochs was 10 and is now 11"),
        ({"seed": 1}, ["test_accuracy"], "cannot resume, seed was 0 and is now 1"),
        ({}, ["test_loss"], r"cannot resume, targets was \['test_accuracy'\] and is now \['test_loss'\]"),
    ],
)
def test_other_settings_are_refused(zoo_path, tmp_path, values, targets, message):
    zoo = stop_midway(zoo_path, tmp_path / "p", SMALL)
    settings = TrainingSettings(**{**SMALL.to_json(), **values})
    with pytest.raises(TrainingError, match=message):
        fit(
            zoo,
            targets,
            split=zoo.split,
            encoder=StoppingEncoder,
            settings=settings,
            out=tmp_path / "p",
            resume=True,
        )


def test_another_zoo_is_refused(zoo_path, tmp_path):
    stop_midway(zoo_path, tmp_path / "p", SMALL)
    other = Zoo.open(write_tiny_zoo(tmp_path / "other", runs=16, seed=5))
    with pytest.raises(TrainingError, match="cannot resume, the networks or labels of the zoo changed since it began"):
        fit(
            other, ["test_accuracy"], split=other.split, encoder=StoppingEncoder, settings=SMALL,
            out=tmp_path / "p", resume=True,
        )  # fmt: skip


def test_an_unfinished_training_is_not_lost_by_accident(zoo_path, tmp_path):
    zoo = stop_midway(zoo_path, tmp_path / "p", SMALL)
    arguments = dict(split=zoo.split, encoder=StoppingEncoder, settings=SMALL, out=tmp_path / "p")
    with pytest.raises(TrainingError, match="unfinished training; resume=True continues it or overwrite=True replaces"):
        fit(zoo, ["test_accuracy"], **arguments)
    fit(zoo, ["test_loss"], **arguments, overwrite=True)
    with pytest.raises(TrainingError, match="finished predictor; overwrite=True replaces it"):
        fit(zoo, ["test_accuracy"], **arguments)


def test_resuming_does_not_start_again(zoo_path, tmp_path):
    zoo = stop_midway(zoo_path, tmp_path / "p", SMALL)
    done = epochs_done(tmp_path / "p" / ".training" / "neural-0.safetensors")
    assert 0 < done < 10
    before = StoppingEncoder.left
    fit(
        zoo, ["test_accuracy"], split=zoo.split, encoder=StoppingEncoder, settings=SMALL,
        out=tmp_path / "p", resume=True,
    )  # fmt: skip
    batches = -(-len(zoo.split.rows(zoo.runs, "train")) // 8)
    assert before - StoppingEncoder.left == (10 - done) * batches


def test_a_damaged_state_is_told(zoo_path, tmp_path):
    zoo = stop_midway(zoo_path, tmp_path / "p", SMALL)
    state = tmp_path / "p" / ".training" / "neural-0.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"neural-0\.safetensors: damaged"):
        fit(
            zoo, ["test_accuracy"], split=zoo.split, encoder=StoppingEncoder, settings=SMALL,
            out=tmp_path / "p", resume=True,
        )  # fmt: skip


def test_replacing_a_predictor_that_is_cut_short_is_unfinished(zoo_path, tmp_path, monkeypatch):
    zoo = Zoo.open(zoo_path)
    arguments = dict(split=zoo.split, encoder=StoppingEncoder, out=tmp_path / "p")
    monkeypatch.setattr(StoppingEncoder, "left", 10**9)
    fit(zoo, ["test_accuracy"], **arguments, settings=SMALL)
    monkeypatch.setattr(StoppingEncoder, "left", 0)  # before any state is saved
    later = TrainingSettings(**{**SMALL.to_json(), "seed": 7})
    with pytest.raises(Stop):
        fit(zoo, ["test_accuracy"], **arguments, settings=later, overwrite=True)
    assert not is_finished(tmp_path / "p")
    monkeypatch.setattr(StoppingEncoder, "left", 10**9)
    predictor = fit(zoo, ["test_accuracy"], **arguments, settings=later, resume=True)
    assert predictor.record["settings"]["seed"] == 7


def test_script_settings_exercise_the_hard_parts():
    assert SETTINGS.invariance and SETTINGS.invariance_draws > 1
    assert SETTINGS.dropout and SETTINGS.accumulation > 1 and SETTINGS.folds > 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_zoo_is_not_replaced_by_a_predictor(tmp_path, overwrite):
    zoo = Zoo.open(write_tiny_zoo(tmp_path / "zoo", runs=8))
    before = (zoo.path / "split.json").read_bytes()
    with pytest.raises(TrainingError, match="holds a zoo"):
        fit(zoo, ["test_accuracy"], encoder=TinyEncoder, settings=SMALL, out=zoo.path, overwrite=overwrite)
    assert (zoo.path / "split.json").read_bytes() == before
    assert not (zoo.path / ".training").exists()


def test_resume_and_overwrite_exclude_each_other(zoo_path, tmp_path):
    zoo, arguments = Zoo.open(zoo_path), dict(encoder=TinyEncoder, settings=SMALL, out=tmp_path / "p")
    fit(zoo, ["test_accuracy"], **arguments)
    with pytest.raises(TrainingError, match="exclude each other"):
        fit(zoo, ["test_accuracy"], **arguments, resume=True, overwrite=True)
