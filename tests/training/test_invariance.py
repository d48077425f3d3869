"""Learned invariance: copies, the term, what it does to a predictor, and how it is measured."""

import json

import numpy as np
import pytest
import torch
from family_zoo import SHAPE, write_family_zoo
from tiny import TinyEncoder, mlp_symmetry, write_tiny_zoo

from sne.encoders import SetEncoder
from sne.predictors.experts.loop import invariance_term
from sne.predictors.experts.state import derive_seed
from sne.symmetry import apply, sample
from sne.training import Copies, TrainingError, TrainingSettings, evaluate_rows, fit
from sne.zoo import Zoo, verify
from sne.zoo.store.layout import unflatten


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo.open(write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "tiny", runs=24, known=lambda run: True))


@pytest.fixture(scope="module")
def half_known(tmp_path_factory):
    return Zoo.open(write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "half", runs=24, known=lambda run: run % 4 > 1))


def small_set_encoder():
    """Chunks of 3: the 4 or 6 neurons that the last layer reads are cut apart, so that their order matters."""
    return SetEncoder(chunk_size=3, dim=16, heads=2, inducing_points=2)


def quick(**changes):
    return TrainingSettings(**{"epochs": 3, "batch_size": 16, "learning_rate": 5e-3, **changes})


def fitted(zoo, encoder=small_set_encoder, targets=("test_loss",), **changes):
    return fit(zoo, list(targets), split=zoo.split, encoder=encoder, settings=quick(**changes))


def test_the_term_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    outputs, copies = torch.randn(4, 3, generator=generator), torch.randn(2, 4, 3, generator=generator)
    total = 0.0
    for network in range(4):
        for draw in range(2):
            total += sum(float(outputs[network, k] - copies[draw, network, k]) ** 2 for k in range(3)) / 2
    assert float(invariance_term(outputs, copies)) == pytest.approx(total / 8, rel=1e-5)


def test_copies_are_the_transformed_state_dicts_whatever_stands_beside_them(zoo):
    copies = Copies(zoo, ("permutation", "scaling"))
    alone, together = copies.draw([3], "seed", 7), copies.draw(range(6), "seed", 7)
    state = unflatten(zoo.layout(3), zoo.weights(3))
    expected = apply(sample(mlp_symmetry(6), derive_seed("seed", 7, zoo.ids[3]), ("permutation", "scaling")), state)
    for name, tensor in unflatten(zoo.layout(3), alone.weights(3)).items():
        torch.testing.assert_close(tensor, expected[name])
    assert torch.equal(alone.weights(3), together.weights(3))
    assert not torch.equal(copies.draw([3], "seed", 8).weights(3), alone.weights(3))
    assert not torch.equal(together.weights(3), zoo.weights(3)) and torch.equal(alone.weights(2), zoo.weights(2))
    (network,) = copies.networks([3], "seed", 7)
    assert torch.equal(network.source.load("2.weight"), alone.network(3).source.load("2.weight"))


@pytest.mark.parametrize("kinds", [("mixing",), ("permutation", "scaling", "sign", "mixing")])
def test_copies_of_a_transformer_compute_the_same(tmp_path, kinds):
    zoo, (module,) = write_family_zoo(tmp_path / "zoo", ["vit"], count=1, traced=True)
    copies, inputs = Copies(zoo, kinds), torch.randn(4, *SHAPE)
    assert copies.is_known(0)
    expected = module(inputs)
    other = copies.draw([0], 1)
    assert (other.weights(0) - zoo.weights(0)).abs().max() > 0.01
    module.load_state_dict(unflatten(zoo.layout(0), other.weights(0)))
    torch.testing.assert_close(module(inputs), expected, rtol=1e-4, atol=1e-5)


def test_copies_of_known_networks_alone(half_known):
    copies = Copies(half_known, ("permutation",))
    known = [copies.is_known(row) for row in range(8)]
    assert known == [False] * 4 + [True] * 4
    drawn = copies.draw(range(8), 0)
    assert [torch.equal(drawn.weights(row), half_known.weights(row)) for row in range(4)] == [True] * 4
    assert not any(Copies(half_known, ("sign",)).is_known(row) for row in range(8))


def test_the_term_lowers_the_invariance_error_of_held_out_networks(zoo):
    test = zoo.split.rows(zoo.runs, "test")
    errors, changes = [], []
    for weight in (0.0, 10.0):
        predictor = fitted(zoo, epochs=12, patience=0, invariance=weight, invariance_draws=2)
        (evaluation,) = evaluate_rows(predictor, zoo, test, invariance_draws=4)
        figures = evaluation.figures()["sne"]
        errors.append(figures["invariance_error"])
        changes.append(figures["value_change"])
        assert evaluation.invariance.to_json() == {"kinds": ["permutation"], "draws": 4, "n": len(test)}
    assert errors[1] < errors[0] / 2 and changes[1] < changes[0] / 1.2


