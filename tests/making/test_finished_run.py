import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from making_cases import tiny_recipe

from sne.making.finished_run import run_from_bytes, run_to_bytes
from sne.making.recipe import RunId
from sne.making.running import Kept, TrainedRun, train_run
from sne.zoo import ZooError
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
