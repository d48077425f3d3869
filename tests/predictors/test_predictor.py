import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ENCODERS, TinyEncoder, write_tiny_zoo

from sne.encoders import Limits
from sne.errors import SneError
from sne.networks import Network
from sne.predictors import Interval, Predictor, PredictorError, Property, encode
from sne.predictors.experts import EncoderWithHeads, NeuralExpert, PropertyHeads
from sne.predictors.sources import blocks
from sne.zoo import Zoo

PROPERTIES = (
    Property("accuracy", "fraction", mean=0.5, std=0.2, knots=(0.0, 1.0), knot_ranks=(0.25, 0.75)),
    Property("loss", "real", mean=1.0, std=2.0, knots=(-4.0, 6.0), knot_ranks=(0.1, 0.9)),
    Property("activation", "class", ("relu", "tanh")),
)
INTERVALS = {"accuracy": Interval(0.0, 0.0, 0.4), "loss": Interval(2.0, 0.5, 0.7)}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    zoo = Zoo.open(write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "tiny", runs=4))
    return zoo.networks(range(len(zoo)))


def make_predictor(count=2, **kwargs):
    torch.manual_seed(0)
    experts = []
    for _ in range(count):
        encoder = TinyEncoder(dim=5)
        experts.append(NeuralExpert(EncoderWithHeads(encoder, PropertyHeads(5, PROPERTIES, hidden=3))))
    weights = np.full((count, len(PROPERTIES)), 1 / count)
    return Predictor(TinyEncoder(dim=5), PROPERTIES, experts, weights, intervals=INTERVALS, **kwargs)


def alone(predictor, number):
    """The predictor of one of the experts."""
    return Predictor(predictor.encoder, PROPERTIES, [predictor.experts[number]], np.ones((1, len(PROPERTIES))))


def test_one_prediction_a_source_and_property_in_order(networks):
    predictions = make_predictor().predict(networks)
    assert [p.source for p in predictions] == [n.name for n in networks for _ in PROPERTIES]
    assert [p.property for p in predictions[:3]] == ["accuracy", "loss", "activation"]
    accuracy, loss, activation = predictions[:3]
    assert 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 1
    assert loss.high - loss.low == pytest.approx(1.4 + 0.5 * 0.1 * 10 / 0.8)  # a tenth of the labels around the value
    assert activation.value == max(activation.probabilities, key=activation.probabilities.get)
    assert sum(activation.probabilities.values()) == pytest.approx(1.0)


def test_experts_are_averaged_as_values_not_as_logits(networks):
    predictor = make_predictor()
    each = [alone(predictor, number).values(networks) for number in range(2)]
    together = predictor.values(networks)
    for prop in PROPERTIES:
        np.testing.assert_allclose(together[prop.name], np.mean([e[prop.name] for e in each], axis=0), rtol=1e-6)
    assert together["activation"].shape == (len(networks), 2)


def test_batch_size_changes_nothing(networks):
    predictor = make_predictor()
    np.testing.assert_allclose(predictor.encode(networks, batch_size=1), predictor.encode(networks), atol=1e-6)
    one_by_one = np.concatenate([predictor.encode(n) for n in networks])
    np.testing.assert_allclose(one_by_one, predictor.encode(networks), atol=1e-6)


def test_embeddings_stand_side_by_side(networks):
    predictor = make_predictor()
    embeddings = encode(networks, encoder=predictor)
    assert embeddings.dtype == np.float32 and embeddings.shape == (len(networks), 10) == (8, predictor.dim)
    np.testing.assert_allclose(
        embeddings[:, 5:], encode(networks, encoder=predictor.experts[1].model.encoder), atol=1e-6
    )
    assert predictor.encode([]).shape == (0, 10)


def test_encode_leaves_an_encoder_as_it_was(networks):
    encoder = TinyEncoder(dropout=0.5).train()
    np.testing.assert_array_equal(encode(networks, encoder=encoder), encode(networks, encoder=encoder))
    assert encoder.training