def test_the_default_encoder_is_invariant_and_no_time_is_spent_on_copies(zoo):
    settings = quick(epochs=2, invariance=0.5)
    predictor = fit(zoo, ["test_loss"], split=zoo.split, encoder="default", settings=settings)
    known = predictor.record["networks"]
    assert predictor.record["symmetry"] == {"kinds": ["permutation"], "copied": 0, "unmoved": known, "unknown": 0}
    (evaluation,) = evaluate_rows(predictor, zoo, np.arange(10))
    assert evaluation.figures()["sne"]["invariance_error"] < 1e-6
    assert "invariance" not in predictor.metrics["experts"]["neural"]["folds"][0]["history"][0]
    (by_scaling,) = evaluate_rows(predictor, zoo, np.arange(10), invariance_kinds=("scaling",))
    assert by_scaling.figures()["sne"]["invariance_error"] > 1e-6


def test_augmentation_trains_on_copies_without_the_term(half_known):
    plain, augmented = (fitted(half_known, augment=augment) for augment in (False, True))
    assert "symmetry" not in plain.record
    counts = augmented.record["symmetry"]
    assert counts["copied"] + counts["unknown"] == augmented.record["networks"] and counts["unknown"] == 20
    assert "invariance" not in augmented.metrics["experts"]["neural"]["folds"][0]["history"][0]
    losses = [p.metrics["experts"]["neural"]["folds"][0]["history"][0]["loss"] for p in (plain, augmented)]
    assert losses[0] != losses[1] and abs(losses[0] - losses[1]) < 0.5
    again = fitted(half_known, augment=True)
    tensors = augmented.experts[0].state()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in again.experts[0].state().items())


def test_with_the_term_augmentation_learns_the_task_from_copies_too(zoo):
    """Copies with permuted neurons are other networks to an encoder of chunks, so that more examples are learned."""
    with_task, without = (fitted(zoo, epochs=1, invariance=0.1, augment=augment) for augment in (True, False))
    first, second = (p.metrics["experts"]["neural"]["folds"][0]["history"][0] for p in (with_task, without))
    assert first["loss"] != second["loss"] and first["invariance"] != second["invariance"]
    assert with_task.record["settings"]["augment"] and not without.record["settings"]["augment"]


def test_the_loss_with_term_and_augmentation_against_a_loop(zoo):
    rows = zoo.split.rows(zoo.runs, "train")
    settings = {"epochs": 1, "batch_size": len(rows), "invariance": 2.0, "invariance_draws": 2, "invariance_ramp": 0.0}
    predictor = fitted(zoo, augment=True, learning_rate=0.0, **settings)  # nothing is learned: the loss is that of now
    entry = predictor.metrics["experts"]["neural"]["folds"][0]["history"][0]
    copies = Copies(zoo, ("permutation",))
    heads, encoder = predictor.experts[0].model.heads, predictor.experts[0].model.encoder
    seed = (0, "member-0", 0, 0)
    with torch.no_grad():
        networks = [zoo.networks(rows), *(copies.draw(rows.tolist(), *seed, draw).networks(rows) for draw in range(2))]
        outputs = [heads(encoder(encoder.collate(encoder.prepare(some)))) for some in networks]
        labels = torch.tensor(zoo.column("test_loss")[rows], dtype=torch.float32)[:, None]
        task = torch.stack([heads.loss(some, labels) for some in outputs]).mean()
        term = torch.stack([0.5 * (some - outputs[0]).square().sum(1).mean() for some in outputs[1:]]).mean()
    assert entry["invariance"] == pytest.approx(float(term), rel=1e-3)
    assert entry["loss"] == pytest.approx(float(task + 2 * term), rel=1e-3)


