"""The contract of encoders, for the baselines of fixed architecture and for deep sets."""

import copy
import json

import numpy as np
import pytest
import torch
from encoder_checks import assert_same, assert_same_items, encode
from neural_cases import LAYOUTS, METHODS, OF_ONE_LAYOUT, fitted, networks
from oracles import handmade
from tiny import write_tiny_zoo

from sne import Predictor
from sne.encoders import EncoderBatch
from sne.lab.neural import NEURAL_BASELINES, NEURAL_ENCODERS, CannotTakeError
from sne.networks import Network
from sne.training import TrainingSettings, fit
from sne.zoo import Split, Zoo

pytestmark = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def encoders():
    return {method: fitted(method, networks(method)) for method in METHODS}


def test_settings_rebuild_it(method, encoders):
    encoder = encoders[method]
    again = NEURAL_ENCODERS[type(encoder).__name__](**json.loads(json.dumps(encoder.settings()))).eval()
    assert again.settings() == encoder.settings() and again.dim == encoder.dim
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(encode(again, networks(method)), encode(encoder, networks(method)))


def test_state_dict_holds_the_fitted_scales(method, encoders):
    encoder, fresh = encoders[method], NEURAL_BASELINES[method](networks(method)[:1])
    changed = [n for n, buffer in encoder.named_buffers() if not torch.equal(buffer, fresh.get_buffer(n))]
    assert changed and set(changed) <= set(encoder.state_dict())


def test_same_alone_in_any_batch_and_in_any_order(method, encoders):
    encoder, some = encoders[method], networks(method)
    batch = encoder.collate(encoder.prepare(some))
    assert isinstance(batch, EncoderBatch) and batch.to("cpu").num_networks == len(some)
    together = encode(encoder, some)
    assert together.shape == (len(some), encoder.dim) and together.dtype == torch.float32
    assert together.isfinite().all()
    assert torch.cdist(together, together).fill_diagonal_(torch.inf).min() > 1e-3
    for row, network in zip(together, some, strict=True):
        assert_same(encode(encoder, [network])[0], row)
    order = [3, 0, 4, 1, 2, 3]
    assert_same(encode(encoder, [some[i] for i in order]), together[order])


def test_preparing_and_encoding_leave_things_alone(method, encoders):
    encoder, some = encoders[method], networks(method)
    items, before = encoder.prepare(some), torch.get_rng_state()
    assert_same_items(NEURAL_BASELINES[method](some[:1]).prepare(some), items)
    torch.set_rng_state(before)
    assert_same_items([encoder.prepare([network])[0] for network in some], items)
    kept, state = copy.deepcopy(items), copy.deepcopy(encoder.state_dict())
    assert torch.equal(encoder(encoder.collate(items)), encoder(encoder.collate(items)))
    encoder.fit_scale(items)
    assert_same_items(items, kept)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


def test_gradients_reach_every_parameter(method):
    encoder = fitted(method, networks(method)).train()
    torch.manual_seed(1)
    encoder(encoder.collate(encoder.prepare(networks(method)))).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_half_precision_is_finite_and_near(method, encoders):
    expected = encode(encoders[method], networks(method))
    with torch.autocast("cpu", torch.bfloat16):
        half = encode(encoders[method], networks(method))
    assert half.isfinite().all()
    assert (half.float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_no_network_disturbs_another(method, encoders):
    encoder, some = encoders[method], networks(method)
    huge = {name: 1e25 * some[0].source.load(name) for name in some[0].source.infos}
    broken = Network("huge", some[0].layers, handmade.TensorsInMemory(huge))
    both = encode(encoder, [some[0], broken, some[1]])
    assert both.isfinite().all()
    assert_same(both[[0, 2]], encode(encoder, some[:2]))


def test_empty_networks_are_named(method, encoders):
    empty = Network("hollow", (), handmade.TensorsInMemory({}))
    with pytest.raises(CannotTakeError, match="hollow"):
        encoders[method].prepare([empty])


def test_other_layouts_are_refused(method, encoders):
    wider = handmade.network(handmade.mlp((3, 6, 8, 4)), name="wider")
    if method in OF_ONE_LAYOUT:
        with pytest.raises(CannotTakeError, match=f"{method} takes networks of one layout; wider: part "):
            encoders[method].prepare([wider])
        with pytest.raises(CannotTakeError, match=r"of one layout; shorter: number of parts is 2, expected \d+"):
            encoders[method].prepare([Network("shorter", first_layer(method), wider.source)])
        with pytest.raises(CannotTakeError, match="wider"):
            NEURAL_BASELINES[method]([networks(method)[0], wider])
        with pytest.raises(CannotTakeError, match="at least one"):
            NEURAL_BASELINES[method]([])
    else:
        assert encode(encoders[method], [wider]).isfinite().all()


def first_layer(method: str) -> tuple:
    layer = LAYOUTS[method][0]
    return (type(layer)(layer.name, layer.type, layer.level, layer.parts[:2]),)


@pytest.mark.parametrize("value", [float("nan"), 0.5])
def test_scales_want_finite_weights_that_differ(method, value):
    network = networks(method)[0]
    filled = {name: torch.full(info.shape, value) for name, info in network.source.infos.items()}
    encoder = NEURAL_BASELINES[method]([network])
    with pytest.raises(ValueError, match="expected finite weights"):
        encoder.fit_scale(encoder.prepare([Network("flat", network.layers, handmade.TensorsInMemory(filled))] * 3))


def test_predictors_are_saved_and_loaded(method, tmp_path):
    zoo = Zoo.open(write_tiny_zoo(tmp_path / "zoo", runs=12, split=False))
    narrow = tuple(sorted({run for run, family in zip(zoo.runs, zoo.families, strict=True) if family == "narrow"}))
    rows = [row for row, run in enumerate(zoo.runs) if run in narrow]
    predictor = fit(
        zoo,
        ["test_loss"],
        split=Split(narrow[:4], narrow[4:], ()),
        encoder=lambda: NEURAL_BASELINES[method](zoo.networks(rows[:1])),
        settings=TrainingSettings(epochs=2, batch_size=4),
        device="cpu",
        out=tmp_path / "predictor",
        progress=False,
    )
    again = Predictor.load(tmp_path / "predictor", encoders=NEURAL_ENCODERS)
    first, second = (one.encode(zoo.networks(rows)) for one in (predictor, again))
    np.testing.assert_array_equal(first, second)
    assert np.ptp(first, axis=0).max() > 0
