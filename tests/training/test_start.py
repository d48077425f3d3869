"""Training that starts from a predictor that was trained before."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny import write_tiny_zoo

from sne import Predictor, TrainingError, fit
from sne.encoders import SetEncoder
from sne.predictors import pretrained
from sne.training import preset_settings
from sne.training.start import PACKAGED_START, choose_start
from sne.training.weighing import WITH_START, lean
from sne.zoo import Zoo

PRESET = preset_settings("default").experts


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo.open(write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "tiny"))


@pytest.fixture(scope="module")
def start(zoo, tmp_path_factory):
    settings = preset_settings("default", experts=("forest",), trees=5, folds=2)
    out = tmp_path_factory.mktemp("start") / "p"
    fit(zoo, ["test_accuracy", "config.activation"], settings=settings, out=out, start=None)
    return out


@pytest.fixture(scope="module")
def started(zoo, start, tmp_path_factory):
    out = tmp_path_factory.mktemp("started") / "p"
    settings = preset_settings("default", trees=5, folds=2)
    return fit(zoo, ["test_accuracy", "test_loss"], settings=settings, start=start, out=out), out


def chosen(start, number=100, experts=PRESET, **changes):
    from sne.encoders import PRESETS

    settings = preset_settings("default", experts=experts, **changes)
    return choose_start(start, settings, PRESET, PRESETS["default"], number)


def test_the_expert_that_starts_from_it_joins_those_of_the_preset(start):
    assert chosen(start, 301)[1].experts == ("neural", "forest", "kernel", "within_family", "adapted")
    assert chosen(start, 300)[1].experts == ("forest", "kernel", "within_family", "adapted")
    assert chosen(start, 10**6, ("adapted", "neural"))[1].experts == ("adapted", "neural")
    assert chosen(None) == (chosen(None)[0], preset_settings("default"))


def test_what_came_of_it_is_said(started, start, zoo):
    predictor, _ = started
    assert predictor.record["start"]["predictor"] == str(start)
    assert predictor.record["start"]["sources"] == {"test_accuracy": "test_accuracy", "test_loss": "test_accuracy"}
    assert set(predictor.metrics["experts"]) == {"forest", "kernel", "within_family", "adapted"}
    alone = predictor.metrics["start"]
    assert alone["test_accuracy"] > 0.5 > alone["test_loss"]  # the start has learned from this very zoo
    assert predictor.expert_weights()["adapted"]["test_accuracy"] > 0.5


def test_a_saved_predictor_does_not_need_its_start(started, start, zoo):
    predictor, out = started
    hidden = start.rename(start.with_name("moved"))
    try:
        networks = zoo.networks(range(8))
        again = Predictor.load(out)
        for name, values in predictor.values(networks).items():
            np.testing.assert_array_equal(again.values(networks)[name], values)
    finally:
        hidden.rename(start)


def test_resuming_a_finished_training_asks_for_the_same_start(started, start, zoo):
    predictor, out = started
    settings = preset_settings("default", trees=5, folds=2)
    targets = ["test_accuracy", "test_loss"]
    again = fit(zoo, targets, settings=settings, start=start, out=out, resume=True)
    assert again.digest() == predictor.digest()
    other = preset_settings("default", experts=("forest", "kernel"), trees=5, folds=2)
    with pytest.raises(TrainingError, match="was trained with start"):
        fit(zoo, targets, settings=other, start=None, out=out, resume=True)


def test_the_packaged_predictor_is_the_default_where_it_fits(start, monkeypatch, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "default").symlink_to(start)
    monkeypatch.setattr(pretrained, "_root", lambda: tmp_path / "full")
    assert chosen(PACKAGED_START)[0].name == "packaged" and chosen(PACKAGED_START)[0].start is not None
    assert "more than 1000" in chosen(PACKAGED_START, 1001)[0].name
    asked = chosen(PACKAGED_START, 1001, ("adapted", "neural"))
    assert asked[0].name == "packaged" and asked[1].experts == ("adapted", "neural")
    assert chosen(PACKAGED_START, experts=("forest",))[0].name == "other experts were asked for"
    found, settings = choose_start(PACKAGED_START, preset_settings("default"), PRESET, SetEncoder, 100)
    assert found.start is None and "in another way" in found.name and settings == preset_settings("default")
    monkeypatch.setattr(pretrained, "_root", lambda: tmp_path / "empty")
    found, settings = chosen(PACKAGED_START)
    assert found.name == "no predictor is part of this installation" and settings == preset_settings("default")
    with pytest.raises(TrainingError, match="needs a predictor to start from: no predictor is part"):
        chosen(PACKAGED_START, experts=("adapted",))


def test_a_start_that_does_not_fit_is_refused(start, tmp_path):
    with pytest.raises(TrainingError, match="which is not among the experts: forest"):
        chosen(start, experts=("forest",))
    with pytest.raises(TrainingError, match="reads networks in another way than this run: TensorSetEncoder, not SetEn"):
        choose_start(start, preset_settings("default"), PRESET, SetEncoder, 100)
    config = json.loads((start / "config.json").read_text())
    with pytest.raises(ValueError, match="no such predictor folder"):
        chosen(tmp_path / "nothing")
    assert config["training"]["start"] == {"predictor": None, "reason": "none was asked for"}


def test_few_labels_hardly_move_the_weights():
    chosen_weights = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    targets = np.zeros((300, 2))
    targets[6:, 1] = np.nan
    found = lean(["forest", "kernel", "adapted"], chosen_weights, targets)
    np.testing.assert_allclose(found[:, 0], [0.1, 0.5, 0.4])
    few = np.array([6 / 306 + WITH_START["forest"] * 300 / 306, 0, WITH_START["adapted"] * 300 / 306])
    np.testing.assert_allclose(found[:, 1], few / few.sum())


def test_a_killed_training_with_a_start_resumes_to_the_same_bits(zoo, start, tmp_path):
    """By the command, killed between its two neural experts."""
    command = [sys.executable, "-m", "sne", "train", str(zoo.path), "--target", "test_accuracy", "--start", str(start)]
    command += ["--experts", "neural,adapted", "--folds", "2", "--epochs", "40", "--quiet"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen([*command, "--out", str(killed)], stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        while not (killed / ".training" / "neural-0.safetensors").exists():
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    assert not (killed / "config.json").exists()
    for options in (["--out", str(whole)], ["--out", str(killed), "--resume"]):
        subprocess.run([*command, *options], check=True, capture_output=True)
    assert not (killed / ".training").exists()
    for name in ("model.safetensors", "split.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    predictors = Predictor.load(killed), Predictor.load(whole)
    assert {p.record["start"]["predictor"] for p in predictors} == {str(start)}
    assert predictors[0].expert_weights()["adapted"]["test_accuracy"] > 0
    other = subprocess.run([*command, "--out", str(killed), "--resume", "--start", "none"], capture_output=True)
    assert other.returncode == 2 and other.stderr.count(b"\n") == 1
