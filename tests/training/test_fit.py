import inspect
import json

import numpy as np
import pytest
import torch
from tiny import ENCODERS, TinyEncoder, write_tiny_zoo

from sne.predictors import Predictor, PredictorError
from sne.training import TrainingError, TrainingSettings, fit
from sne.training.plan import make_plan
from sne.zoo import Split, Zoo

QUICK = TrainingSettings(epochs=3, batch_size=16)
LONG = TrainingSettings(epochs=60, batch_size=8, learning_rate=2e-2)
TARGETS = ["test_accuracy", "test_loss", "config.activation"]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo.open(write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "tiny"))


def test_learns_several_properties_with_missing_labels(zoo, tmp_path):
    predictor = fit(zoo, TARGETS, split=zoo.split, encoder=TinyEncoder, settings=LONG, out=tmp_path / "p")
    validation = predictor.metrics["validation"]
    assert np.isnan(zoo.column("test_accuracy")).any()
    assert [p.kind for p in predictor.properties] == ["fraction", "real", "class"]
    assert validation["test_accuracy"]["kendall_tau"] > 0.6
    assert validation["test_loss"]["kendall_tau"] > 0.6
    assert validation["config.activation"]["accuracy"] > 0.7
    test = zoo.split.rows(zoo.runs, "test")
    values = predictor.values(zoo.networks(test))
    measured = zoo.column("test_loss")[test]
    assert np.corrcoef(measured, values["test_loss"])[0, 1] > 0.8
    again = Predictor.load(tmp_path / "p", encoders=ENCODERS)
    np.testing.assert_array_equal(again.values(zoo.networks(test))["test_loss"], values["test_loss"])
    record = again.record
    assert record["zoo"] == str(zoo.path) and record["networks"] == record["families"]["narrow"] * 2 == 48
    assert record["datasets"] == {"digits": 48} and record["targets"] == TARGETS
    assert Split.load(tmp_path / "p" / "split.json") == zoo.split


def test_same_seed_same_bits_and_no_trace_in_the_global_seed(zoo):
    state = torch.get_rng_state()
    first, second = (
        fit(zoo, ["test_accuracy"], split=zoo.split, encoder=lambda: TinyEncoder(dropout=0.2), settings=QUICK)
        for _ in range(2)
    )
    assert torch.equal(state, torch.get_rng_state())
    tensors = first.experts[0].state()
    assert all(torch.equal(tensors[name], t) for name, t in second.experts[0].state().items())
    other = fit(
        zoo, ["test_accuracy"], split=zoo.split, encoder=lambda: TinyEncoder(dropout=0.2),
        settings=TrainingSettings(**{**QUICK.to_json(), "seed": 1}),
    )  # fmt: skip
    assert any(not torch.equal(tensors[name], t) for name, t in other.experts[0].state().items())


def test_folds_judge_every_run_once(zoo):
    settings = TrainingSettings(epochs=3, folds=3)
    predictor = fit(zoo, ["test_loss"], split=zoo.split, encoder=TinyEncoder, settings=settings)
    assert len(predictor.experts) == 3 and predictor.dim == 24
    assert predictor.metrics["validation"]["test_loss"]["n"] == 48
    assert len({tuple(e.model.encoder.shift.tolist()) for e in predictor.experts}) == 3  # scales of their own folds
    assert predictor.intervals["test_loss"].factor > 0
    validation, coverage = (predictor.metrics[name]["test_loss"] for name in ("validation", "coverage"))
    assert (
        sum(group["n"] for group in coverage["by_family"]) == sum(group["n"] for group in coverage["by_decile"]) == 48
    )
    inside = sum(group["n"] * group["coverage"] for group in coverage["by_family"])
    assert validation["coverage"] == pytest.approx(inside / 48) and validation["mean_width"] > 0


def test_the_best_epoch_is_kept(zoo):
    predictor = fit(zoo, ["test_loss"], split=zoo.split, encoder=TinyEncoder, settings=LONG)
    (member,) = predictor.metrics["experts"]["neural"]["folds"]
    scores = [entry["score"] for entry in member["history"]]
    assert len(scores) == 60 and member["score"] == max(scores) == scores[member["best_epoch"]]
    assert predictor.metrics["validation"]["test_loss"]["kendall_tau"] == pytest.approx(max(scores))


