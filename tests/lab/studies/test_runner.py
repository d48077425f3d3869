"""Runs of studies with tiny zoos, mostly in this process."""

import dataclasses
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from study_cases import OTHER, TASK, ZOO, tiny_study

from sne.lab.studies import METHODS, HeldOut, Method, StudyError, StudyTask, learners, run_study, write_report
from sne.lab.studies.zoos import ZooShelf, find_images
from sne.metrics import kendall_tau
from sne.work import InThisProcess


@pytest.fixture(scope="session")
def zoos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoos")
    shelf = ZooShelf(folder)
    for need in (ZOO, OTHER):
        shelf.make(need, images=None, executor=InThisProcess())
    return folder


@pytest.fixture(scope="session")
def finished(zoos, tmp_path_factory):
    study = tiny_study("sne_one", "flat_mlp", "mean", "hyperparameters", configurations=2)
    out = tmp_path_factory.mktemp("out")
    return run_study(study, "ci", out, zoos=zoos, workers=0), out


def by_method(found):
    return {outcome.method.name: outcome for outcome in found.outcomes.all}


def test_every_method_is_judged_with_every_seed(finished):
    found, _ = finished
    assert not found.failures
    outcomes = by_method(found)
    assert set(outcomes) == {"sne_one", "flat_mlp", "mean", "hyperparameters"}
    for outcome in outcomes.values():
        assert outcome.status == "done" and len(outcome.results) == 2
        assert {result["job"]["seed"] for result in outcome.results} == {0, 1}
    assert outcomes["mean"].mean("kendall_tau") == 0.0
    assert outcomes["sne_one"].cost("parameters") > 1000 and outcomes["mean"].cost("parameters") is None


def test_figures_follow_from_what_is_kept(finished):
    found, out = finished
    outcome = by_method(found)["sne_one"]
    kept = json.loads((out / "jobs" / f"accuracy--sne_one--c{outcome.configuration}--s1.json").read_text())
    own = kept["held_out"]["own"]
    assert outcome.figures[1]["kendall_tau"] == kendall_tau(own["measured"], own["predicted"])
    assert kept["versions"]["torch"] and kept["seconds"] > 0 and own["ms_per_network"] > 0


def test_test_runs_are_those_of_the_split(finished, zoos):
    found, _ = finished
    shelved = ZooShelf(zoos).open(("tiny",))
    split = shelved.split
    runs = set(by_method(found)["mean"].judged[0]["runs"])
    assert runs == {f"tiny/{run}" for run in split.test} and len(split.test) == 2
    assert not set(split.test) & {*split.train, *split.val}


def test_every_method_tries_as_many_configurations(finished):
    found, _ = finished
    tried = {}
    for result in found.tried:
        tried.setdefault(result["job"]["method"], set()).add(result["job"]["configuration"])
    assert tried["sne_one"] >= {0, 1} and tried["flat_mlp"] >= {0, 1} and tried["mean"] == {0}
    assert all(number < 2 for numbers in tried.values() for number in numbers)


def test_validation_chooses(finished):
    found, _ = finished
    scores = {
        result["job"]["configuration"]: result["validation"]
        for result in found.tried
        if result["job"]["method"] == "sne_one" and result["job"]["seed"] == 0
    }
    assert scores[by_method(found)["sne_one"].configuration] == max(scores.values())


def test_what_is_finished_is_not_done_again(finished, zoos, monkeypatch):
    _, out = finished
    before = {path.name: path.stat().st_mtime_ns for path in (out / "jobs").iterdir()}
    lost = out / "jobs" / "accuracy--mean--c0--s1.json"
    lost.unlink()
    (out / "jobs" / "accuracy--mean--c0--s0.json").write_text('{"fingerprint": "of something else"}')
    study = tiny_study("sne_one", "flat_mlp", "mean", "hyperparameters", configurations=2)
    run_study(study, "ci", out, zoos=zoos, workers=0)
    after = {path.name: path.stat().st_mtime_ns for path in (out / "jobs").iterdir()}
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {
        "accuracy--mean--c0--s0.json",
        "accuracy--mean--c0--s1.json",
    }


def test_a_failing_job_does_not_stop_the_others(zoos, tmp_path, monkeypatch):
    class Broken:
        def fit(self, *args, **options):
            raise RuntimeError("out of\nluck")

    monkeypatch.setitem(learners.ALL_BASELINES, "hyperparameters", Broken)
    found = run_study(tiny_study("hyperparameters", "mean"), "ci", tmp_path, zoos=zoos, workers=0)
    outcomes = by_method(found)
    assert outcomes["mean"].status == "done" and outcomes["hyperparameters"].status == "failed"
    assert outcomes["hyperparameters"].reason == "RuntimeError: out of luck"
    assert "luck" in next(iter(found.failures.values())).trace
    assert not list((tmp_path / "jobs").glob("*hyperparameters*"))


