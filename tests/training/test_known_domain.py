import json
import shutil
from contextlib import nullcontext
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import torch

from sne.networks.shuffled import shuffled
from sne.predictors import Predictor
from sne.predictors.domain import LEAST_AXES, LEAST_CALIBRATION, LEAST_P, SHARE_OF_DISTANCE, Domain, Neighbours
from sne.predictors.intervals import Interval
from sne.training import fit, preset_settings
from sne.training.known_domain import (
    RESIDUAL_WEIGHT_OF_FEW,
    calibrate_together,
    number_families,
    relearn_domain,
)
from sne.training.plan import make_plan
from sne.training.progress import TrainingProgress
from sne.zoo import Zoo, ZooWriter, split_by_run

SETTINGS = preset_settings("default", experts=("forest",), trees=20)
WIDTHS = {"narrow": (6, 12, 3), "deep": (6, 10, 10, 3)}


def trained_alike(widths, generator):
    """Weights of low rank, as training makes them; the label is their size."""
    size = float(torch.rand(1, generator=generator)) + 0.2
    state = {}
    for number, (num_in, num_out) in enumerate(pairwise(widths)):
        strong = torch.randn(num_out, 1, generator=generator) @ torch.randn(1, num_in, generator=generator)
        state[f"{number}.weight"] = size * (strong + 0.2 * torch.randn(num_out, num_in, generator=generator))
        state[f"{number}.bias"] = 0.1 * torch.randn(num_out, generator=generator)
    return state, min(size / 1.2, 1.0)


def write(path, families, runs=75):
    generator = torch.Generator().manual_seed(0)
    with ZooWriter(path) as writer:
        for family in families:
            for run in range(runs):
                for step in (1, 2):
                    state, label = trained_alike(WIDTHS[family], generator)
                    writer.add(
                        id=f"{family}{run}-{step}", run=f"{family}{run}", family=family, dataset="toy", step=step,
                        state=state, properties={"size": label}, hyperparameters={},
                    )  # fmt: skip
    return Zoo.open(path)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return write(tmp_path_factory.mktemp("zoo") / "narrow", ["narrow"])


@pytest.fixture(scope="module")
def folder(zoo, tmp_path_factory):
    out = tmp_path_factory.mktemp("predictor") / "p"
    fit(zoo, ["size"], settings=SETTINGS, out=out)
    return out


def test_held_out_runs_are_known_and_shuffled_copies_are_not(zoo, folder):
    predictor = Predictor.load(folder)
    networks = zoo.networks(predictor.split.rows(zoo.runs, "test"))
    known = [p.in_domain for p in predictor.predict(networks)]
    assert len(known) >= 20 and np.mean(known) > 0.85
    copies = predictor.predict([shuffled(network, n) for n, network in enumerate(networks)])
    assert np.mean([p.in_domain for p in copies]) < 0.2


def test_outside_the_interval_holds_every_possible_value(folder, tmp_path):
    other = write(tmp_path / "deep", ["deep"], runs=5)
    predictions = Predictor.load(folder).predict(other.networks(range(len(other))))
    assert [p.in_domain for p in predictions] == [False] * 10
    assert {(p.low, p.high) for p in predictions} == {(0.0, 1.0)}


def test_with_two_families_each_was_left_out(tmp_path, monkeypatch):
    zoo = write(tmp_path / "both", ["narrow", "deep"], runs=40)
    drawn = record_bars(monkeypatch)
    predictor = fit(zoo, ["size"], settings=SETTINGS)
    assert drawn["families left out"] == [(1, 2, "forest"), (2, 2, "forest")]
    assert [done for done, _, _ in drawn["known domain"]] == list(range(1, drawn["known domain"][0][1] + 1))
    assert [note for *_, note in drawn["known domain"]][-7:] == ["shuffled copies"] + ["folds"] * 6
    predictions = predictor.predict(zoo.networks(range(len(zoo))))
    known = [p for p in predictions if p.in_domain]
    assert len(known) > 0.85 * len(predictions)
    assert 2 * predictor.intervals_outside["size"].margin > np.mean([p.high - p.low for p in known])


def record_bars(monkeypatch):
    """Records what is drawn: by bar, the steps done, their number, and the note."""
    drawn = {}

    class Bars(TrainingProgress):
        def update(self, task, done, total, note=""):
            drawn.setdefault(task, []).append((done, total, note))

    monkeypatch.setattr(import_module("sne.training.fit"), "training_progress", lambda show: nullcontext(Bars(None)))
    return drawn


def train_by_command(zoo, out, capsys, *options):
    from sne.cli.main import main

    arguments = ["--target", "size", "--out", str(out), "--experts", "forest", "--trees", "5", "--json", *options]
    with pytest.raises(SystemExit) as end:
        main(["train", str(zoo), *arguments])
    assert not end.value.code
    return capsys.readouterr().err