def test_save_and_load(networks, tmp_path):
    predictor = make_predictor(record={"zoo": "here"}, metrics={"validation": {"accuracy": {"n": 3}}})
    predictor.save(tmp_path / "p")
    assert sorted(f.name for f in (tmp_path / "p").iterdir()) == [
        "config.json",
        "metrics.json",
        "model.safetensors",
    ]
    state = torch.get_rng_state()
    again = Predictor.load(tmp_path / "p", encoders=ENCODERS)
    assert torch.equal(state, torch.get_rng_state())
    assert again.predict(networks) == predictor.predict(networks)
    assert (again.record, again.metrics, again.intervals) == (predictor.record, predictor.metrics, INTERVALS)
    np.testing.assert_array_equal(encode(networks, encoder=again), encode(networks, encoder=predictor))
    again.save(tmp_path / "p")
    assert Predictor.load(tmp_path / "p", encoders=ENCODERS).predict(networks) == predictor.predict(networks)


def test_half_precision_halves_matrices_and_hardly_moves_predictions(networks, tmp_path):
    predictor = make_predictor()
    predictor.save(tmp_path, half=True)
    stored = load_file(tmp_path / "model.safetensors")
    assert {t.dtype for t in stored.values() if t.ndim > 1} == {torch.float16}
    assert {t.dtype for t in stored.values() if t.ndim == 1} == {torch.float32}
    again = Predictor.load(tmp_path, encoders=ENCODERS)
    assert all(t.dtype == torch.float32 for expert in again.experts for t in expert.state().values())
    before, after = predictor.values(networks), again.values(networks)
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, rtol=5e-3, atol=2e-3)
    assert any((after[name] != values).any() for name, values in before.items())


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def retensor(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


BIAS = "0.heads.output.bias"
NUMBER = {
    **{"name": "a", "kind": "real", "classes": [], "mean": 0.0, "std": 1.0},
    **{"knots": [-2.0, 2.0], "knot_ranks": [0.25, 0.75], "interval": None, "interval_outside": None},
}
RULE = {"factor": 2.0, "local": 1.0, "margin": 0.1}


def edit_experts(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config["experts"])
    (folder / "config.json").write_text(json.dumps(config))


def of_other_features(folder):
    """A predictor whose experts read fewer features than the encoder of its name gives."""
    edit(folder, encoder={"name": "TensorSetEncoder", "settings": {}})
    edit_experts(folder, lambda e: e[1].update(kind="forest", settings={"num_features": 1720}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (of_other_features, r"descriptions of 1720 numbers, the encoder gives \d+: .*another version.* sne train"),
        (lambda p: (p / "config.json").unlink(), "config.json is missing"),
        (lambda p: (p / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda p: (p / "metrics.json").unlink(), "metrics.json is missing"),
        (lambda p: (p / "config.json").write_text("{"), "not readable as JSON"),
        (lambda p: (p / "config.json").write_text("[]"), "holds a list, expected a JSON object"),
        (lambda p: (p / "config.json").write_bytes(b"\xff\xfe\x00"), "not readable as JSON"),
        (lambda p: edit(p, format=99), r"newer sne \(format 99, this one reads 1\)"),
        (lambda p: edit(p, format="x"), "format is 'x', expected 1"),
        (lambda p: edit(p, encoder={"name": "os.system", "settings": {}}), "unknown encoder 'os.system'"),
        (lambda p: edit(p, encoder={"name": "TinyEncoder", "settings": {"depth": 3}}), "TypeError: .*depth"),
        (lambda p: edit(p, encoder=None), "damaged, TypeError"),
        (lambda p: edit(p, properties=[]), "0 properties and 2 experts"),
        (lambda p: edit(p, properties=[{"name": "a"}]), "damaged, KeyError"),
        (lambda p: edit_experts(p, lambda e: e.append(e[0])), "more than 0 tensors of parameters"),
        (lambda p: edit_experts(p, lambda e: e.pop()), r"holds experts \[0, 1\], config.json names 1"),
        (lambda p: edit_experts(p, lambda e: e[0].update(kind="oracle")), "unknown expert 'oracle'"),
        (lambda p: edit_experts(p, lambda e: e[0].update(kind="forest")), "num_features"),
        (lambda p: edit_experts(p, lambda e: e[0].update(weights=[1, 1, 1])), "do not add up to 1"),
        (lambda p: edit_experts(p, lambda e: e[0].update(weights=[0.5])), "damaged, ValueError"),
        (lambda p: edit(p, experts=10**9), "damaged, TypeError"),
        (lambda p: edit(p, training=5), "damaged, TypeError"),
        (lambda p: edit(p, encoder={"name": "TinyEncoder", "settings": 5}), "damaged, TypeError"),
        (lambda p: edit_experts(p, lambda e: e[0].update(settings={"hidden": -1})), "heads with hidden -1"),
        (lambda p: edit_experts(p, lambda e: e[0].update(settings={"dropout": float("nan")})), "dropout nan"),
        (lambda p: edit_experts(p, lambda e: e[0].update(settings={"hidden": 10**9})), "asks for"),
        (lambda p: edit(p, encoder={"name": "TinyEncoder", "settings": {"dim": 10**9}}), "asks for"),
        (lambda p: edit(p, encoder={"name": "SetEncoder", "settings": {"heads": 0}}), "damaged, ZeroDivisionError"),
        (lambda p: edit(p, properties=[{**NUMBER, "interval": 0.1}]), "interval is 0.1, expected factor"),
        (lambda p: edit(p, properties=[{**NUMBER, "interval": {"factor": 1}}]), "expected factor, local and margin"),
        (lambda p: edit(p, properties=[{**NUMBER, "interval": {**RULE, "local": -1}}]), "local -1, expected a number"),
        (lambda p: edit(p, properties=[{**NUMBER, "interval": {**RULE, "factor": "2"}}]), "factor '2', expected"),
        (lambda p: edit(p, properties=[{**NUMBER, "interval": {**RULE, "factor": True}}]), "factor True"),
        (lambda p: edit(p, properties=[{**NUMBER, "interval": {**RULE, "margin": float("nan")}}]), "margin nan"),
        (lambda p: edit(p, properties=[{**NUMBER, "interval": {**RULE, "margin": 10**400}}]), "margin 1000"),
        (lambda p: edit(p, properties=[{**NUMBER, "interval": {**RULE, "margin": 1e20}}]), "at most 4,000,000"),
        (lambda p: edit(p, properties=[{**NUMBER, "interval_outside": {**RULE, "local": 1e7}}]), "at most 1,000,000"),
        (lambda p: edit(p, properties=[{**NUMBER, "knots": [], "knot_ranks": []}]), "'a': no knots"),
        (lambda p: edit(p, properties=[{**NUMBER, "std": 1e30}]), r"cannot have mean 0 and std 1e\+30"),
        (lambda p: edit(p, properties=[NUMBER] * 2), "properties a, a, expected different names"),
        (lambda p: edit(p, properties=[{**NUMBER, "kind": "odd"}]), "kind 'odd', expected one of"),
        (lambda p: (p / "metrics.json").write_text("[" * 100_000), "not readable as JSON"),
        (lambda p: (p / "split.json").write_text("[]"), "split.json"),
        (lambda p: (p / "model.safetensors").write_bytes(b"no"), "not a readable safetensors file"),
        (lambda p: retensor(p, lambda t: t.pop(BIAS)), "heads.output.bias is missing"),
        (lambda p: retensor(p, lambda t: t.update(odd=torch.zeros(1))), "damaged, ValueError"),
        (lambda p: retensor(p, lambda t: t.update({"0.odd": torch.zeros(1)})), "odd is not expected"),
        (
            lambda p: retensor(p, lambda t: t.update({BIAS: torch.zeros(9)})),
            r"shape \(9,\).* asks for \(4,\).*: damaged, or trained by another version of sne; .* sne train",
        ),
        (
            lambda p: retensor(p, lambda t: t.update({BIAS: torch.zeros(4).bfloat16()})),
            "bfloat16, .* asks for",
        ),
        (lambda p: retensor(p, lambda t: t[BIAS].fill_(torch.nan)), "nan or infinite"),
    ],
)
def test_damaged_folders_are_told(tmp_path, harm, message):
    make_predictor().save(tmp_path)
    harm(tmp_path)
    with pytest.raises(SneError, match=message) as caught:
        Predictor.load(tmp_path, encoders=ENCODERS)
    assert str(tmp_path) in str(caught.value)


class EndlessEncoder(TinyEncoder):
    """Has as many layers as its settings say."""

    def __init__(self, *, dim=8, dropout=0.0, depth=0):
        super().__init__(dim=dim, dropout=dropout)
        self.more = torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(depth))


def test_layers_without_end_are_not_built(tmp_path):
    """Building 10^9 layers would take all memory; it stops at the number of tensors that are there."""
    make_predictor().save(tmp_path)
    edit(tmp_path, encoder={"name": "TinyEncoder", "settings": {"dim": 5, "depth": 10**9}})
    with pytest.raises(PredictorError, match=r"ask for more than .* tensors of parameters"):
        Predictor.load(tmp_path, encoders={"TinyEncoder": EndlessEncoder})


def test_no_folder(tmp_path):
    with pytest.raises(PredictorError, match="no such predictor folder"):
        Predictor.load(tmp_path / "nowhere")


def test_weights_must_fit():
    predictor = make_predictor()
    for weights, message in (
        (np.ones((2, 3)), "do not add up to 1"),
        (np.array([[2.0] * 3, [-1.0] * 3]), "negative"),
        (np.ones((1, 3)), r"weights have shape \(1, 3\), expected \(2, 3\)"),
    ):
        with pytest.raises(PredictorError, match=message):
            Predictor(predictor.encoder, PROPERTIES, predictor.experts, weights)
    with pytest.raises(PredictorError, match="needs experts and properties, got 0 and 3"):
        Predictor(predictor.encoder, PROPERTIES, [], np.ones((0, 3)))
    with pytest.raises(PredictorError, match="predicts accuracy, loss, activation, not 'speed'"):
        make_predictor().find_property("speed")


def test_weights_differ_by_property(networks):
    both = make_predictor()
    weights = np.array([[1.0, 0.25, 0.0], [0.0, 0.75, 1.0]])
    predictor = Predictor(both.encoder, PROPERTIES, both.experts, weights)
    first, second = (alone(both, number).values(networks) for number in range(2))
    found = predictor.values(networks)
    np.testing.assert_allclose(found["accuracy"], first["accuracy"])
    np.testing.assert_allclose(found["loss"], 0.25 * first["loss"] + 0.75 * second["loss"], rtol=1e-6)
    np.testing.assert_allclose(found["activation"], second["activation"])
    assert predictor.expert_weights() == {"neural": {"accuracy": 1.0, "loss": 1.0, "activation": 1.0}}


def test_a_predictor_says_what_it_is():
    text = repr(make_predictor(record={"networks": 48}))
    assert text == "<Predictor of accuracy, loss, activation trained on 48 networks; experts: neural 1.00>"


def test_bad_sources_stop_or_are_skipped(networks, tmp_path, caplog):
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pt"
    torch.save({"0.weight": torch.randn(4, 4), "0.bias": torch.zeros(4)}, good)
    bad.write_bytes(b"no checkpoint")
    predictor = make_predictor()
    with pytest.raises(SneError, match=r"bad\.pt"):
        predictor.predict([good, bad])
    assert [p.source for p in predictor.predict([bad, good], errors="skip")] == [str(good)] * 3
    assert f"skipped {bad}: " in caplog.text and caplog.text.count(str(bad)) == 1
    with pytest.raises(SneError, match=r"bad\.pt") as caught:
        predictor.predict(tmp_path)
    assert caught.value.__notes__ == ["errors='skip' leaves out files that cannot be read, with a warning each"]
    assert [p.source for p in predictor.predict(tmp_path, errors="skip")] == [str(good)] * 3
    failures = {}
    rows = predictor.encode([good, bad], errors=lambda name, error: failures.update({name: str(error)}))
    assert rows.shape == (1, 10) and list(failures) == [str(bad)]
    nan = tmp_path / "huge.pt"
    torch.save({"0.weight": torch.full((4, 4), 1e38), "0.bias": torch.zeros(4)}, nan)
    failures.clear()
    found = predictor.predict([good, nan], errors=lambda name, error: failures.update({name: str(error)}))
    assert len(found) == 3 * (2 - len(failures)) and set(failures) <= {str(nan)}


def test_globs_and_folders_are_expanded(tmp_path):
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    for name in ("b.pt", "a.pt"):
        torch.save({"0.weight": torch.randn(4, 4), "0.bias": torch.zeros(4)}, folder / name)
    (folder / "notes.txt").write_text("no checkpoint")
    predictor = make_predictor()
    expected = [str(folder / "a.pt"), str(folder / "b.pt")]
    for sources in (folder, tmp_path / "runs", str(folder / "*.pt"), [folder, folder / "a.pt"]):
        assert [p.source for p in predictor.predict(sources)][::3] == expected


def test_blocks_close_early_for_large_networks(networks, monkeypatch):
    monkeypatch.setattr("sne.predictors.sources.BLOCK_WEIGHTS", 2 * networks[0].num_weights)
    small: Network = networks[0]
    assert [len(b) for b in blocks([small] * 5, 64)] == [2, 2, 1]
    assert [len(b) for b in blocks([small] * 2, 1)] == [1, 1]
    with pytest.raises(PredictorError, match="batch_size is 0"):
        list(blocks([small], 0))


def test_limits_reach_the_encoder(networks, monkeypatch):
    seen = []
    plain = TinyEncoder.prepare

    def prepare(self, some, *, limits):
        seen.append((limits.memory, limits.budget))
        return plain(self, some)

    monkeypatch.setattr(TinyEncoder, "prepare", prepare)
    predictor = make_predictor()
    for call in (predictor.predict, predictor.values, predictor.arrays, predictor.encode):
        call(networks[:2], memory=10**11, budget=50)
    for encoder in (predictor, TinyEncoder(dim=5)):
        encode(networks[:2], encoder=encoder, memory=10**11, budget=50)
    assert seen == [(10**11, 50)] * 6


def test_a_budget_reads_two_halves_and_tells_how_they_differ(networks):
    predictor, told = make_predictor(), {}
    budget = networks[0].num_weights - 1
    assert networks[1].num_weights == networks[0].num_weights
    (block, other) = predictor.predict_blocks(networks[:2], budget=budget, tell=told.__setitem__)
    assert block.names == (networks[0].name,) and other.names == (networks[1].name,)
    one, two = (next(iter(_of_half(predictor, networks[0], half))) for half in Limits(budget=budget).halves())
    np.testing.assert_allclose(block.values, (one.values + two.values) / 2)
    np.testing.assert_allclose(block.sample.differences, abs(one.values - two.values)[0])
    assert block.sample.num_read <= block.sample.num_weights == networks[0].num_weights
    assert 0 < block.sample.embedding_difference < 1
    assert f"of {networks[0].num_weights:,} weights was read" in told[networks[0].name][0]
    for prediction in predictor.predictions(block):
        assert prediction.num_read == block.sample.num_read and prediction.difference_of_halves > 0
        assert prediction.probabilities is None or prediction.value in prediction.probabilities


def _of_half(predictor, network, half):
    plain = TinyEncoder.prepare
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TinyEncoder, "prepare", lambda self, some, *, limits: plain(self, some, limits=half))
        return list(predictor.predict_blocks([network]))


def test_a_budget_above_the_size_changes_nothing(networks):
    predictor, told = make_predictor(), {}
    (block,) = predictor.predict_blocks(networks, budget=networks[0].num_weights * 2, tell=told.__setitem__)
    (expected,) = predictor.predict_blocks(networks)
    assert np.array_equal(block.values, expected.values) and block.sample is None and not told
    assert all(p.num_read is None and p.difference_of_halves is None for p in predictor.predictions(block))


def test_a_limit_of_memory_below_the_process_is_refused(networks):
    with pytest.raises(SneError, match="the memory limit is 1 MB and the process takes"):
        make_predictor().predict(networks, memory=1000)
