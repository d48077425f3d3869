import os
import signal
from functools import partial
from pathlib import Path

import pytest
from study_cases import TASK, result

from sne.studies import METHODS
from sne.studies.jobs import Job, read_result
from sne.studies.processes import do_jobs


def job(seed):
    return Job(TASK, METHODS["mean"], 0, seed, {})


def note(job, folder):
    """Leaves a file; job 1 fails."""
    if job.seed == 1:
        raise ValueError("one\nis enough")
    (folder / str(job.seed)).touch()


def die_once(job, folder):
    """Kills its process where it has not done so before."""
    marker = folder / f"died-{job.seed}"
    if job.seed == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / str(job.seed)).touch()


def die(job, folder):
    os.kill(os.getpid(), signal.SIGKILL)


def run(work, folder, seeds, workers):
    found = {
        job.seed: failure
        for job, failure in do_jobs([job(s) for s in seeds], partial(work, folder=folder), workers=workers)
    }
    assert set(found) == set(seeds)
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_job_is_told_and_the_others_are_done(tmp_path, workers):
    found = run(note, tmp_path, range(4), workers)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "2", "3"}
    assert found[1].reason == "ValueError: one is enough" and "note" in found[1].trace
    assert found[0] is found[2] is found[3] is None


def test_jobs_lost_with_their_process_are_done_again(tmp_path):
    found = run(die_once, tmp_path, range(3), 1)
    assert all(failure is None for failure in found.values())
    assert {"0", "1", "2"} <= {path.name for path in tmp_path.iterdir()}


def test_jobs_that_are_always_lost_are_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("sne.studies.processes.MOST_LOSSES", 2)
    found = run(die, tmp_path, [0], 1)
    assert "lost, 2 times" in found[0].reason


def test_a_result_of_another_job_is_no_result(tmp_path: Path):
    import json

    one = job(0)
    path = tmp_path / one.file_name
    assert read_result(tmp_path, one) is None
    path.write_text("{")
    assert read_result(tmp_path, one) is None
    path.write_text(json.dumps(result(job(1), {})))
    assert read_result(tmp_path, one) is None
    path.write_text(json.dumps(result(one, {})))
    assert read_result(tmp_path, one)["job"]["seed"] == 0


def test_names_of_jobs_are_names_of_files():
    from dataclasses import replace

    odd = replace(job(0), task=replace(TASK, name="50 % / all"))
    assert odd.file_name == "50_____all--mean--c0--s0.json"
    assert odd.fingerprint != job(0).fingerprint