def test_the_command_says_what_a_zoo_is_too_small_for(zoo, folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "enough")  # is finished, and is loaded
    assert train_by_command(zoo.path, tmp_path / "enough", capsys, "--trees", "20", "--resume") == ""
    some = write(tmp_path / "some", ["narrow"], runs=20)
    message = train_by_command(some.path, tmp_path / "a", capsys)
    assert message.count("\n") == 1
    assert "zoo is small" in message and "takes 40 training" in message and "interval" not in message
    few = write(tmp_path / "few", ["narrow"], runs=6)
    message = train_by_command(few.path, tmp_path / "b", capsys, "--folds", "2")
    assert message.count("\n") == 1
    assert "takes 40 training" in message and "no interval of size, which takes labels of 9 runs" in message
    assert {p.low for p in Predictor.load(tmp_path / "b").predict(few.networks([0]))} == {None}


def test_few_runs_have_no_known_domain(tmp_path):
    """Two networks of one run count once."""
    zoo = write(tmp_path / "few", ["narrow"], runs=45)
    predictor = fit(zoo, ["size"], settings=SETTINGS)
    assert predictor.record["runs"] < LEAST_CALIBRATION < predictor.record["networks"]
    assert {p.in_domain for p in predictor.predict(zoo.networks(range(3)))} == {None}


def test_a_loaded_predictor_says_the_same(zoo, folder):
    networks = zoo.networks(range(6))
    first, again = Predictor.load(folder), Predictor.load(folder)
    again.save(folder.parent / "copy")
    assert Predictor.load(folder.parent / "copy").predict(networks) == first.predict(networks)
    assert first.digest() == again.digest()


def test_a_domain_that_is_learned_again_is_the_same(zoo, folder):
    predictor = Predictor.load(folder)
    plan = make_plan(zoo, ["size"], split=predictor.split, encoder="default", settings=SETTINGS)
    again, first = relearn_domain(plan, predictor.encoder).to_tensors(), predictor.domain.to_tensors()
    assert again.keys() == first.keys() and all(torch.equal(again[name], first[name]) for name in again)


def test_the_command_marks_networks_outside(folder, tmp_path, capsys):
    from safetensors.torch import save_file

    from sne.cli.main import main

    files = {"a-other": "deep", "b-known": "narrow"}  # with this seed, the first network of the zoo
    for name, family in files.items():
        generator = torch.Generator().manual_seed(0)
        save_file(trained_alike(WIDTHS[family], generator)[0], tmp_path / f"{name}.safetensors")
    for option in ([], ["--json"]):
        with pytest.raises(SystemExit) as end:
            main(["predict", str(tmp_path), "--predictor", str(folder), *option])
        assert not end.value.code
        lines = capsys.readouterr().out.splitlines()
        if not option:
            assert "b-known" in lines[1] and "outside" not in lines[1]
            assert "a-other" in lines[2] and lines[2].endswith("outside the known domain") and "(0." in lines[2]
        else:
            found = {json.loads(line)["file"][-18:]: json.loads(line)["in_domain"] for line in lines}
            assert sorted(found.values()) == [False, True]


def test_outside_no_interval_is_narrower_than_inside(folder, tmp_path):
    predictor = Predictor.load(folder)
    networks = write(tmp_path / "deep", ["deep"], runs=5).networks(range(10))
    predictor.intervals_outside = {"size": Interval(0.0, 0.0, 0.001)}
    outside = predictor.predict(networks)
    predictor.domain = None
    inside = Predictor(
        predictor.encoder, predictor.properties, predictor.experts, predictor.weights, intervals=predictor.intervals
    ).predict(networks)
    assert [p.in_domain for p in outside] == [False] * 10 and inside[0].in_domain is None
    for one, other in zip(outside, inside, strict=True):
        assert one.low <= other.low and one.high >= other.high


def test_large_families_have_calibrations_of_their_own_and_small_ones_share_one(tmp_path):
    zoo = write(tmp_path / "both", ["narrow", "deep"], runs=70)
    predictor = fit(zoo, ["size"], split=split_by_run(zoo.runs, val=0.2, test=0.0), settings=SETTINGS)
    assert [len(region.distances) for region in predictor.domain.regions] == [140, 140]
    small = write(tmp_path / "small", ["narrow", "deep"], runs=60)
    first, second = (region.distances for region in fit(small, ["size"], settings=SETTINGS).domain.regions)
    assert len(first) == len(second) > 140  # networks of both families, in the unit of each
    torch.testing.assert_close(first / first.median(), second / second.median())


FAMILIES, RUNS, FEATURES = 5, 12, 40
FAR = LEAST_P * SHARE_OF_DISTANCE


