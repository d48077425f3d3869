"""`sne watch`, next to a process that writes checkpoints."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from tiny import mlp_state

ROOT = Path(__file__).parents[2]

WRITER = """
import os, sys, time
from pathlib import Path
import torch
from safetensors.torch import save, save_file
folder = Path(sys.argv[1])
generator = torch.Generator().manual_seed(0)
def state(gain):
    first, second = (torch.randn(*shape, generator=generator) for shape in ((16, 9), (5, 16)))
    return {"0.weight": gain * first, "2.weight": second}
save_file(state(1.0), folder / "step1.safetensors")
content = save(state(2.0))
with open(folder / "slow.safetensors", "wb") as file:
    for start in range(0, len(content), 300):
        file.write(content[start : start + 300])
        file.flush()
        time.sleep(0.15)
torch.save(state(3.0), folder / "step3.partial")
os.replace(folder / "step3.partial", folder / "step3.pt")
bad = state(1.0)
bad["2.weight"][0, 0] = float("nan")
torch.save(bad, folder / "bad.pt")
(folder / "junk.pt").write_bytes(b"junk")
(folder / "checkpoint-7").mkdir()
(folder / "checkpoint-7" / "config.json").write_text("{}")
save_file(state(1.0), folder / "checkpoint-7" / "model.safetensors")
torch.save({"state": {}, "param_groups": []}, folder / "checkpoint-7" / "optimizer.pt")
time.sleep(1.5)
os.rename(folder / "step3.pt", folder / "best.pt")
save_file(state(0.5), folder / "step1.safetensors")
"""


@pytest.fixture
def runs(tmp_path):
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def heed_interrupts():
    """Shells start jobs in the background with SIGINT ignored, which their children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_watching(folder, *options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.Popen(
        [sys.executable, "-m", "sne", "watch", str(folder), "--interval", "0.3", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_interrupts,
    )  # fmt: skip


def test_a_process_that_writes(runs):
    save_file(mlp_state(torch.Generator().manual_seed(0), width=5, gain=1.0), runs / "before.safetensors")
    watching = start_watching(runs, "--json")
    assert watching.stdout is not None and watching.stderr is not None
    lines = [json.loads(watching.stdout.readline())]
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(runs)])
    lines += [json.loads(watching.stdout.readline()) for _ in range(7)]
    assert writer.wait(60) == 0
    error = watching.stderr.readline()
    watching.send_signal(signal.SIGINT)
    rest, errors = watching.communicate(timeout=60)
    assert rest == "" and errors == "sne: stopped\n" and watching.returncode == 130
    assert error.startswith(f"sne: {runs}/junk.pt: the content is not torch")
    events = [(Path(line["file"]).name, line["event"]) for line in lines]
    assert events[0] == ("before.safetensors", "new")
    assert sorted(events[1:6]) == [
        ("bad.pt", "new"), ("checkpoint-7", "new"), ("slow.safetensors", "new"), ("step1.safetensors", "new"),
        ("step3.pt", "new"),
    ]  # fmt: skip
    assert sorted(events[6:]) == [("best.pt", "renamed"), ("step1.safetensors", "rewritten")]
    by_event = {(Path(line["file"]).name, line["event"]): line for line in lines}
    assert by_event["best.pt", "renamed"]["before"] == str(runs / "step3.pt")
    assert by_event["best.pt", "renamed"]["predictions"] == by_event["step3.pt", "new"]["predictions"]
    again = by_event["step1.safetensors", "rewritten"]["predictions"]
    assert again != by_event["step1.safetensors", "new"]["predictions"]
    bad = by_event["bad.pt", "new"]
    assert bad["predictions"] == [] and bad["health"]["verdict"] == "broken" and "2.weight" in bad["error"]
    for line in lines:
        if line is not bad:
            assert line["predictions"][0]["property"] == "test_accuracy" and line["health"]["verdict"] == "good"


def test_once(sne_command, tiny_rooms, predictor_path, checkpoints):
    arguments = ("watch", checkpoints, "--once", "--interval", 0.05, "--predictor", predictor_path)
    result = sne_command(*arguments, "--json")
    assert result.status == 0 and result.err == ""
    found = {line["file"]: line["predictions"][0]["value"] for line in result.json()}
    expected = sne_command("predict", checkpoints, "--predictor", predictor_path, "--json").json()
    assert found == pytest.approx({line["file"]: line["value"] for line in expected})
    head, *rows = sne_command(*arguments).out.splitlines()
    assert head.split()[:3] == ["time", "file", "test_accuracy"] and len(rows) == 3
    assert all("good" in row for row in rows)
    assert "health" not in sne_command(*arguments, "--no-health").out
    assert sne_command(*arguments, "--only-new").out == ""


def test_once_names_what_it_could_not_read(sne_command, tiny_rooms, predictor_path, checkpoints):
    (checkpoints / "junk.pt").write_bytes(b"junk")
    arguments = ("watch", checkpoints, "--once", "--interval", 0.05, "--predictor", predictor_path)
    for options in ((), ("--no-health",)):
        result = sne_command(*arguments, *options)
        assert result.status == 2 and len(result.out.splitlines()) == 4
        assert result.err.count("\n") == 1 and "junk.pt: the content is not torch" in result.err


def test_once_does_not_wait_for_ever(sne_command, tiny_rooms, predictor_path, checkpoints, monkeypatch):
    growing = checkpoints / "growing.safetensors"
    content = save(mlp_state(torch.Generator().manual_seed(0), width=5, gain=1.0))
    sleep = time.sleep

    def write_a_byte(seconds):
        with growing.open("ab") as file:
            file.write(content[growing.stat().st_size : growing.stat().st_size + 1])
        sleep(seconds)

    growing.write_bytes(b"")
    monkeypatch.setattr("sne.cli.watch.time.sleep", write_a_byte)
    result = sne_command("watch", checkpoints, "--once", "--interval", 0.05, "--predictor", predictor_path)
    assert result.status == 2 and len(result.out.splitlines()) == 4
    assert result.err == f"sne: {growing}: still being written\n"


def test_mistakes(sne_command, runs, predictor_path, zoo_path):
    result = sne_command("watch", runs / "none")
    assert result.status == 2 and result.err == f"sne: {runs}/none: no such folder, expected a folder to watch\n"
    (runs / "file").write_text("")
    result = sne_command("watch", runs / "file")
    assert result.status == 2 and "a file, expected a folder" in result.err
    result = sne_command("watch", runs, "--once", "--target", "size", "--predictor", predictor_path)
    assert result.status == 2 and "not 'size'" in result.err
    result = sne_command("watch", zoo_path, "--once", "--interval", 0.05, "--predictor", predictor_path)
    assert result.status == 2 and "a zoo, expected checkpoints" in result.err


def test_names_cannot_control_the_terminal(sne_command, tiny_rooms, predictor_path, checkpoints):
    (checkpoints / "net0.safetensors").rename(checkpoints / "a\x1b[31m\n.safetensors")
    result = sne_command("watch", checkpoints, "--once", "--interval", 0.05, "--predictor", predictor_path)
    assert result.status == 0 and "\x1b" not in result.out and len(result.out.splitlines()) == 4