def test_patience_stops_early(zoo):
    settings = TrainingSettings(epochs=300, batch_size=8, learning_rate=2e-2, patience=3)
    predictor = fit(zoo, ["test_loss"], split=zoo.split, encoder=TinyEncoder, settings=settings)
    (member,) = predictor.metrics["experts"]["neural"]["folds"]
    assert len(member["history"]) == member["best_epoch"] + 4 < 300


def test_accumulated_batches_are_one_large_batch(zoo):
    """Without dropout, 2 x 8 rows a step and 16 rows a step are one training up to rounding."""
    large, small = (
        fit(
            zoo, ["test_loss"], split=zoo.split, encoder=TinyEncoder,
            settings=TrainingSettings(epochs=3, batch_size=16 // parts, accumulation=parts),
        )
        for parts in (1, 2)
    )  # fmt: skip
    tensors = small.experts[0].state()
    for name, tensor in large.experts[0].state().items():
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-3, atol=1e-5)


def test_bfloat16_trains(zoo):
    settings = TrainingSettings(epochs=2, precision="bfloat16")
    predictor = fit(zoo, ["test_loss"], split=zoo.split, encoder=TinyEncoder, settings=settings)
    assert all(t.dtype == torch.float32 for t in predictor.experts[0].state().values())


@pytest.mark.gpu
def test_trains_on_cuda_in_bfloat16_and_comes_back_to_the_cpu(zoo):
    state = torch.cuda.get_rng_state()
    predictor = fit(zoo, TARGETS, split=zoo.split, encoder=TinyEncoder, settings=LONG, device="cuda")
    assert torch.equal(state, torch.cuda.get_rng_state())
    assert {t.device.type for t in predictor.experts[0].state().values()} == {"cpu"}
    assert predictor.metrics["validation"]["test_loss"]["kendall_tau"] > 0.6
    networks = zoo.networks(range(8))
    here = predictor.values(networks)["test_loss"]
    np.testing.assert_allclose(predictor.to("cuda").values(networks)["test_loss"], here, rtol=1e-3, atol=1e-3)


class ExplodingEncoder(TinyEncoder):
    def forward(self, batch):
        return super().forward(batch) * (float("nan") if self.training else 1.0)


def test_a_loss_that_is_not_finite_is_told(zoo):
    with pytest.raises(TrainingError, match=r"loss of neural-0 is nan in epoch 1: try a learning rate below"):
        fit(zoo, ["test_loss"], split=zoo.split, encoder=ExplodingEncoder, settings=QUICK)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (["speed"], TrainingError, "no column 'speed', expected one of .*test_accuracy"),
        ([], TrainingError, "no target given"),
        (["dataset"], PredictorError, "'digits' everywhere"),
        (["constant"], TrainingError, "'constant' is 1 for all networks that have it: nothing to learn"),
    ],
)
def test_bad_targets_are_told(zoo, targets, error, message, monkeypatch):
    if targets == ["constant"]:
        monkeypatch.setattr("sne.training.plan.target_column", lambda zoo, name: np.ones(len(zoo)))
    with pytest.raises(error, match=message):
        fit(zoo, targets, split=zoo.split, encoder=TinyEncoder, settings=QUICK)


def test_out_must_be_a_folder(zoo, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="is a file, expected a folder"):
        fit(zoo, TARGETS, split=zoo.split, encoder=TinyEncoder, settings=QUICK, out=tmp_path / "file")


def test_metrics_are_valid_json(zoo, tmp_path):
    fit(zoo, ["test_accuracy"], split=zoo.split, encoder=TinyEncoder, settings=QUICK, out=tmp_path / "p")
    metrics = json.loads((tmp_path / "p" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert set(metrics) == {"validation", "coverage", "invariance", "experts", "left_out"}


def test_arguments_of_the_wrong_type_are_explained(zoo):
    with pytest.raises(TrainingError, match=r"zoo is of type PosixPath, expected a Zoo, such as Zoo.open"):
        inspect.unwrap(make_plan)(zoo.path, ["test_loss"], split=None, encoder="default", settings=None)
    with pytest.raises(TrainingError, match=r"expected a list of names: \['test_loss'\]"):
        fit(zoo, "test_loss")