def descriptions(families, seed, runs=RUNS, steps=2):
    """Descriptions of families, each with its own directions, of which the first varies far more than the others."""
    generator = torch.Generator().manual_seed(seed)
    found, parts, folds = [], [], []
    for family in families:
        own = torch.Generator().manual_seed(100 + family)
        centre, directions = 1.5 * torch.randn(FEATURES, generator=own), torch.randn(4, FEATURES, generator=own)
        inner = (10 if family == 0 else 1) * torch.randn(runs * steps, 4, generator=generator) @ directions
        found.append(centre + inner + 0.3 * torch.randn(runs * steps, FEATURES, generator=generator))
        parts += [family] * runs * steps
        folds += [run % 5 for run in range(runs) for _ in range(steps)]
    return torch.cat(found), np.array(parts), np.array(folds)


def test_families_with_few_runs_are_told_from_unknown_ones():
    rows, parts, folds = descriptions(range(FAMILIES), seed=0)
    regions = calibrate_together(rows, parts, folds, LEAST_AXES, RESIDUAL_WEIGHT_OF_FEW)
    domain = Domain(regions, None, torch.zeros(0))
    unknown, _, _ = descriptions(range(FAMILIES, FAMILIES + 6), seed=1)
    assert domain.p_values(unknown).max() < FAR
    known, _, _ = descriptions(range(FAMILIES), seed=2, runs=100)
    assert np.mean(domain.p_values(known) < FAR) < 0.05
    in_one = Domain(calibrate_together(rows, np.zeros_like(parts), folds, 64), None, torch.zeros(0))
    assert np.mean(in_one.p_values(unknown) < FAR) < 0.2  # networks of the first family are as far from each other


def test_families_that_are_calibrated_together_have_the_p_value_of_the_least_distance():
    rows, parts, folds = descriptions(range(3), seed=3)
    new = torch.cat([descriptions(range(3), seed=4)[0], descriptions([7], seed=4)[0], rows.mean(0, keepdim=True)])

    def distances(of, to, part, without=None):
        known = (parts == part) & (folds != without)
        return Neighbours.fit(of[torch.from_numpy(known)], 16, 1.0).distances(to)

    units, calibration, least = {}, np.full((3, len(rows)), np.nan), []
    for part in range(3):
        for fold in range(5):
            held_out = folds == fold
            calibration[part, held_out] = distances(rows, rows[torch.from_numpy(held_out)], part, fold)
        units[part] = np.median(calibration[part, parts == part])
        least.append(distances(rows, new, part) / units[part])
    pooled = np.min([calibration[part] / units[part] for part in range(3)], axis=0)
    expected = [(1 + sum(pooled >= score * (1 - 1e-6))) / (1 + len(pooled)) for score in np.min(least, axis=0)]
    regions = calibrate_together(rows, parts, folds, 16, 1.0)
    np.testing.assert_allclose(Domain(regions, None, torch.zeros(0)).p_values(new), expected, atol=1.1 / len(pooled))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"a": 20, "b": 30, "c": 8}, {"a": 1, "b": 0, "c": 2}),
        ({"a": 20, "b": 5, "c": 4}, {"a": 0, "b": 1, "c": 1}),  # two small families share axes
        ({"a": 20, "b": 30, "c": 4}, {"a": 1, "b": 0, "c": 1}),  # one alone joins the smallest other
        ({"a": 3, "b": 4}, {"a": 0, "b": 0}),
    ],
)
def test_families_with_a_handful_of_runs_share_axes(sizes, expected):
    families = np.array([name for name, count in sizes.items() for _ in range(2 * count)])
    runs = np.array([f"{name}{run}" for name, count in sizes.items() for run in range(count) for _ in range(2)])
    folds = np.arange(len(runs)) // 2 % 5
    assert dict(zip(families, number_families(families, runs, folds).tolist(), strict=True)) == expected


def test_a_family_whose_runs_are_in_one_fold_shares_axes():
    """Such as runs that start alike, which stay together: no network of another fold is there to measure from."""
    families = np.repeat(["a", "b", "c"], [60, 40, 30])
    runs = np.arange(130) // 2
    folds = np.where(families == "b", 0, runs % 5)
    parts = number_families(families, runs, folds)
    assert dict(zip(families, parts.tolist(), strict=True)) == {"a": 0, "b": 1, "c": 1}
    rows = torch.randn(130, 6, generator=torch.Generator().manual_seed(0))
    domain = Domain(calibrate_together(rows, parts, folds, 16), None, torch.zeros(0))
    new = torch.randn(400, 6, generator=torch.Generator().manual_seed(1))
    assert np.mean(domain.p_values(new) < 0.05) < 0.1


def test_networks_that_are_the_same_leave_a_unit_to_their_family():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(144, 6, generator=generator)
    rows[120:138] = rows[120]  # most networks of the second family are the same
    parts, folds = np.repeat([0, 1], [120, 24]), np.arange(144) // 2 % 5
    for region in calibrate_together(rows, parts, folds, 16):
        assert float(region.distances.max() / region.distances.median()) < 100
