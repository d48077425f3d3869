"""The README is run from top to bottom: what it tells a newcomer to type has to work."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(console|python)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[tuple[list[str], str]]:
    """The commands of a console block, each with the output that is shown below it."""
    assert block.startswith("$ sne "), f"the block begins with no command: {block}"
    steps = [step.partition("\n") for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(shlex.split(command), shown) for command, _, shown in steps]


def shape_of(output: str) -> str:
    """Output with every number as `#` and without the widths of columns, which follow the numbers."""
    lines = [" ".join(line.split()) for line in output.strip().splitlines()]
    return re.sub(r"-?\d[\d.]*(e[-+]\d+)?|(?<= )-(?=[ \n])", "#", "\n".join(lines))


def shows(shown: str, printed: str) -> bool:
    """Whether output as shown has the shape of what was printed.

    A line `...` stands for any lines, and the last columns of a table may be left out.
    """
    lines = shape_of(shown).splitlines()
    pattern = "".join(r"([^\n]*\n)*" if line == "..." else rf"{re.escape(line)}( [^\n]*)?\n" for line in lines)
    return re.fullmatch(pattern, shape_of(printed) + "\n") is not None


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, str]:
    """Runs every block in order, in one folder; gives what each command printed."""
    folder = tmp_path_factory.mktemp("newcomer")
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}", "OMP_NUM_THREADS": "1"}
    outputs: dict[str, str] = {}
    for language, block in BLOCKS:
        steps = commands(block) if language == "console" else [([sys.executable, "-c", block], "")]
        for step, shown in steps:
            done = subprocess.run(step, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, f"{shlex.join(step)}\n{done.stdout}\n{done.stderr}"
            if shown:
                assert shows(shown, done.stdout), f"{shlex.join(step)} prints now:\n{done.stdout}"
            outputs[" ".join(step[:2]) if language == "console" else block] = done.stdout
    assert (folder / "embeddings.parquet").is_file()
    return outputs


def test_output_is_compared_by_its_shape():
    printed = "tau     mae\n0.8788  -2e-12\n\nlast line, 12 networks\n"
    assert shows("tau mae\n0.5 7\n\nlast line, 3 networks\n", printed)
    assert shows("tau  mae\n...\nlast line, 3 networks\n", printed) and shows("tau mae\n...\n", printed)
    assert not shows("tau r2\n...\n", printed) and not shows("tau mae\n0.5 7\n", printed)
    assert shows("tau\n0.5\n...\n", printed) and not shows("mae\n7\n...\n", printed)


def test_every_command_is_shown(printed):
    shown = {name for name in printed if name.startswith("sne ")}
    assert shown == {f"sne {name}" for name in ("zoo", "train", "evaluate", "inspect", "predict", "encode")}


def test_evaluate_ends_with_the_promised_line(printed):
    last = printed["sne evaluate"].splitlines()[-1]
    assert re.fullmatch(r"kendall_tau=-?\d\.\d{4} baseline_tau=-?\d\.\d{4} n=\d+", last)


def test_predict_and_inspect_name_the_file(printed):
    assert "model.pt" in printed["sne predict"] and "test_accuracy" in printed["sne predict"]
    assert "2 layers" in printed["sne inspect"]


def test_the_python_examples_print(printed):
    (block,) = [block for language, block in BLOCKS if language == "python" and "sne.Predictor" in block]
    lines = printed[block].splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["linear", "linear"]
    named = [line.split()[0] for line in lines[2:16]]
    assert named[:7] == named[7:] and (named[0], named[6]) == ("test_accuracy", "config.learning_rate")


def test_the_results_have_their_place():
    assert README.index("<!-- results -->") < README.index("<!-- /results -->")
