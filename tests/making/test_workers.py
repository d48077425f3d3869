from functools import partial
from pathlib import Path

import pytest
import torch
from making_cases import breaks, forgets, killed_at, refuses, tiny_recipe

from sne.errors import WorkError, ZooError
from sne.making.finished_run import run_to_bytes
from sne.making.images import ImageSet
from sne.making.make import make_recipe
from sne.making.recipe import Recipe, RunId
from sne.making.running import train_run
from sne.making.workers import RunGroup, finished_runs, train_each, train_runs
from sne.work import Answer, ProcessPool
from sne.work.executor import attempt


def without_times(data: bytes) -> bytes:
    head = int.from_bytes(data[:8], "little")
    return data[8 + head :]


@pytest.fixture
def tiny(image_file: Path) -> tuple[Recipe, ImageSet]:
    return tiny_recipe(image_file)


def shared(tiny: tuple[Recipe, ImageSet], trainer=train_each) -> dict[str, object]:
    recipe, images = tiny
    return {"recipe": recipe, "images": images, "trainer": trainer}


def test_trains_what_a_plain_loop_trains(tiny: tuple[Recipe, ImageSet]):
    recipe, images = tiny
    units = recipe.run_ids()
    groups: list[RunGroup] = [(units[0], units[1]), (units[2],), (units[3],)]
    came = {}
    for answer in ProcessPool(1).run(train_runs, groups, shared=shared(tiny)):
        came |= {unit: without_times(data) for unit, data in finished_runs(answer)}
    assert list(came) == units
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # rounding depends on it
    plain = {unit: without_times(run_to_bytes(train_run(recipe, unit, images))) for unit in units}
    torch.set_num_threads(threads)
    assert came == plain


def test_a_network_that_kills_every_worker_is_named(tiny: tuple[Recipe, ImageSet], tmp_path: Path):
    recipe, images = tiny
    notes, seen = tmp_path / "notes", []
    notes.mkdir()
    message = r"mlp-00001 was lost 3 times with its worker process \(SIGKILL, perhaps out of memory\); finished"
    with pytest.raises(WorkError, match=message):
        make_recipe(
            tmp_path / "zoo", recipe, images, ProcessPool(1), trainer=partial(killed_at, 1, 99, notes),
            progress=lambda done, total: seen.append(done),
        )  # fmt: skip
    assert seen == [0, 1, 2, 3] and len(list(notes.iterdir())) == 3
    zoo = make_recipe(
        tmp_path / "zoo", recipe, images, ProcessPool(1), trainer=partial(killed_at, 1, 4, notes),
        progress=lambda done, total: seen.append(done),
    )  # fmt: skip
    assert seen[4:] == [3, 4] and len(zoo) == 4 and len(list(notes.iterdir())) == 4


def test_errors_name_the_network(tiny: tuple[Recipe, ImageSet]):
    units = RunId("mlp", 0), RunId("mlp", 1)

    def raised(trainer) -> None:
        finished_runs(Answer(0, units, *attempt(train_runs, units, *shared(tiny, trainer).values())))

    with pytest.raises(ZooError, match=r"^mlp-00000: rate is cursed$"):
        raised(refuses)
    with pytest.raises(RuntimeError, match=r"training mlp-00001 failed\n(.*\n)*.*ArithmeticError: a bug"):
        raised(breaks)
    with pytest.raises(RuntimeError, match="the trainer ended without mlp-00001"):
        raised(forgets)
