"""What tests of making share: recipes of tiny zoos, trainers with faults, and what "the same zoo" means."""

import os
import signal
import time
from pathlib import Path

from sne.making import Recipe, load_images
from sne.making.images import ImageSet
from sne.making.workers import train_each
from sne.zoo import Zoo, ZooError

LENGTH = {"steps": 12, "keep": [0, 4, 12]}
FAMILIES = ["small_cnn", "mlp"]


def tiny_recipe(image_file: Path, **changes) -> tuple[Recipe, ImageSet]:
    images = load_images(image_file)
    settings = {
        "families": ("mlp",), "images": images.name, "images_checksum": images.checksum, "image_size": None,
        "networks": 4, "length": 6, "unit": "steps", "keep": (6,), "eval_images": 50, "seed": 3,
    }  # fmt: skip
    return Recipe(**(settings | changes)), images


def assert_same_bytes(one: Zoo, two: Zoo):
    """Every file, but the one that says how long it took."""
    names = {path.name for path in one.path.iterdir()}
    assert names == {path.name for path in two.path.iterdir()}
    assert {"networks.parquet", "layouts.json", "recipe.json", "weights-00000.safetensors"} <= names
    for name in names - {"timings.parquet"}:
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes(), name


def wait_until(true) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def killed_at(unlucky: int, times: int, folder: Path, recipe, units, images):
    """Trains, but is killed at one network so many times."""
    for unit in units:
        if unit.index == unlucky and len(list(folder.iterdir())) < times:
            (folder / str(time.time_ns())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield from train_each(recipe, [unit], images)


def slow(folder: Path, recipe, units, images):
    if units[0].index:
        (folder / str(os.getpid())).touch()
        time.sleep(60)
    yield from train_each(recipe, units, images)


def refuses(recipe, units, images):
    raise ZooError("rate is cursed")
    yield


def breaks(recipe, units, images):
    yield from train_each(recipe, units[:1], images)
    raise ArithmeticError("a bug")


def forgets(recipe, units, images):
    yield from train_each(recipe, units[:1], images)


def waiting(folder: Path, recipe, units, images):
    """Trains, and notes under which parent process; from the fifth network on it waits for a file "go"."""
    for unit in units:
        (folder / f"begin.{os.getppid()}.{time.time_ns()}").touch()
        if unit.index >= 4:
            wait_until((folder / "go").exists)
        yield from train_each(recipe, [unit], images)
        (folder / f"end.{os.getppid()}.{time.time_ns()}").touch()
