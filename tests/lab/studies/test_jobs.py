import json
from dataclasses import replace
from pathlib import Path

from study_cases import TASK, result

from sne.lab.studies import METHODS
from sne.lab.studies.jobs import Job, read_result


def job(seed: int) -> Job:
    return Job(TASK, METHODS["mean"], 0, seed, {})


def test_a_result_of_another_job_is_no_result(tmp_path: Path):
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
    odd = replace(job(0), task=replace(TASK, name="50 % / all"))
    assert odd.file_name == "50_____all--mean--c0--s0.json"
    assert odd.fingerprint != job(0).fingerprint
