"""The page of `benchmarks/speed.py` is written from its record."""

import json
import os
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def lines(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import speed_lines.line
    import speed_lines.table

    return speed_lines.line, speed_lines.table


def test_the_page_states_ratio_target_peak_and_floor(lines, tmp_path):
    line, table = lines
    floor = line.Floor(bytes=2e9, seconds=0.5, of="bytes read once")
    readings = [
        line.Reading("ours", "a copy", 4.0, 2.0, 6, cpu_ratio=2.5, peak=1.5e9, most_peak=1.2e9, floor=floor),
        line.Reading("forward", "textbook", 0.1, 0.62, 5, at_least=True, threads=2, notes=("outputs are equal",)),
        line.Reading("ours", "a peer", 1.0, 4.0, None),
    ]
    assert [reading.is_met for reading in readings] == [False, True, None]
    assert [line.Reading.from_json(json.loads(json.dumps(one.to_json()))) for one in readings] == readings
    old = line.Reading("ours", "a copy", 54.0, 2.0, 6).to_json()
    record = {
        "lines": {
            "copy": {"readings": [one.to_json() for one in readings], "machine": "CPU, 2 cores"},
            "gpu": {"reason": "no CUDA device"},
        },
        "before": {"of": "version 1", "lines": {"copy": {"readings": [old]}}},
        "remarks": {"copy": "threads do not help"},
    }
    table.write(record, tmp_path / "speed.json")
    page = (tmp_path / "speed.md").read_text()
    assert "| copy | ours | a copy | <= 6 | 27 | 2 | 2.5 | 4 s | 2 s | 1 | 1.50 GB (< 1.20 GB) |" in page
    assert "| copy | forward | textbook | >= 5 |  | **6.2** |  | 100 ms | 620 ms | 2 |  |" in page
    assert "| copy | ours | 2 G bytes: 500 ms | bytes read once | 8 |" in page
    assert "not measured: no CUDA device" in page
    assert "- copy: forward: outputs are equal." in page
    assert "- copy: threads do not help" in page
    assert "Before: version 1." in page
    assert json.loads((tmp_path / "speed.json").read_text()) == record


def test_a_line_that_was_cut_keeps_its_readings(lines):
    line, table = lines
    cut = {"readings": [line.Reading("a sample", "30 seconds", 4.0, 30.0, 1).to_json()], "reason": "not finished"}
    page = table.table({"lines": {"7b": cut}})
    assert "| 7b | a sample | 30 seconds | <= 1 |" in page
    assert "| 7b | the rest was not measured: not finished |" in page


def test_kept_lines_are_used_for_the_same_threads_and_version(lines):
    from speed import is_usable

    kept = {"readings": [{}], "threads": 1, "before": None, "commit": "any"}
    assert is_usable(kept, 1, None)
    assert not is_usable(kept, 2, None)
    assert not is_usable(kept, 1, "version 1")
    assert not is_usable({**kept, "reason": "not finished"}, 1, None)
    assert not is_usable({"reason": "no CUDA device", "threads": 1, "before": None}, 1, None)


def test_a_command_that_takes_too_long_ends_with_its_children(lines, tmp_path):
    from speed import finish

    command = ["sh", "-c", "sleep 60 & echo $!; wait"]
    out, reason = finish(command, 0.5, dict(os.environ))
    assert reason == "not finished after 0 s"
    assert int(out) > 0, "what was printed before is kept"
    ended = Path(f"/proc/{int(out)}/cmdline")
    assert not ended.exists() or not ended.read_text()
    assert finish(["sh", "-c", "echo wrong >&2; exit 3"], 60, dict(os.environ)) == ("", "wrong")
    assert finish(["echo", "fine"], 60, dict(os.environ)) == ("fine\n", None)
