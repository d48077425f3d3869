"""The documentation names only what exists: links, paths, tests, commands with their options, and Python names."""

import ast
import importlib
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer
from tiny import write_tiny_zoo

from sne.checkpoints import CheckpointError, CheckpointSource
from sne.checkpoints.formats import FileStart
from sne.cli.main import app
from sne.zoo import Zoo

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
]
FOLDERS = ("sne", "tests", "docs", "benchmarks", "examples", "fuzz")
PATHS = [
    path.relative_to(ROOT).as_posix() + ("/" if path.is_dir() else "")
    for folder in FOLDERS
    for path in (ROOT / folder, *(ROOT / folder).rglob("*"))
    if "__pycache__" not in path.parts
]
METHOD_LABELS = ("sne default", "sne paper")
"""Labels of methods in tables of results. They read like commands, but are none."""


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def fenced(page: str, language: str) -> list[str]:
    """Code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), flags=re.DOTALL | re.MULTILINE)


def spans(page: str) -> list[str]:
    """What stands in backticks outside code blocks."""
    prose = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def names_a_path(span: str, page: str) -> bool:
    if not re.fullmatch(r"[\w./-]+", span) or (page == "docs/interfaces.md" and re.fullmatch(r"sne/\w+", span)):
        return False  # names of metrics that are logged, such as sne/warnings, look like paths
    if span.endswith(".py") or span.startswith(tuple(f"{folder}/" for folder in FOLDERS)):
        return True
    return page == "docs/architecture.md" and span.endswith("/")


def commands(page: str) -> list[tuple[list[str], bool]]:
    """Commands in a page as arguments of `sne`, and whether they are complete."""
    lines = [line for block in fenced(page, "console") for line in block.splitlines()]
    found = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    found += [line.strip() for line in text_of(page).splitlines() if re.match(r"    sne [a-z]", line)]
    complete = [(shlex.split(line, comments=True)[1:], True) for line in found if line.startswith("sne ")]
    inline = [span for span in spans(page) if span.startswith("sne ") and not span.startswith(METHOD_LABELS)]
    return complete + [(shlex.split(span)[1:], False) for span in inline]


def find_command(arguments: list[str]) -> tuple[Any, list[str]]:
    """The subcommand that arguments lead to, and the arguments that are left."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        assert arguments[0] in command.commands, f"there is no command {arguments[0]!r} in `sne {command.name or ''}`"
        command, arguments = command.commands[arguments[0]], arguments[1:]
    return command, arguments


def options_of(command: Any) -> set[str]:
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own | {"--help", "-h"}


def all_options(command: Any) -> set[str]:
    inner = getattr(command, "commands", {}).values()
    return options_of(command).union(*(all_options(sub) for sub in inner))


def resolve(name: str) -> object:
    """What a dotted name stands for."""
    found: Any = importlib.import_module("sne")
    parts = name.split(".")
    for count, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part) and not isinstance(found, ModuleType):
            found = importlib.import_module(".".join(parts[: count - 1]))  # a function is named as its module
        elif not hasattr(found, part):
            importlib.import_module(".".join(parts[:count]))
        found = getattr(found, part)
    return found


def resolves(name: str) -> bool:
    """Whether a dotted name stands for anything."""
    try:
        resolve(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)) if "://" not in link]
    assert links or page != "README.md"
    assert not [link for link in links if link and not ((ROOT / page).parent / link).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    named = {span.partition("::")[0] for span in spans(page) if names_a_path(span.partition("::")[0], page)}
    named |= set(re.findall(r"\b(?:benchmarks|examples|tests)/[\w/]+\.(?:py|sh|md|json|toml)\b", text_of(page)))
    missing = [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in PATHS)]
    assert not missing, f"{page} names {missing}, which do not exist"


