"""What every encoder promises, for every preset."""

import copy
import json

import pytest
import torch
from encoder_checks import assert_same, assert_same_items, encode
from oracles import handmade

from sne.encoders import ENCODERS, PRESETS, EncoderBatch, NetworkEncoder
from sne.networks import Network

pytestmark = pytest.mark.parametrize("preset", PRESETS)

LAYOUTS = [handmade.mlp(), handmade.cnn(), handmade.small_cnn(), handmade.resnet(), handmade.gru()]
LAYOUTS += [handmade.transformer(), handmade.mlp()]


def networks() -> list[Network]:
    return [handmade.network(layers, seed=seed) for seed, layers in enumerate(LAYOUTS)]


def fitted(preset: str, seed: int = 0) -> NetworkEncoder:
    """An encoder whose parameters are all at work, as after some training."""
    torch.manual_seed(seed)
    encoder = PRESETS[preset]()
    encoder.fit_scale(encoder.prepare(networks()))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return encoder.eval()


def test_settings_rebuild_it(preset):
    encoder = fitted(preset)
    settings = json.loads(json.dumps(encoder.settings()))
    again = ENCODERS[type(encoder).__name__](**settings).eval()
    assert again.settings() == encoder.settings() and again.dim == encoder.dim
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(encode(again, networks()), encode(encoder, networks()))


def test_state_dict_holds_the_fitted_scales(preset):
    encoder = fitted(preset)
    torch.manual_seed(0)
    fresh = PRESETS[preset]()
    changed = [n for n, buffer in encoder.named_buffers() if not torch.equal(buffer, fresh.get_buffer(n))]
    assert changed and set(changed) <= set(encoder.state_dict())


def test_same_alone_in_any_batch_and_in_any_order(preset):
    encoder, some = fitted(preset), networks()
    together = encode(encoder, some)
    assert together.shape == (len(some), encoder.dim) and together.dtype == torch.float32
    assert together.isfinite().all()
    for row, network in zip(together, some, strict=True):
        assert_same(encode(encoder, [network])[0], row)
    order = [6, 3, 0, 5, 1, 4, 2, 3]
    assert_same(encode(encoder, [some[i] for i in order]), together[order])


def test_networks_stay_apart(preset):
    rows = encode(fitted(preset), networks())
    assert torch.cdist(rows, rows).fill_diagonal_(torch.inf).min() > 1e-3


def test_batches_say_their_size_and_can_move(preset):
    encoder, some = fitted(preset), networks()
    batch = encoder.collate(encoder.prepare(some))
    assert isinstance(batch, EncoderBatch) and batch.num_networks == len(some)
    assert batch.to("cpu").num_networks == len(some)


def test_eval_is_deterministic_and_leaves_the_seed_alone(preset):
    encoder = fitted(preset)
    before = torch.get_rng_state()
    assert torch.equal(encode(encoder, networks()), encode(encoder, networks()))
    assert torch.equal(torch.get_rng_state(), before)


def test_preparing_depends_on_no_parameter_and_no_scale(preset):
    some = networks()
    torch.manual_seed(9)
    plain = PRESETS[preset]()
    assert_same_items(plain.prepare(some), fitted(preset).prepare(some))


def test_preparing_does_not_depend_on_the_others(preset):
    encoder, some = PRESETS[preset](), networks()
    for item, network in zip(encoder.prepare(some), some, strict=True):
        (alone,) = encoder.prepare([network])
        for name, value in vars(alone).items():
            torch.testing.assert_close(vars(item)[name], value, rtol=1e-5, atol=1e-5)


def test_collating_and_encoding_leave_items_alone(preset):
    encoder = fitted(preset)
    items = encoder.prepare(networks())
    kept = copy.deepcopy(items)
    encoder(encoder.collate(items))
    encoder.fit_scale(items)
    assert_same_items(items, kept)


def test_gradients_reach_every_parameter(preset):
    encoder = fitted(preset).train()
    torch.manual_seed(1)
    encoder(encoder.collate(encoder.prepare(networks()))).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_half_precision_is_finite_and_near(preset):
    encoder = fitted(preset)
    expected = encode(encoder, networks())
    with torch.autocast("cpu", torch.bfloat16):
        half = encode(encoder, networks())
    assert half.isfinite().all()
    assert (half.float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_empty_networks_are_named(preset):
    empty = Network("hollow", (), handmade.TensorsInMemory({}))
    with pytest.raises(ValueError, match="hollow"):
        PRESETS[preset]().prepare([empty])


def test_no_network_disturbs_another(preset):
    encoder, some = fitted(preset), networks()
    huge = {name: 1e25 * some[0].source.load(name) for name in some[0].source.infos}
    broken = Network("huge", some[0].layers, handmade.TensorsInMemory(huge))
    assert_same(encode(encoder, [some[0], broken, some[6]])[[0, 2]], encode(encoder, [some[0], some[6]]))
