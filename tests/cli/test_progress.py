import pytest

from sne.cli.progress import Pace, stopped_by_user, zoo_progress


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "seconds, done, total, text",
    [
        (10.0, 40, 100, ", 3/s, 20 s left"),
        (10.0, 10, 100, ""),
        (60.0, 15, 100, ", 5/min, 17 min left"),
        (1800.0, 11, 100, ", 0.0333/min, 1 d 20 h left"),
        (125.0, 100, 100, ", 43.2/min, in 2 min 5 s"),
    ],
)
def test_pace_counts_from_the_first_note(seconds: float, done: int, total: int, text: str):
    clock = Clock()
    pace = Pace(clock)
    pace.note(10, total)
    assert pace.text == ""
    clock.now += seconds
    pace.note(done, total)
    assert pace.text == text


def test_progress_without_a_terminal(capsys: pytest.CaptureFixture):
    with zoo_progress("networks") as progress:
        for done in range(41):
            progress(done, 40)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == 11
    assert lines[0] == "networks: 0/40" and lines[1].startswith("networks: 4/40, ") and lines[1].endswith(" left")
    assert lines[-1].startswith("networks: 40/40, ") and ", in " in lines[-1]


def test_stopped_by_user(tmp_path, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as left, stopped_by_user(tmp_path):
        raise KeyboardInterrupt
    assert left.value.code == 130
    stopped = f"sne: stopped; finished work is kept in {tmp_path}, and the same command continues it\n"
    assert capsys.readouterr().err == stopped
    with pytest.raises(SystemExit), stopped_by_user(tmp_path, option="--resume"):
        raise KeyboardInterrupt
    assert "the same command with --resume continues it" in capsys.readouterr().err