@pytest.mark.parametrize("page", PAGES)
def test_named_tests_exist(page):
    for file, name in re.findall(r"\b(tests/[\w/]+\.py)::(\w+)", text_of(page)):
        assert re.search(rf"^\s*def {name}\(", text_of(file), flags=re.MULTILINE), f"{file} has no {name}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_understood(page):
    for arguments, is_complete in commands(page):
        line = shlex.join(["sne", *arguments])
        command, rest = find_command(arguments)
        used = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert used <= options_of(command), f"{page}: `{line}` has unknown options {used - options_of(command)}"
        if is_complete and not hasattr(command, "commands"):
            required = [p for p in command.params if p.required and p.param_type_name == "argument"]
            values = command.make_parser(typer.Context(command)).parse_args(list(rest))[0]
            missing = [p.name for p in required if not values.get(p.name)]
            assert not missing or "--list" in rest, f"{page}: `{line}` lacks {missing}"


@pytest.mark.parametrize("page", PAGES)
def test_options_in_the_text_exist(page):
    known = all_options(typer.main.get_command(app))
    named = {span.split()[0].partition("=")[0] for span in spans(page) if span.startswith("--")}
    assert named <= known, f"{page} names options that no command has: {named - known}"


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_compile_and_import_what_exists(page):
    for block in fenced(page, "python"):
        for node in ast.walk(ast.parse(block, filename=page)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sne":
                for alias in node.names:
                    assert resolve(f"{node.module}.{alias.name}") is not None


@pytest.mark.parametrize("page", PAGES)
def test_dotted_names_resolve(page):
    """`sne.x.y` in prose and in code; in code, what follows a call is not followed."""
    names = set(re.findall(r"(?<![\w./-])sne(?:\.[A-Za-z]\w*)+(?![\w/-])", text_of(page)))
    assert {name for name in names if not resolves(name)} == set()


def test_the_example_of_a_checkpoint_format_works(tmp_path):
    (block,) = [block for block in fenced("docs/extending.md", "python") if "class PlainTensors" in block]
    found: dict[str, Any] = {}
    exec(block, found)
    file = tmp_path / "a.plain"
    file.write_text("PLAIN1\nfc.weight 2,3 1 2 3 4 5 6\n")
    assert found["is_plain"](FileStart.read(file))
    assert CheckpointSource(found["PlainTensors"](file)).load("fc.weight").tolist() == [[1, 2, 3], [4, 5, 6]]
    for line in ("", "fc.weight 2,x 1 2", "fc.weight 2 1", "fc.weight -1,-2 1 2", "fc.weight", "fc.weight 1 nan"):
        file.write_text(f"PLAIN1\n{line}\n")
        with pytest.raises(CheckpointError, match=r"a\.plain: "):
            CheckpointSource(found["PlainTensors"](file)).load("fc.weight")


def test_the_example_of_a_baseline_works(tmp_path):
    (block,) = [block for block in fenced("docs/extending.md", "python") if "class FamilyMeanBaseline" in block]
    found: dict[str, Any] = {}
    exec(block, found)
    zoo = Zoo.open(write_tiny_zoo(tmp_path / "tiny", runs=8, split=False))
    rows, losses = np.arange(len(zoo)), np.arange(len(zoo), dtype=np.float64)
    baseline = found["FamilyMeanBaseline"]()
    baseline.fit(zoo, rows, losses, target="test_loss", kind="real", seed=0)
    families = np.asarray(zoo.families)
    assert len(set(families)) > 1
    expected = [losses[families == family].mean() for family in families]
    np.testing.assert_allclose(baseline.predict(zoo, rows), expected)
    baseline.fit(zoo, rows, np.unique(families, return_inverse=True)[1], target="family", kind="class", seed=0)
    assert len(set(baseline.predict(zoo, rows))) == 1, "the target is not to be looked at"


def test_these_checks_see_something():
    """Without this, a changed markup could make every check above pass on nothing."""
    assert sum(len(commands(page)) for page in PAGES) > 40
    assert sum(names_a_path(span, page) for page in PAGES for span in spans(page)) > 40
    assert find_command(["zoo", "make", "out"])[1] == ["out"]
    assert "--family" in options_of(find_command(["zoo", "make"])[0])
    with pytest.raises(AssertionError, match="there is no command 'mae'"):
        find_command(["zoo", "mae"])
    with pytest.raises(ImportError):
        resolve("sne.checkpoints.nothing")


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_names_that_benchmarks_import_exist(path):
    """Benchmarks are not run by the tests, so a moved module would be noticed late."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "sne":
            for alias in node.names:
                assert resolve(f"{node.module}.{alias.name}") is not None
