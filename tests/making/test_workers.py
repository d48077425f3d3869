"""Tests of the work of one worker, and of training runs as bytes."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from making_cases import breaks, forgets, killed_at, refuses, tiny_recipe

from sne.errors import WorkError, ZooError
from sne.making.images import ImageSet
from sne.making.make import make_recipe
from sne.making.recipe import Recipe, RunId
from sne.making.running import Kept, TrainedRun, train_run
from sne.making.workers import RunGroup, finished_runs, run_from_bytes, run_to_bytes, train_each, train_runs
from sne.work import Answer, ProcessPool
from sne.work.executor import attempt
from sne.zoo.store.layout import flatten


@pytest.fixture(scope="module")
def run(image_file: Path) -> TrainedRun:
    recipe, images = tiny_recipe(image_file, keep=(0, 3, 6))
    return train_run(recipe, RunId("mlp", 2), images)


def test_round_trip(run: TrainedRun):
    back = run_from_bytes(run_to_bytes(run), "here")
    assert back.layout == run.layout and back.hyperparameters == run.hyperparameters
    assert [kept.step for kept in back.kept] == [0, 3, 6]
    assert run.symmetry is not None and back.symmetry == run.symmetry
    for a, b in zip(run.kept, back.kept, strict=True):
        assert a.step == b.step and a.properties == b.properties and torch.equal(a.vector, b.vector)
    assert run_to_bytes(back) == run_to_bytes(run)


def test_nothing_kept(run: TrainedRun):
    back = run_from_bytes(run_to_bytes(replace(run, kept=())), "here")
    assert back.kept == () and back.layout == run.layout


def test_values_that_are_not_finite():
    layout, vector = flatten({"w": torch.tensor([1.5, -0.0, 3e38, 1e-45])})
    kept = Kept(1, vector, {"a": float("inf"), "b": None, "c": True, "d": 0.1 + 0.2, "e": "x"})
    back = run_from_bytes(run_to_bytes(TrainedRun(layout, {"n": 3}, (kept,))), "here")
    assert back.kept[0].properties == kept.properties
    assert np.array_equal(back.kept[0].vector.numpy().view(np.int32), vector.numpy().view(np.int32))


def test_hostile_bytes(run: TrainedRun):
    data = run_to_bytes(run)
    length = int.from_bytes(data[:8], "little")
    described = json.loads(data[8 : 8 + length])
    bad = [b"", b"1234", data[:-1], data[:-4], data + b"0000", b"\xff" * 40, (2**63).to_bytes(8, "little") + data[8:]]
    for field in described:
        text = json.dumps({name: value for name, value in described.items() if name != field}).encode()
        bad.append(len(text).to_bytes(8, "little") + text + data[8 + length :])
    for text in (b"[]", b"null", b'{"layout": 3}', b"{"):
        bad.append(len(text).to_bytes(8, "little") + text)
    for symmetry in (3, "{", "[]"):
        text = json.dumps({**described, "symmetry": symmetry}).encode()
        bad.append(len(text).to_bytes(8, "little") + text + data[8 + length :])
    for data in bad:
        with pytest.raises(ZooError, match="there"):
            run_from_bytes(data, "there")


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
