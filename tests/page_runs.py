"""Runs the blocks of a page, and compares what is printed with what the page shows."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path


def blocks_of(page: str) -> list[tuple[str, str]]:
    """The blocks that are run, in order: language and text."""
    return re.findall(r"^```(console|python)\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[tuple[list[str], str]]:
    """The commands of a console block, each with the output that is shown below it."""
    assert re.match(r"\$ (sne|python) ", block), f"the block begins with no command: {block}"
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


def run_blocks(blocks: list[tuple[str, str]], folder: Path) -> dict[str, str]:
    """Runs every block in order, in one folder.

    Returns:
        What was printed, by the first two words of each command, or by the text of a Python block.
    """
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}", "OMP_NUM_THREADS": "1"}
    outputs: dict[str, str] = {}
    for language, block in blocks:
        steps = commands(block) if language == "console" else [([sys.executable, "-c", block], "")]
        for step, shown in steps:
            done = subprocess.run(step, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, f"{shlex.join(step)}\n{done.stdout}\n{done.stderr}"
            if shown:
                assert shows(shown, done.stdout), f"{shlex.join(step)} prints now:\n{done.stdout}"
            outputs[" ".join(step[:2]) if language == "console" else block] = done.stdout
    return outputs
