"""Errors of the library name arguments of functions, which commands turn into their options."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sne
from sne.errors import CheckpointError, Remedy, SneError, ZooError, reason_of

ROOT = Path(sne.__file__).parent
LIBRARY = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] != "cli")
OPTION = re.compile(r"(?<![\w(-])--[a-z][a-z-]+(?![\w:-])")
"""An option, such as --out; `--ink: #1b1f24` and `var(--ink)` are CSS."""
PROGRAMS = ("sne ", "torchrun ", "python -m ", "h5repack ", "tensorflowjs_converter ")
"""Texts with the name of a program give a whole command, to which its options belong."""


def texts(tree: ast.AST) -> Iterator[str]:
    """The strings of a module that people read: no docstrings, and no strings that are nothing but an option."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if not OPTION.fullmatch(node.value):
                yield node.value
        else:
            todo += ast.iter_child_nodes(node)


def test_a_text_with_an_option_is_found():
    code = 'f"""{a}: give --out"""\n"""doc --out"""\nx = ["--out", f"--{a}--b"]'
    assert [text for text in texts(ast.parse(code)) if OPTION.search(text)] == ["{}: give --out"]


def test_the_library_names_no_option_of_a_command():
    named = [(path, text) for path in LIBRARY for text in texts(ast.parse(path.read_text())) if OPTION.search(text)]
    assert [pair for pair in named if not any(program in pair[1] for program in PROGRAMS)] == []


@pytest.mark.parametrize(
    "error",
    [
        ZooError("zoo: is empty", Remedy("prefix", True, "helps"), Remedy("path_column", None, "helps, too")),
        CheckpointError("a.pt", "has NaN", Remedy("select", "ema", "helps")),
        SneError("no remedy"),
    ],
)
def test_errors_cross_processes_with_their_remedies(error: SneError):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.text, copy.remedies) == (str(error), error.text, error.remedies)


def test_remedies_stand_after_the_reason():
    error = ZooError("zoo: is empty", Remedy("prefix", True, "helps"), Remedy("path_column", None, "helps, too"))
    assert str(error) == "zoo: is empty; prefix=True helps or path_column helps, too"
    assert reason_of(error) == "zoo: is empty"
