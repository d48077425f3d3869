import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from making_cases import breaks, forgets, killed_at, refuses, slow, tiny_recipe

from sne.making.executors import Job, ProcessPool, WorkUnit
from sne.making.executors.work import do_work
from sne.making.finished_run import run_to_bytes
from sne.making.recipe import Unit
from sne.making.running import train_run
from sne.zoo import ZooError


def without_times(data: bytes) -> bytes:
    head = int.from_bytes(data[:8], "little")
    return data[8 + head :]


@pytest.fixture
def job(image_file: Path) -> Job:
    return Job(*tiny_recipe(image_file))


def test_trains_what_a_plain_loop_trains(job: Job):
    units = job.recipe.units()
    groups: list[WorkUnit] = [(units[0], units[1]), (units[2],), (units[3],)]
    taken = []

    def work() -> Iterator[WorkUnit]:
        for group in groups:
            taken.append(group)
            yield group

    came = {}
    for finished in ProcessPool(1).train(job, work()):
        came[finished.unit] = without_times(finished.data)
        assert len(taken) <= len(came) + 2  # taken as it is needed
    assert list(came) == units
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # rounding depends on it
    plain = {unit: without_times(run_to_bytes(train_run(job.recipe, unit, job.images))) for unit in units}
    torch.set_num_threads(threads)
    assert came == plain


def test_no_work_needs_no_worker(job: Job):
    assert list(ProcessPool(3).train(job, [])) == []
    with pytest.raises(ZooError, match="workers is 0"):
        ProcessPool(0)


def test_a_killed_worker_costs_its_network_alone(job: Job, tmp_path: Path):
    trained = Job(job.recipe, job.images, partial(killed_at, 1, 1, tmp_path))
    units = job.recipe.units()
    came = [finished.unit for finished in ProcessPool(1).train(trained, [tuple(units[:3]), tuple(units[3:])])]
    assert came == units and len(list(tmp_path.iterdir())) == 1


def test_a_network_that_kills_every_worker_is_named(job: Job, tmp_path: Path):
    trained = Job(job.recipe, job.images, partial(killed_at, 1, 99, tmp_path))
    finished = []
    message = r"mlp-00001 was lost 3 times with its worker process \(SIGKILL, perhaps out of memory\); what is finished"
    with pytest.raises(ZooError, match=message):
        for run in ProcessPool(1).train(trained, [(unit,) for unit in job.recipe.units()]):
            finished.append(run.unit.index)
    assert finished == [0] and len(list(tmp_path.iterdir())) == 3


def test_errors_name_the_network(job: Job):
    with pytest.raises(ZooError, match="mlp-00000: rate is cursed"):
        list(ProcessPool(1).train(Job(job.recipe, job.images, refuses), [(Unit("mlp", 0),)]))
    units = (Unit("mlp", 0), Unit("mlp", 1))
    with pytest.raises(RuntimeError, match=r"training mlp-00001 failed\n(.*\n)*.*ArithmeticError: a bug"):
        raise list(do_work(Job(job.recipe, job.images, breaks), units))[-1].error()
    with pytest.raises(RuntimeError, match="the trainer ended without mlp-00001"):
        raise list(do_work(Job(job.recipe, job.images, forgets), units))[-1].error()


def test_closing_ends_what_is_in_flight(job: Job, tmp_path: Path):
    pool = ProcessPool(2).train(
        Job(job.recipe, job.images, partial(slow, tmp_path)), [(Unit("mlp", i),) for i in (0, 1)]
    )
    assert next(pool).unit.index == 0
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 30
    (pid,) = tmp_path.iterdir()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.name), 0)
