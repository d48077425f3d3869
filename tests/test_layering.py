"""A room imports only rooms on lower floors (or itself)."""

import ast
from pathlib import Path

import pytest

import sne

ROOT = Path(sne.__file__).parent
FLOORS = {
    "networks": 1, "nn": 1, "metrics": 1,
    "checkpoints": 2, "chunking": 2, "symmetry": 2,
    "encoders": 3, "zoo": 3,
    "predictors": 4, "baselines": 4,
    "training": 5, "search": 5,
    "studies": 6, "report": 6,
    "cli": 7,
    "__init__": 8,
}  # fmt: skip

ZOO_FLOORS = {
    "errors": 1, "hashing": 1,
    "store": 2, "images": 2,
    "tasks": 3,
    "families": 4,
    "making": 5, "importing": 5, "exporting": 5,
    "__init__": 6,
}  # fmt: skip


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.append(node.module or "")
            if node.module == "sne":
                names += [f"sne.{alias.name}" for alias in node.names]
    return [name for name in names if name.startswith("sne.")]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert room in FLOORS, f"{room} has no floor in tests/test_layering.py"
    for name in imports(path):
        other = name.split(".")[1]
        if other in ("__version__",):
            continue
        assert other in FLOORS, f"{path}: {name} is in no known room"
        assert other == room or FLOORS[other] < FLOORS[room], f"{path}: {room} imports {name}, not a lower floor"


@pytest.mark.parametrize("path", sorted((ROOT / "zoo").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT / "zoo")))
def test_imports_go_down_within_the_zoo(path: Path):
    room = path.relative_to(ROOT / "zoo").parts[0].removesuffix(".py")
    assert room in ZOO_FLOORS, f"{room} has no floor in tests/test_layering.py"
    for name in imports(path):
        if name.startswith("sne.zoo."):
            other = name.split(".")[2]
            assert other == room or ZOO_FLOORS[other] < ZOO_FLOORS[room], f"{path}: {room} imports {name}"


def test_no_utils_room():
    banned = {"utils", "common", "misc", "helpers"}
    assert not [p for p in ROOT.rglob("*") if p.stem in banned]
