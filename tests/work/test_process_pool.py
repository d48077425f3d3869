import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from pool_cases import die, not_picklable, note, wait_long, with_shared

from sne.errors import WorkError, ZooError
from sne.work import Executor, InThisProcess, ProcessPool, in_order


def heed_ctrl_c() -> None:
    """Lets a child react to Ctrl-C even where these tests run in the background, which makes children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_running(pid: str) -> bool:
    state = subprocess.run(["ps", "-p", pid, "-o", "stat="], capture_output=True, text=True).stdout.strip()
    return state[:1] not in ("", "Z")


@pytest.mark.parametrize("executor", [InThisProcess(), ProcessPool(2)], ids=["here", "processes"])
def test_a_failing_item_is_reported_and_the_others_are_done(tmp_path: Path, executor: Executor):
    answers = {answer.item: answer for answer in executor.run(partial(note, folder=tmp_path), range(5))}
    assert {path.name for path in tmp_path.iterdir()} == {"0", "3", "4"}
    assert [answers[i].result for i in range(5)] == [0, None, None, 6, 8]
    assert [answers[i].index for i in range(5)] == list(range(5))
    assert answers[0].failure is answers[3].failure is answers[4].failure is None
    broken, refused = answers[1].failure, answers[2].failure
    assert broken is not None and broken.reason == "ValueError: one is enough" and "in note" in broken.trace
    assert broken.error is None and not broken.is_lost
    assert refused is not None and isinstance(refused.error, ZooError) and str(refused.error) == "two is refused"


@pytest.mark.parametrize("executor", [InThisProcess(), ProcessPool(1)], ids=["here", "processes"])
def test_shared_values_and_order(executor: Executor):
    shared = {"a": "x", "b": "y"}
    assert [answer.result for answer in executor.run(with_shared, [0, 1], shared=shared)] == ["0xy", "1xy"]
    chosen = in_order(executor.run(with_shared, [0, 1, 2], shared=shared, needs=lambda item: ["b", "a"][:item]))
    assert [answer.result for answer in chosen] == ["0", "1y", "2yx"]
    assert list(executor.run(with_shared, [])) == []


def test_items_are_taken_as_they_are_needed():
    taken = []

    def items() -> Iterator[int]:
        for item in range(8):
            taken.append(item)
            yield item

    for count, answer in enumerate(in_order(ProcessPool(1).run(with_shared, items())), 1):
        assert answer.item == count - 1 and len(taken) <= count + 2


def test_workers_have_one_thread():
    (answer,) = ProcessPool(3).run(thread_count, [None])
    assert answer.result == 1
    with pytest.raises(WorkError, match="workers is 0"):
        ProcessPool(0)


def thread_count(item: None) -> int:
    return torch.get_num_threads()


def test_items_lost_with_their_process_are_tried_again(tmp_path: Path):
    answers = list(ProcessPool(1).run(partial(die, folder=tmp_path, times=2), range(3)))
    assert [answer.result for answer in answers] == [0, 2, 1]  # the lost one last
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_that_is_always_lost_is_given_up_alone(tmp_path: Path, workers: int):
    pool = ProcessPool(workers, attempts=2)
    answers = {a.item: a for a in in_order(pool.run(partial(die, folder=tmp_path, times=99), range(5)))}
    lost = answers.pop(1).failure
    assert lost is not None and lost.is_lost
    assert lost.reason == "lost 2 times with its worker process (SIGKILL, perhaps out of memory)"
    assert [answer.result for answer in answers.values()] == [0, 2, 3, 4] and len(list(tmp_path.iterdir())) == 2


def test_results_that_cannot_travel():
    (answer,) = ProcessPool(1).run(not_picklable, [0])
    assert answer.failure is not None and "pickle" in answer.failure.reason


def test_closing_ends_what_is_in_flight(tmp_path: Path):
    answers = ProcessPool(2).run(partial(wait_long, folder=tmp_path), range(5))
    assert next(answers).item == 0
    started = time.monotonic()
    answers.close()
    assert time.monotonic() - started < 30
    assert len(list(tmp_path.iterdir())) <= 3
    assert not any(is_running(path.read_text()) for path in tmp_path.iterdir() if path.read_text())


def test_ctrl_c_ends_at_once(tmp_path: Path):
    code = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "from pool_cases import wait_long; from sne.work import ProcessPool\n"
        "if __name__ == '__main__':\n"
        "    list(ProcessPool(2).run(partial(wait_long, folder=Path(sys.argv[1])), range(5)))\n"
    )
    script, notes = tmp_path / "script.py", tmp_path / "notes"
    script.write_text(code)
    notes.mkdir()
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    running = subprocess.Popen(
        [sys.executable, script, notes], env=os.environ | {"PYTHONPATH": paths}, stderr=subprocess.DEVNULL,
        start_new_session=True, preexec_fn=heed_ctrl_c,
    )  # fmt: skip
    while len(list(notes.iterdir())) < 3:
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all of them
    assert running.wait(timeout=20) != 0
    assert len(list(notes.iterdir())) == 3
    assert not any(is_running(path.read_text()) for path in notes.iterdir() if path.read_text())
