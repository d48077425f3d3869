import subprocess
import sys
import time

import pytest

import sne

COMMANDS = ("inspect", "encode", "predict", "train", "evaluate", "zoo")


def test_version(sne_command):
    result = sne_command("--version")
    assert (result.status, result.out) == (0, f"sne {sne.__version__}\n")


def test_help_names_every_command(sne_command):
    result = sne_command("--help")
    assert result.status == 0
    assert all(f"  {name}" in result.out for name in COMMANDS)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "zoo"])
def test_help_ends_with_an_example(sne_command, name):
    result = sne_command(name, "--help")
    assert result.status == 0
    assert f"Example: sne {name} " in result.out.strip().splitlines()[-1]


def test_help_does_not_load_torch():
    program = "import sys; from sne.cli.main import app; print('torch' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_a_users_mistake_is_one_line(sne_command, tmp_path):
    start = time.monotonic()
    result = sne_command("evaluate", tmp_path / "nowhere", tmp_path)
    assert (result.status, result.out) == (2, "")
    assert result.err == f"sne: {tmp_path / 'nowhere'}: no such predictor folder\n"
    assert time.monotonic() > start


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("train",),
        ("predict", "--predictor", "p"),
        ("train", "z", "--target", "a", "--out", "b", "--epochs", "x"),
    ],
)
def test_wrong_usage_ends_with_status_2(sne_command, arguments):
    result = sne_command(*arguments)
    assert result.status == 2
    assert "Traceback" not in result.err


def test_other_errors_keep_their_traceback(sne_command, monkeypatch, tmp_path):
    def broken(*_args, **_kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr("sne.zoo.Zoo.open", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        sne_command("train", tmp_path, "--target", "a", "--out", tmp_path / "p")
