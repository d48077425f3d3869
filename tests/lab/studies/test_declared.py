"""Every study can be run as declared, at every scale."""

import dataclasses
import re
from pathlib import Path

import pytest
from study_cases import TASK, tiny_study

from sne.lab.studies import METHODS, SCALES, STUDIES, Design, Study, StudyError, StudyTask, ZooNeed, choose_methods
from sne.lab.studies.declared.ablation import VARIANTS
from sne.lab.studies.study import HeldOut
from sne.making import FAMILIES
from sne.making.families.overriding import override

NAMES = {
    "inr-frequency", "cross-architecture", "hyper-representation", "cnn-to-transformer", "cross-dataset", "ablation",
    "chunk-size", "embedding-map", "data-efficiency", "depth-width", "residual", "mixed", "labels",
}  # fmt: skip


def test_the_studies():
    assert set(STUDIES) == NAMES
    assert all(name == study.name for name, study in STUDIES.items())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_declares_what_can_be_made(study, scale):
    design = study.design(scale)
    assert (design.estimate and study.question.endswith("?")) or study.question.endswith(".")
    for zoo in design.zoos:
        assert set(zoo.families) <= set(FAMILIES) and zoo.name.startswith(f"{scale}-")
        for family, changes in zoo.overrides.items():
            override(FAMILIES[family], changes, zoo.name)
    used = {name for task in design.tasks for name in task.zoos}
    assert used == {zoo.name for zoo in design.zoos}
    if scale == "ci":
        assert {zoo.images for zoo in design.zoos} <= {"digits", "digits_turned"}
    else:
        assert len(design.seeds) >= 3
    if study.curve:
        places = [task.x for task in design.tasks] + [method.x for method in design.methods]
        assert any(x is not None for x in places)


def test_twins_of_what_was_learned_from_are_not_judged():
    zoo = ZooNeed("one", ("mlp", "gru"), networks=9)
    for other, piece in (({"networks": 9}, "all"), ({"networks": 8}, "test"), ({"families": ("mlp",)}, "test")):
        twin = dataclasses.replace(zoo, name="two", **other)
        task = StudyTask("t", ("one",), (HeldOut("h", ("two",), piece=piece),))
        with pytest.raises(StudyError, match=r"zoo two has the family and seed of one, .* another seed"):
            Design((zoo, twin), (task,), (METHODS["mean"],))
        Design((zoo, dataclasses.replace(twin, seed=1)), (task,), (METHODS["mean"],))


def test_a_zoo_of_one_name_is_the_same_in_every_study():
    seen = {}
    for study in STUDIES.values():
        for scale in SCALES:
            for zoo in study.design(scale).zoos:
                assert seen.setdefault(zoo.name, zoo) == zoo
    assert len(seen) > 20


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_encoders_can_be_built(study):
    from sne.encoders import PRESETS

    for method in study.design("cpu").methods:
        if method.kind == "preset":
            encoder = PRESETS[method.source](**method.options)
            assert method.options.items() <= encoder.settings().items()


def test_every_variant_of_the_ablation_differs():
    assert len({str(method.to_json()) for method in VARIANTS}) == len(VARIANTS) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"held_out": (HeldOut("own", ("nowhere",)),)}, "zoo 'nowhere' is not declared"),
        ({"metric": "r3"}, "metric 'r3', expected one of kendall_tau"),
        ({"fraction": 0.0}, "fraction is 0.0"),
        ({"held_out": (HeldOut("own", ("tiny",), piece="all"),)}, "piece is 'all', expected 'test'"),
        ({"held_out": ()}, "at least one held-out set"),
    ],
)
def test_impossible_tasks_are_refused(change, message):
    with pytest.raises(StudyError, match=message):
        tiny_study("mean", tasks=(dataclasses.replace(TASK, **change),))


def test_names_stand_once():
    with pytest.raises(StudyError, match="task 'accuracy' occurs twice"):
        tiny_study("mean", tasks=(TASK, TASK))
    with pytest.raises(StudyError, match="scale 'huge', expected one of ci"):
        tiny_study("mean").design("huge")


def test_methods_are_chosen_by_name():
    assert [m.name for m in choose_methods(["mean", "sne", "mean"], METHODS.values())] == ["mean", "sne"]
    with pytest.raises(StudyError, match="method 'magic' is not known, expected names from: sne"):
        choose_methods(["magic"], METHODS.values())
    with pytest.raises(StudyError, match="'sne_probing' averages sne and probing; also name 'probing'"):
        choose_methods(["sne", "sne_probing"], METHODS.values())


def test_zoos_of_a_task_stand_once():
    task = StudyTask("t", ("a", "b"), (HeldOut("x", ("b", "c")),))
    assert task.zoos == ("a", "b", "c")


def test_the_example_of_the_docs_is_a_study():
    text = (Path(__file__).parents[3] / "docs" / "studies.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert isinstance(names["mine"], Study) and names["mine"].design("ci").tasks == (names["task"],)
    assert {f"`{name}`" for name in STUDIES} <= set(re.findall(r"^\| (`[a-z-]+`) \|", text, re.MULTILINE))
