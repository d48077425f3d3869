"""The study of lineages, on two small trees, and the methods that it compares."""

import json

import numpy as np
import pytest
import torch

from sne import read_network
from sne.errors import StudyError
from sne.lab.lineage import DESIGNS, run_lineage
from sne.lab.lineage.design import FamilyPlan, LineageDesign
from sne.lab.lineage.opponents import OPPONENTS, awm, matrices, unbiased_cka

SMALL = LineageDesign(
    images="digits",
    other_images="digits_turned",
    steps=30,
    families=(FamilyPlan("mlp", 2, {"depth": 2, "width": 24, "taper": 1.0, "activation": "relu"}),),
    queried=1,
    paired=1,
    drawn=1,
    estimate="",
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DESIGNS, "ci", SMALL)
        stages = []
        run_lineage(
            "ci",
            folder / "out",
            zoos=folder / "zoos",
            workers=1,
            progress=lambda stage, done, total: stages.append(stage),
        )
        assert set(stages) == {"trees of mlp", "measures of mlp"}
        stages.clear()
        path = run_lineage(
            "ci", folder / "out", zoos=folder / "zoos", workers=1, progress=lambda *stage: stages.append(stage)
        )
        assert [stage for stage in stages if stage[0] == "measures of mlp"] == []
    return path


def test_exact_descendants_are_found_and_named(done):
    found = json.loads((done.parent / "results.json").read_text())["families"]["mlp"]
    exact = ("half", "bfloat16", "int8", "pruned 30%", "units pruned")
    first = {row["kind"]: row["first"]["sne"] for row in found["first"]}
    named = {row["kind"]: row for row in found["named"] if row["kind"] in exact}
    for kind in exact:
        assert first[kind] and named[kind]["relation"] == named[kind]["expected"]
        assert named[kind]["direction"] == "second from first"
    assert not any(row["false"] for row in found["scores"])
    assert len({row["kind"] for row in found["edges"]}) >= 20


def test_the_report_has_all_tables(done):
    text = done.read_text()
    for title in ("Summary", "Parent found first, by kind", "Relation named, by kind", "By family"):
        assert f"## {title}" in text
    assert all(opponent.name in text for opponent in OPPONENTS) and "nan%" not in text


def test_an_unknown_scale_is_refused(tmp_path):
    with pytest.raises(StudyError, match="expected one of ci, cpu"):
        run_lineage("gpu", tmp_path / "out", zoos=tmp_path / "zoos", progress=lambda *stage: None)


def network(seed):
    torch.manual_seed(seed)
    return {
        "0.weight": torch.randn(24, 16),
        "0.bias": torch.zeros(24),
        "2.weight": torch.randn(10, 24),
        "2.bias": torch.zeros(10),
    }


@pytest.mark.parametrize("opponent", OPPONENTS, ids=lambda opponent: opponent.name)
def test_other_methods_tell_relatives_from_strangers(opponent):
    state = network(0)
    near = {name: values + 0.05 * torch.randn_like(values) for name, values in state.items()}
    one, child, stranger = (opponent.prepare(read_network(some)) for some in (state, near, network(1)))
    assert opponent.similarity(one, child) > opponent.similarity(one, stranger)


def test_awm_aligns_permuted_units_and_cosines_do_not():
    state, order = network(0), torch.randperm(24, generator=torch.Generator().manual_seed(2))
    moved = {**state, "0.weight": state["0.weight"][order], "2.weight": state["2.weight"][:, order]}
    one, other, stranger = (matrices(read_network(some)) for some in (state, moved, network(1)))
    assert awm(one, other) == pytest.approx(1) and awm(one, stranger) < 0.5
    raw = OPPONENTS[0]
    assert raw.similarity(raw.prepare(read_network(state)), raw.prepare(read_network(moved))) < 0.5


def test_unbiased_cka_of_independent_vectors_is_near_zero():
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((200, 5)), rng.standard_normal((200, 5))
    assert abs(unbiased_cka(one, other)) < 0.1
    rotation, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    assert unbiased_cka(one, one @ rotation) == pytest.approx(1)
