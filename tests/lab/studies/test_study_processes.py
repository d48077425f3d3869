import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from study_cases import TASK, result

from sne.lab.studies import METHODS
from sne.lab.studies.jobs import Job, read_result
from sne.lab.studies.processes import do_jobs


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
    """Job 1 kills its process, always."""
    (folder / str(job.seed)).touch()
    if job.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def wait_long(job, folder):
    """Says which process it is in; all but job 0 take a minute."""
    (folder / str(job.seed)).write_text(str(os.getpid()))
    time.sleep(60 if job.seed else 0)


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


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_is_always_lost_is_given_up_alone(tmp_path, workers, monkeypatch):
    monkeypatch.setattr("sne.lab.studies.processes.LOSSES", 2)
    found = run(die, tmp_path, range(5), workers)
    assert "lost, 2 times" in found.pop(1).reason
    assert list(found.values()) == [None] * 4


def is_running(process):
    state = subprocess.run(["ps", "-p", process, "-o", "stat="], capture_output=True, text=True).stdout.strip()
    return state[:1] not in ("", "Z")


def test_closing_ends_what_is_in_flight(tmp_path):
    doing = do_jobs([job(s) for s in range(5)], partial(wait_long, folder=tmp_path), workers=2)
    assert next(doing)[0].seed == 0
    doing.close()
    assert len(list(tmp_path.iterdir())) <= 3
    assert not any(is_running(path.read_text()) for path in tmp_path.iterdir() if path.read_text())


def test_ctrl_c_ends_at_once(tmp_path):
    code = (
        "import sys; from functools import partial; from pathlib import Path; import test_study_processes as t\n"
        "if __name__ == '__main__':\n"
        "    jobs = [t.job(seed) for seed in range(5)]\n"
        "    list(t.do_jobs(jobs, partial(t.wait_long, folder=Path(sys.argv[1])), workers=2))\n"
    )
    script, notes = tmp_path / "script.py", tmp_path / "notes"
    script.write_text(code)
    notes.mkdir()
    here = Path(__file__)
    paths = os.pathsep.join([str(here.parent), str(here.parents[1]), *sys.path])
    running = subprocess.Popen(
        [sys.executable, script, notes], env=os.environ | {"PYTHONPATH": paths}, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    while len(list(notes.iterdir())) < 3:
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all of them
    assert running.wait(timeout=20) != 0
    assert len(list(notes.iterdir())) == 3
    assert not any(is_running(path.read_text()) for path in notes.iterdir() if path.read_text())


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
