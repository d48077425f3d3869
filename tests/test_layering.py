"""Imports point to lower levels only, and there are no circles between modules."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sne

ROOT = Path(sne.__file__).parent
LEVELS = {
    "errors": 0,
    "nn": 1, "networks": 1, "metrics": 1, "work": 1,
    "checkpoints": 2, "symmetry": 2,
    "encoders": 3, "zoo": 3, "health": 3,
    "making": 4, "predictors": 4, "pretrained": 4, "baselines": 4,
    "provenance": 5, "training": 5,
    "report": 6, "lab": 6, "sklearn": 6, "callbacks": 6,
    "cli": 7,
    "__init__": 8, "__main__": 8,
}  # fmt: skip
"""The level of each package; docs/architecture.md has the same table."""

INNER_LEVELS = {
    "zoo": {"store": 1, "importing": 2, "exporting": 2, "__init__": 3},
    "lab": {"descent": 1, "neural": 2, "probing": 3, "studies": 4, "lineage": 5, "__init__": 6},
}
"""Levels inside a package, where it has several concepts that build on each other."""

PATHS = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in PATHS}


def imports(path: Path, at_import_time: bool = False) -> list[str]:
    """Modules of sne that a file imports.

    Args:
        path: The file.
        at_import_time: Leave out imports inside functions and under TYPE_CHECKING.
    """
    names = []
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            for alias in node.names:
                full = f"{module}.{alias.name}"
                names.append(full if full in MODULES else module)
        is_late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        if not (at_import_time and is_late):
            todo += ast.iter_child_nodes(node)
    return [name for name in names if name.startswith("sne.")]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("path", PATHS, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_to_lower_levels(path: Path):
    package = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert package in LEVELS, f"{package} has no level in tests/test_layering.py"
    for name in imports(path):
        other = name.split(".")[1]
        assert other in LEVELS, f"{path}: {name} is in no known package"
        assert other == package or LEVELS[other] < LEVELS[package], f"{path}: {package} imports {name}"


@pytest.mark.parametrize("package", INNER_LEVELS)
def test_imports_point_to_lower_levels_inside_a_package(package: str):
    levels = INNER_LEVELS[package]
    for path in (ROOT / package).rglob("*.py"):
        part = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        assert part in levels, f"{package}/{part} has no level in tests/test_layering.py"
        for name in imports(path):
            if name.startswith(f"sne.{package}."):
                other = name.split(".")[2]
                assert other == part or levels[other] < levels[part], f"{path}: {part} imports {name}"


def test_only_the_study_command_imports_the_laboratory():
    importers = {
        path.relative_to(ROOT).as_posix()
        for path in PATHS
        if any(name.split(".")[1] == "lab" for name in imports(path)) and path.relative_to(ROOT).parts[0] != "lab"
    }
    assert importers <= {"cli/study.py"}


def test_no_module_imports_itself_through_others():
    """An `__init__.py` re-exports: inside its own package, importing from it counts as importing all that it does."""
    graph = {name: {m for m in imports(path) if m in MODULES and m != name} for name, path in MODULES.items()}
    del graph["sne"]
    assert circle(graph) == []


def test_no_module_for_leftovers():
    banned = {"utils", "common", "misc", "helpers"}
    assert not [path for path in ROOT.rglob("*") if path.stem in banned]
