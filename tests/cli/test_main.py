import errno
import logging
import os
import re
import subprocess
import sys

import pytest

import sne
from sne.cli.main import describe_error

COMMANDS = (
    "inspect", "encode", "predict", "card", "check", "watch", "compare", "index", "search", "lineage", "map", "train",
    "evaluate", "study", "zoo",
)  # fmt: skip
ZOO_COMMANDS = ("make", "recipe", "import", "export", "info", "verify", "merge", "append")


def test_version(sne_command):
    result = sne_command("--version")
    assert (result.status, result.out) == (0, f"sne {sne.__version__}\n")


def test_help_names_every_command_and_promises_no_other(sne_command):
    result = sne_command("--help")
    assert result.status == 0
    assert all(f"  {name}" in result.out for name in COMMANDS)
    assert "--install-completion" in result.out and "-v, --verbose" in result.out and "--log-level" in result.out


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "zoo"])
def test_help_ends_with_an_example(sne_command, name):
    result = sne_command(name, "--help")
    assert result.status == 0
    assert f"Example: sne {name} " in result.out.strip().splitlines()[-1]


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS), *(("zoo", name) for name in ZOO_COMMANDS)])
def test_help_is_whole_and_shows_no_types_of_python(sne_command, words):
    lines = sne_command(*words, "--help").out.splitlines()
    start = lines.index("Commands:") if "Commands:" in lines else len(lines)
    assert not [line for line in lines[start:] if line.endswith("...")]  # summaries that are cut
    assert not [line for line in lines if re.search(r"[{}]|<[a-z]+[ \[>]", line)]
    assert max(map(len, lines)) <= 80 or words == ("encode",)  # an example is not broken


def test_help_loads_no_heavy_package():
    heavy = ("torch", "numpy", "scipy", "pyarrow", "sklearn", "rich", "plotly")
    program = f"import sys; from sne.cli.main import app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_users_mistake_is_one_line(sne_command, tmp_path):
    result = sne_command("evaluate", tmp_path / "nowhere", tmp_path)
    assert (result.status, result.out) == (2, "")
    expected = "no such predictor folder, and no packaged predictor of that name (default)"
    assert result.err == f"sne: {tmp_path / 'nowhere'}: {expected}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nonsense",), "no such command 'nonsense'; see sne --help"),
        (("inspect", "--nonsense", "a.pt"), "no such option: --nonsense; see sne inspect --help"),
        (
            ("train", "zoo", "--out", "p"),
            "missing option --target: Property to predict, a column of the zoo; can be repeated. See sne train --help",
        ),
        (
            ("predict", "--predictor", "p"),
            "missing argument FILE: Checkpoints: files, globs, folders of checkpoints, or - to read one path per line "
            "from stdin. Usage: sne predict [OPTIONS] FILE...",
        ),
        (("inspect", "-v", "a.pt"), "-v goes before the command: sne -v inspect ..."),
        (("--log-level", "loud", "inspect", "a.pt"), "--log-level is 'loud', expected one of debug, info, "),
        (("inspect", "--chunk-size", "0", "a.pt"), "invalid value for '--chunk-size': "),
        (("train", "z", "--target", "a", "--out", "b", "--epochs", "x"), "invalid value for '--epochs': "),
        (("encode", "a.pt", "--predictor", "p", "--out", "e.txt"), "--out is e.txt, expected a name that ends in "),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_is_expected(sne_command, arguments, line):
    result = sne_command(*arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(f"sne: {line}") and result.err.count("\n") == 1


def test_a_missing_argument_of_a_subcommand_shows_the_usage(sne_command):
    result = sne_command("zoo", "merge", "my_zoo")
    assert result.status == 2 and result.err.count("\n") == 1
    assert result.err.startswith("sne: missing argument ZOO: ")
    assert "sne zoo merge [OPTIONS] OUT ZOO..." in result.err


def test_a_command_without_arguments_prints_its_help(sne_command):
    result = sne_command("train")
    assert result.status == 2 and result.err.startswith("Usage: sne train ")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (sne.ZooError("two\nlines"), "two lines"),
        (OSError(errno.ENOSPC, "No space left on device", "a.pt"), "a.pt: no space left on device"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device"),
        (OSError("broken"), "broken"),
        (MemoryError("Unable to allocate 8 GiB"), "not enough memory; a smaller --batch-size needs less (Unable to al"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory; a smaller --batch-size "),
        (ValueError("a bug"), None),
    ],
)
def test_errors_that_a_user_can_mend_are_described(error, line):
    described = describe_error(error)
    assert described is None if line is None else described and described.startswith(line)


def test_other_errors_keep_their_traceback(sne_command, monkeypatch, tmp_path):
    def broken(*_args, **_kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr("sne.zoo.Zoo.open", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        sne_command("train", tmp_path, "--target", "a", "--out", tmp_path / "p")


def test_ctrl_c_is_one_line(sne_command, monkeypatch, tmp_path):
    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("sne.zoo.Zoo.open", stop)
    result = sne_command("train", tmp_path, "--target", "a", "--out", tmp_path / "p")
    assert (result.status, result.err) == (130, "sne: stopped\n")


def test_ctrl_c_while_training_names_the_option_that_continues(sne_command, monkeypatch, tmp_path):
    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("sne.zoo.Zoo.open", lambda _path: None)
    monkeypatch.setattr("sne.training.fit", stop)
    (tmp_path / "p").mkdir()  # what was done is kept there
    result = sne_command("train", tmp_path, "--target", "a", "--out", tmp_path / "p")
    assert result.status == 130 and result.err.endswith("the same command with --resume continues it\n")


@pytest.fixture
def own_logger():
    logger = logging.getLogger("sne")
    before = logger.handlers, logger.level
    yield logger
    logger.handlers, logger.level = before


@pytest.mark.usefixtures("tiny_rooms", "own_logger")
def test_verbose_logs_to_stderr(sne_command, predictor_path, checkpoints):
    arguments = ("predict", checkpoints, "--predictor", predictor_path, "--json")
    quiet, verbose = sne_command(*arguments), sne_command("-v", *arguments)
    assert quiet.err == "" and quiet.out == verbose.out
    assert verbose.err.count(" INFO sne.") == 3 and "net0.safetensors" in verbose.err
    assert sne_command("--log-level", "info", *arguments).err.count(" INFO sne.") == 3


@pytest.mark.usefixtures("own_logger")
def test_debug_shows_where_an_error_was_raised(sne_command, tmp_path):
    result = sne_command("--log-level", "debug", "evaluate", tmp_path / "nowhere", tmp_path)
    assert "Traceback" in result.err and result.err.endswith("no packaged predictor of that name (default)\n")


def test_importing_changes_no_logger():
    program = (
        "import logging, sne, sne.cli.main\n"
        "for name in (None, 'sne'): print(logging.getLogger(name).handlers, logging.getLogger(name).level)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"[] {logging.WARNING}\n[] {logging.NOTSET}\n"


def test_shells_complete_commands():
    environment = {**os.environ, "_SNE_COMPLETE": "complete_bash", "COMP_WORDS": "sne tr", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "sne.cli.main"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.split() == ["train"]
