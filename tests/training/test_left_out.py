"""Weights outside the known domain: from families that were left out, and used for networks outside only."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sne.predictors import Predictor
from sne.training import fit, preset_settings
from sne.training.left_out import LEAST_IN_A_FAMILY
from sne.zoo import Zoo, ZooWriter

SETTINGS = preset_settings("default", experts=("forest", "within_family"), trees=8, folds=2)
WIDTHS = {"narrow": (6, 12, 3), "wide": (6, 40, 3), "deep": (6, 10, 10, 3), "other": (5, 9, 9, 9, 9, 2)}


def write(path, families, runs=35):
    """Networks of low rank, whose label is their size and falls from family to family."""
    generator = torch.Generator().manual_seed(0)
    with ZooWriter(path) as writer:
        for level, family in enumerate(families):
            for run in range(runs):
                size, state = 0.2 + float(torch.rand(1, generator=generator)), {}
                for number, (num_in, num_out) in enumerate(zip(WIDTHS[family], WIDTHS[family][1:], strict=False)):
                    strong = torch.randn(num_out, 1, generator=generator) @ torch.randn(1, num_in, generator=generator)
                    state[f"{number}.weight"] = size * (
                        strong + 0.2 * torch.randn(num_out, num_in, generator=generator)
                    )
                writer.add(
                    id=f"{family}{run}", run=f"{family}{run}", family=family, dataset="toy", step=1, state=state,
                    properties={"size": (size - level) / 4 + 0.7}, hyperparameters={},
                )  # fmt: skip
    return Zoo.open(path)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return fit(write(tmp_path_factory.mktemp("zoo") / "three", ["narrow", "wide", "deep"]), ["size"], settings=SETTINGS)


def test_every_family_was_left_out_once_by_every_expert(predictor):
    figures = predictor.metrics["left_out"]
    assert sorted(figures) == ["all", "forest", "within_family"]
    assert all(sorted(found) == ["deep", "narrow", "wide"] for found in figures.values())
    assert all(found["size"]["n"] >= LEAST_IN_A_FAMILY for kind in figures.values() for found in kind.values())
    assert figures["within_family"]["narrow"]["size"]["kendall_tau"] > 0.3
    outside = [expert["weights_outside"]["size"] for expert in predictor.metrics["experts"].values()]
    assert sum(outside) == pytest.approx(1) and predictor.weights_outside.sum() == pytest.approx(1)


def test_networks_outside_are_weighed_otherwise(predictor, tmp_path):
    zoo = write(tmp_path / "other", ["other"], runs=6)
    networks = zoo.networks(range(6))
    kinds = np.array([type(expert).__name__ for expert in predictor.experts])
    turned = np.where(kinds == "WithinFamilyExpert", 1.0, 0.0)[:, None]
    weights = (1 - turned) / (1 - turned).sum()
    parts = predictor.encoder, predictor.properties, predictor.experts

    def values(*rows, domain=predictor.domain):
        made = Predictor(*parts, rows[0], weights_outside=rows[-1], domain=domain)
        assert domain is None or not any(found.in_domain for found in made.predict(networks))
        return made.values(networks)["size"]

    np.testing.assert_array_equal(values(weights, turned), values(turned))
    np.testing.assert_array_equal(values(weights, turned, domain=None), values(weights))
    assert not np.allclose(values(weights), values(turned))


def test_weights_outside_are_saved(predictor, tmp_path):
    turned = np.eye(len(predictor.experts))[:, -1:]
    made = Predictor(
        predictor.encoder, predictor.properties, predictor.experts, predictor.weights, weights_outside=turned
    )
    made.save(tmp_path / "p")
    assert Predictor.load(tmp_path / "p").weights_outside.tolist() == turned.tolist()


def test_two_families_give_intervals_and_equal_weights(tmp_path):
    zoo = write(tmp_path / "two", ["narrow", "deep"])
    predictor = fit(zoo, ["size"], settings=replace(SETTINGS, experts=("forest", "within_family")))
    assert predictor.weights_outside.tolist() == [[0.5], [0.5]]
    assert "size" in predictor.intervals_outside


def test_one_family_trains_no_expert_that_compares_families(tmp_path):
    predictor = fit(write(tmp_path / "one", ["narrow"]), ["size"], settings=SETTINGS)
    assert list(predictor.metrics["experts"]) == ["forest"] and predictor.metrics["left_out"] == {}