def test_what_a_method_cannot_take_is_kept_as_such(zoos, tmp_path):
    """A perceptron on flat weights cannot read another architecture, networks that read points cannot be probed with
    images, and DWSNet cannot read convolutions."""
    task = dataclasses.replace(TASK, held_out=(*TASK.held_out, HeldOut("waves", ("tiny-sine",))), target="test_loss")
    methods = ("flat_mlp", "probing", "dwsnet")
    found = run_study(tiny_study(*methods, tasks=(task,)), "ci", tmp_path, zoos=zoos, workers=0)
    status = {(o.method.name, o.held_out.name): o.status for o in found.outcomes.all}
    assert status == {
        ("flat_mlp", "own"): "done",
        ("flat_mlp", "waves"): "cannot",
        ("probing", "own"): "done",
        ("probing", "waves"): "cannot",
        ("dwsnet", "own"): "cannot",
        ("dwsnet", "waves"): "cannot",
    }
    asked = next(o for o in found.outcomes.all if o.method.name == "probing" and o.held_out.name == "waves")
    assert asked.reason is not None and asked.reason.startswith("tiny-sine: sine_inr-")
    assert not found.failures and "linear" in by_method(found)["dwsnet"].reason


def test_several_zoos_are_learned_from_and_test_runs_stay_out(zoos, tmp_path):
    task = StudyTask(
        "both", ("tiny", "tiny-sine"), (HeldOut("own", ("tiny", "tiny-sine")),), target="test_loss", fraction=0.6
    )
    found = run_study(tiny_study("statistics_boosting", tasks=(task,)), "ci", tmp_path, zoos=zoos, workers=0)
    outcome = found.outcomes.all[0]
    assert outcome.status == "done"
    shelf = ZooShelf(zoos)
    joined = shelf.open(("tiny", "tiny-sine"))
    assert len(joined.zoo) == 8 * 2 + 6
    tests = {f"{name}/{run}" for name in task.train for run in shelf.split(name).test}
    assert set(joined.split.test) == tests == set(outcome.judged[0]["runs"])
    half, whole = joined.part(0.5, 3), joined.part(0.9, 3)
    assert set(half.train) < set(whole.train) <= set(joined.split.train)
    assert half.test == joined.split.test


def test_networks_can_be_judged_by_what_was_noted(zoos, tmp_path):
    everyone, tanh, nobody = (
        HeldOut(name, ("tiny",), where=where)
        for name, where in (
            ("all", None),
            ("tanh", ("config.activation", "tanh")),
            ("none", ("config.activation", "?")),
        )
    )
    task = StudyTask("accuracy", ("tiny",), (everyone, tanh))
    found = run_study(tiny_study("mean", tasks=(task,), seeds=(0,)), "ci", tmp_path, zoos=zoos, workers=0)
    zoo = ZooShelf(zoos).open(("tiny",)).zoo
    chosen = {
        f"tiny/{run}" for run, kind in zip(zoo.runs, zoo.column("config.activation"), strict=True) if kind == "tanh"
    }
    runs = {o.held_out.name: set(o.judged[0]["runs"]) for o in found.outcomes.all}
    assert runs["tanh"] == runs["all"] & chosen and 0 < len(runs["tanh"]) < len(runs["all"])
    task = replace(task, held_out=(nobody,))
    lost = run_study(tiny_study("mean", tasks=(task,), seeds=(0,)), "ci", tmp_path / "b", zoos=zoos, workers=0)
    assert lost.outcomes.all[0].status == "failed"
    assert "none: none of the 0 networks of tiny has a label for test_accuracy" in str(lost.outcomes.all[0].reason)


def test_a_training_that_cannot_end_is_told_and_not_tried_again(zoos, tmp_path):
    study = tiny_study("mean")
    rates = ({"learning_rate": 1e30, "gradient_clip": 1e30}, {})
    broken = Method("broken", "broken", "neural", "flat_mlp", grid=rates)
    study = replace(study, designs={"ci": replace(study.designs["ci"], methods=(broken,), configurations=2)})
    found = run_study(study, "ci", tmp_path, zoos=zoos, workers=0)
    assert found.failures == {}
    assert [r["status"] for r in found.tried if r["job"]["configuration"] == 0] == ["failed"]
    assert "finite" in next(r["reason"] for r in found.tried if r["status"] == "failed")
    assert found.outcomes.all[0].status == "done" and found.outcomes.all[0].configuration == 1 and not found.failures
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "jobs").iterdir()}
    run_study(study, "ci", tmp_path, zoos=zoos, workers=0)
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "jobs").iterdir()}
    alone = replace(study, designs={"ci": replace(study.designs["ci"], configurations=1)})
    assert run_study(alone, "ci", tmp_path, zoos=zoos, workers=0).outcomes.all[0].status == "failed"


