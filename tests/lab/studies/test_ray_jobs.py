"""A study on a real Ray cluster of this machine."""

import json
from pathlib import Path

import pytest
from ray_lock import ray_to_itself
from study_cases import OTHER, TASK, ZOO, tiny_study

from sne.errors import WorkError
from sne.lab.studies import HeldOut, StudyError, StudyTask, ZooNeed, run_study


def predictions(folder: Path) -> dict:
    return {path.name: json.loads(path.read_text())["held_out"] for path in sorted((folder / "jobs").iterdir())}


def without_times(held_out: dict) -> dict:
    return {
        name: {part: {k: v for k, v in judged.items() if k != "ms_per_network"} for part, judged in parts.items()}
        for name, parts in held_out.items()
    }


def test_a_cluster_finds_what_this_process_finds(tmp_path, capsys):
    both = StudyTask("both", ("tiny", "tiny-sine"), (HeldOut("own", ("tiny", "tiny-sine")),), target="test_loss")
    study = tiny_study("mean", "statistics_boosting", "dwsnet", tasks=(TASK, both), seeds=(0,))
    here = run_study(study, "ci", tmp_path / "here", workers=0)
    with ray_to_itself():
        there = run_study(study, "ci", tmp_path / "there", workers=2, ray="local")
    again = run_study(study, "ci", tmp_path / "there", zoos=tmp_path / "there" / "zoos", workers=0)
    assert not there.failures and len(there.tried) == len(here.tried) == len(again.tried) == 6
    one, two = (without_times(predictions(tmp_path / name)) for name in ("here", "there"))
    assert one == two and len(one) == 6
    assert {outcome.status for outcome in there.outcomes.all} == {"done", "cannot"}
    assert str(tmp_path) not in json.dumps(list(there.tried)) and "sne-study-" not in json.dumps(list(there.tried))
    assert capsys.readouterr().out == ""


def test_what_a_cluster_cannot_do_is_said_at_once(tmp_path):
    gpu = tiny_study("mean", device="cuda")
    with pytest.raises(StudyError, match="a Ray cluster trains on CPUs only, but tiny at scale ci uses a GPU"):
        run_study(gpu, "ci", tmp_path, ray="local")
    with pytest.raises(WorkError, match="Ray address 'nowhere' is not known, expected auto, local or HOST:PORT"):
        run_study(tiny_study("mean"), "ci", tmp_path, ray="nowhere")
    assert ZOO.device == OTHER.device == ZooNeed("any", ("mlp",)).device == "cpu"