def test_the_invariance_error_against_a_loop(half_known):
    predictor = fitted(half_known, targets=("test_loss", "config.activation"), folds=2, invariance=0.1)
    rows = np.arange(2, 12)
    loss, activation = evaluate_rows(predictor, half_known, rows, invariance_draws=2, batch_size=3)
    copies = Copies(half_known, ("permutation",))
    moved = {"test_loss": [], "config.activation": []}
    for row in rows.tolist():
        for draw in range(2) if copies.is_known(row) else ():
            (copy,) = copies.networks([row], "invariance error", 0, draw)
            for name, errors in moved.items():
                both = [predictor.arrays(source).logits[name] for source in (half_known.network(row), copy)]
                errors.append(np.mean([0.5 * ((a - b) ** 2).sum() for a, b in zip(*both, strict=True)]))
    for evaluation in (loss, activation):
        found = evaluation.figures()["sne"]["invariance_error"]
        assert found == pytest.approx(np.mean(moved[evaluation.property.name]), rel=1e-3)
        assert evaluation.invariance.num_networks == 4  # rows 4 to 7
    groups = loss.figures_by(["a"] * 2 + ["b"] * 8)
    assert groups["a"]["sne"]["invariance_error"] is None and groups["b"]["sne"]["invariance_error"] > 0
    assert 0 <= activation.figures()["sne"]["value_change"] <= 1


def test_baselines_are_measured_too(zoo):
    predictor = fitted(zoo)
    rows = zoo.split.rows(zoo.runs, "test")
    for kinds, moves in ((("permutation",), False), (("scaling",), True)):
        (evaluation,) = evaluate_rows(predictor, zoo, rows, training_zoo=zoo, invariance_kinds=kinds)
        figures = evaluation.figures()
        assert figures["mean"]["value_change"] == figures["hyperparameters"]["value_change"] == 0
        assert figures["mean"]["invariance_error"] is None
        for name in ("statistics_boosting", "statistics_mlp"):
            assert (figures[name]["value_change"] > 1e-4) == moves, name


def test_without_symmetries_nothing_is_said(tmp_path):
    zoo = Zoo.open(write_tiny_zoo(tmp_path / "zoo", runs=12))
    predictor = fitted(zoo, TinyEncoder)
    assert predictor.metrics["invariance"]["n"] == 0
    (evaluation,) = evaluate_rows(predictor, zoo, np.arange(6))
    assert "invariance_error" not in evaluation.figures()["sne"] and evaluation.invariance.num_networks == 0
    for changes in ({"invariance": 0.1}, {"augment": True}):
        with pytest.raises(TrainingError, match=r"no symmetry of kind permutation is known of any .* `sne zoo make`"):
            fitted(zoo, TinyEncoder, **changes)


def test_a_damaged_symmetry_is_an_unknown_one(tmp_path):
    path = write_tiny_zoo(tmp_path / "zoo", runs=12, known=lambda run: True)
    lines = (path / "symmetries.json").read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace('"size":4', '"size":9')
    (path / "symmetries.json").write_text("".join(lines))
    zoo = Zoo.open(path)
    predictor = fitted(zoo, epochs=1, invariance=0.1)
    assert predictor.record["symmetry"]["unknown"] == predictor.record["families"]["narrow"]
    (evaluation,) = evaluate_rows(predictor, zoo, np.arange(8))
    assert evaluation.invariance.num_networks == 4 and verify(path).faults


def test_the_card_states_the_error_on_validation_networks(zoo, tmp_path):
    settings = quick(folds=2)
    fit(zoo, ["test_loss"], split=zoo.split, encoder=small_set_encoder, settings=settings, out=tmp_path / "p")
    stated = json.loads((tmp_path / "p" / "metrics.json").read_text())["invariance"]
    assert stated["kinds"] == ["permutation"] and stated["draws"] == 1
    assert stated["n"] == len(zoo.split.rows(zoo.runs, "train")) + len(zoo.split.rows(zoo.runs, "val"))
    figures = stated["properties"]["test_loss"]
    assert figures["invariance_error"] > 0 and figures["value_change"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"invariance": -0.1}, "invariance is -0.1, expected 0 or more"),
        ({"invariance": float("nan")}, "invariance is nan"),
        ({"invariance_draws": 0}, "invariance_draws is 0, expected 1 or more"),
        ({"invariance_kinds": ("melting",)}, "'melting', expected some of permutation, scaling, sign, mixing"),
        ({"invariance_kinds": ()}, "invariance_kinds: got nothing"),
        ({"augment": True, "invariance_draws": 2}, "augment without invariance replaces a network by one copy"),
    ],
)
def test_impossible_settings(changes, message):
    with pytest.raises(TrainingError, match=message):
        TrainingSettings(**changes)


def test_settings_both_ways():
    settings = TrainingSettings(invariance=0.3, invariance_kinds=("permutation", "sign"), invariance_draws=3)
    plain = json.loads(json.dumps(settings.to_json()))
    assert TrainingSettings(**plain) == settings and settings.invariance_kinds == ("permutation", "sign")