def test_a_zoo_that_was_made_anew_is_learned_from_anew(tmp_path):
    shelf, images = ZooShelf(tmp_path / "zoos"), InThisProcess()
    task = StudyTask("both", ("tiny", "tiny-sine"), (HeldOut("own", ("tiny", "tiny-sine")),), target="test_loss")
    study = tiny_study("mean", tasks=(task,), seeds=(0,))
    first = run_study(study, "ci", tmp_path / "out", zoos=shelf.folder, workers=0)
    shutil.rmtree(shelf.folder / "tiny")
    shelf.make(replace(ZOO, seed=5), images=None, executor=images)
    other = replace(study.designs["ci"], zoos=(replace(ZOO, seed=5), OTHER))
    second = run_study(replace(study, designs={"ci": other}), "ci", tmp_path / "out", zoos=shelf.folder, workers=0)
    labels = [set(found.outcomes.all[0].judged[0]["measured"]) for found in (first, second)]
    assert labels[0] != labels[1] and len(list((shelf.folder / "joined").iterdir())) == 2


def test_classes_are_judged_by_accuracy(zoos, tmp_path):
    task = StudyTask(
        "activation", ("tiny",), (HeldOut("own", ("tiny",)),), target="config.activation", metric="accuracy"
    )
    found = run_study(tiny_study("mean", "sne_one", tasks=(task,)), "ci", tmp_path, zoos=zoos, workers=0)
    for outcome in found.outcomes.all:
        assert outcome.status == "done" and 0 <= outcome.mean("accuracy") <= 1
        assert set(outcome.judged[0]["predicted"]) <= {"relu", "tanh"}


def test_steps_can_be_predicted_and_embeddings_kept(zoos, tmp_path):
    task = StudyTask("step", ("tiny",), (HeldOut("own", ("tiny",)),), target="step", has_map=True)
    found = run_study(tiny_study("sne_one", tasks=(task,), seeds=(0,)), "ci", tmp_path, zoos=zoos, workers=0)
    judged = found.outcomes.all[0].judged[0]
    assert set(judged["measured"]) == {2.0, 6.0} and set(judged["dataset"]) == {"digits"}
    assert np.array(judged["embeddings"]).shape == (4, 4)


def test_a_process_gives_what_this_one_gives(zoos, tmp_path):
    study = tiny_study("mean", "statistics_boosting")
    here = run_study(study, "ci", tmp_path / "here", zoos=zoos, workers=0)
    there = run_study(study, "ci", tmp_path / "there", zoos=zoos, workers=1)
    for one, two in zip(here.outcomes.all, there.outcomes.all, strict=True):
        assert [j["predicted"] for j in one.judged] == [j["predicted"] for j in two.judged]


def test_missing_images_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("SNE_IMAGES", raising=False)
    with pytest.raises(StudyError, match=r"needs mnist.npz, and .* SNE_IMAGES is not set; images names the folder"):
        find_images("mnist", None, tmp_path)
    with pytest.raises(StudyError, match=r"mnist.npz: no such file"):
        find_images("mnist", tmp_path, tmp_path)
    monkeypatch.setenv("SNE_IMAGES", str(tmp_path))
    (tmp_path / "mnist.npz").touch()
    assert find_images("mnist", None, tmp_path) == str(tmp_path / "mnist.npz")


def test_turned_digits_are_the_digits_turned(tmp_path):
    from sne.making import load_images

    turned, digits = load_images(find_images("digits_turned", None, tmp_path)), load_images("digits")
    assert turned.name == "digits_turned" and (turned.y_test == digits.y_test).all()
    assert (turned.x_test.rot90(-1, (2, 3)) == digits.x_test).all()


def test_methods_are_replaced_on_demand(zoos, tmp_path):
    found = run_study(tiny_study("sne_one"), "ci", tmp_path, zoos=zoos, workers=0, seeds=[5], methods=[METHODS["mean"]])
    assert [o.method.name for o in found.outcomes.all] == ["mean"]
    assert [r["job"]["seed"] for r in found.outcomes.all[0].results] == [5]


def test_averages_train_nothing(zoos, tmp_path):
    both = Method("both", "both", "average", "mean+hyperparameters")
    study = tiny_study("mean", "hyperparameters")
    methods = [*study.design("ci").methods, both]
    found = run_study(study, "ci", tmp_path, zoos=zoos, workers=0, methods=methods)
    outcomes = by_method(found)
    expected = (outcomes["mean"].predicted[1] + outcomes["hyperparameters"].predicted[1]) / 2
    assert outcomes["both"].predicted[1] == pytest.approx(expected)
    assert not [path for path in (tmp_path / "jobs").iterdir() if "both" in path.name]
    write_report(found, tmp_path)
    assert "both" in (tmp_path / "report.md").read_text()
