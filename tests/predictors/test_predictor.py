import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ENCODERS, TinyEncoder, write_tiny_zoo

from sne.networks import Network
from sne.predictors import Member, Predictor, PredictorError, Property, PropertyHeads, encode
from sne.predictors.sources import blocks
from sne.zoo import Zoo

PROPERTIES = (
    Property("accuracy", "fraction"),
    Property("loss", "real", mean=1.0, std=2.0),
    Property("activation", "class", ("relu", "tanh")),
)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    zoo = Zoo.open(write_tiny_zoo(tmp_path_factory.mktemp("zoo") / "tiny", runs=4))
    return zoo.networks(range(len(zoo)))


def make_predictor(members=2, **kwargs):
    torch.manual_seed(0)
    made = []
    for _ in range(members):
        encoder = TinyEncoder(dim=5)
        made.append(Member(encoder, PropertyHeads(5, PROPERTIES, hidden=3)))
    return Predictor(made, half_widths={"accuracy": 0.4, "loss": 0.7}, **kwargs)


def test_one_prediction_a_source_and_property_in_order(networks):
    predictions = make_predictor().predict(networks)
    assert [p.source for p in predictions] == [n.name for n in networks for _ in PROPERTIES]
    assert [p.property for p in predictions[:3]] == ["accuracy", "loss", "activation"]
    accuracy, loss, activation = predictions[:3]
    assert 0 <= accuracy.low <= accuracy.value <= accuracy.high <= 1
    assert loss.high - loss.low == pytest.approx(1.4)
    assert activation.value == max(activation.probabilities, key=activation.probabilities.get)
    assert sum(activation.probabilities.values()) == pytest.approx(1.0)


def test_members_are_averaged_as_values_not_as_logits(networks):
    predictor = make_predictor()
    each = [Predictor([m]).values(networks) for m in predictor.members]
    together = predictor.values(networks)
    for prop in PROPERTIES:
        np.testing.assert_allclose(together[prop.name], np.mean([e[prop.name] for e in each], axis=0), rtol=1e-6)
    assert together["activation"].shape == (len(networks), 2)


def test_batch_size_changes_nothing(networks):
    predictor = make_predictor()
    np.testing.assert_allclose(predictor.embed(networks, batch_size=1), predictor.embed(networks), atol=1e-6)
    one_by_one = np.concatenate([predictor.embed(n) for n in networks])
    np.testing.assert_allclose(one_by_one, predictor.embed(networks), atol=1e-6)


def test_embeddings_stand_side_by_side(networks):
    predictor = make_predictor()
    embeddings = encode(networks, encoder=predictor)
    assert embeddings.dtype == np.float32 and embeddings.shape == (len(networks), 10) == (8, predictor.dim)
    np.testing.assert_allclose(embeddings[:, 5:], encode(networks, encoder=predictor.members[1].encoder), atol=1e-6)
    assert predictor.embed([]).shape == (0, 10)


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
    assert (again.record, again.metrics, again.half_widths["loss"]) == (
        predictor.record,
        predictor.metrics,
        0.7,
    )
    np.testing.assert_array_equal(encode(networks, encoder=again), encode(networks, encoder=predictor))
    again.save(tmp_path / "p")
    assert Predictor.load(tmp_path / "p", encoders=ENCODERS).predict(networks) == predictor.predict(networks)


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def retensor(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


BIAS = "0.heads.output.bias"
NUMBER = {"name": "a", "kind": "real", "classes": [], "mean": 0.0, "std": 1.0}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: (p / "config.json").unlink(), "config.json is missing"),
        (lambda p: (p / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda p: (p / "metrics.json").unlink(), "metrics.json is missing"),
        (lambda p: (p / "config.json").write_text("{"), "not readable as JSON"),
        (lambda p: (p / "config.json").write_text("[]"), "holds a list, expected a JSON object"),
        (lambda p: (p / "config.json").write_bytes(b"\xff\xfe\x00"), "not readable as JSON"),
        (lambda p: edit(p, format=99), r"newer sne \(format 99, this one reads 2\)"),
        (lambda p: edit(p, format="x"), "format is 'x', expected 1"),
        (lambda p: edit(p, encoder={"name": "os.system", "settings": {}}), "unknown encoder 'os.system'"),
        (
            lambda p: edit(p, encoder={"name": "TinyEncoder", "settings": {"depth": 3}}),
            "build no predictor: .*depth",
        ),
        (lambda p: edit(p, encoder=None), "damaged, TypeError"),
        (lambda p: edit(p, properties=[]), "2 members, 0 properties"),
        (lambda p: edit(p, properties=[{"name": "a"}]), "damaged, KeyError"),
        (lambda p: edit(p, members=3), "2.encoder.* is missing"),
        (lambda p: edit(p, members=10**9), "1000000000 members"),
        (lambda p: edit(p, training=5), "damaged, TypeError"),
        (lambda p: edit(p, encoder={"name": "TinyEncoder", "settings": 5}), "build no predictor"),
        (lambda p: edit(p, heads={"hidden": -1}), "build no predictor"),
        (lambda p: edit(p, properties=[{**NUMBER, "half_width": -1}]), "half_width is -1"),
        (lambda p: edit(p, properties=[{**NUMBER, "kind": "odd"}]), "kind 'odd', expected one of"),
        (lambda p: (p / "metrics.json").write_text("[" * 100_000), "not readable as JSON"),
        (lambda p: (p / "model.safetensors").write_bytes(b"no"), "not a readable safetensors file"),
        (lambda p: retensor(p, lambda t: t.pop(BIAS)), f"{BIAS} is missing"),
        (lambda p: retensor(p, lambda t: t.update(odd=torch.zeros(1))), "odd is not expected"),
        (
            lambda p: retensor(p, lambda t: t.update({BIAS: torch.zeros(9)})),
            r"shape \(9,\), .* asks for \(4,\)",
        ),
        (lambda p: retensor(p, lambda t: t[BIAS].fill_(torch.nan)), "nan or infinite"),
    ],
)
def test_damaged_folders_are_told(tmp_path, harm, message):
    make_predictor().save(tmp_path)
    harm(tmp_path)
    with pytest.raises(PredictorError, match=message) as caught:
        Predictor.load(tmp_path, encoders=ENCODERS)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value).split("build no predictor")[0]


def test_no_folder(tmp_path):
    with pytest.raises(PredictorError, match="no such predictor folder"):
        Predictor.load(tmp_path / "nowhere")


def test_members_must_agree():
    with pytest.raises(PredictorError, match="share encoder settings"):
        Predictor([Member(TinyEncoder(dim=d), PropertyHeads(d, PROPERTIES)) for d in (4, 5)])
    with pytest.raises(PredictorError, match="at least one member"):
        Predictor([])
    with pytest.raises(PredictorError, match="predicts accuracy, loss, activation, not 'speed'"):
        make_predictor().find_property("speed")


def test_blocks_close_early_for_large_networks(networks, monkeypatch):
    monkeypatch.setattr("sne.predictors.sources.BLOCK_WEIGHTS", 2 * networks[0].num_weights)
    small: Network = networks[0]
    assert [len(b) for b in blocks([small] * 5, 64)] == [2, 2, 1]
    assert [len(b) for b in blocks([small] * 2, 1)] == [1, 1]
    with pytest.raises(ValueError, match="batch_size is 0"):
        list(blocks([small], 0))
