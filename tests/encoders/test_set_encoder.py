from dataclasses import replace

import pytest
import torch
from oracles import handmade, sne_by_loop

from sne import read_network
from sne.encoders import set_encoder
from sne.encoders.chunking import ROLES, chunk, chunk_each
from sne.encoders.set_encoder import SetEncoder
from sne.encoders.set_functions import TypeLevelEncoding, sinusoids
from sne.networks import Network, Role

LAYOUTS = {
    "mlp": handmade.mlp(),
    "cnn": handmade.cnn(),
    "small_cnn": handmade.small_cnn(),
    "resnet": handmade.resnet(),
    "gru": handmade.gru(),
    "gpt": handmade.transformer(),
}


def encoder(**settings) -> SetEncoder:
    torch.manual_seed(0)
    return SetEncoder(**{"dim": 16, "heads": 2, "inducing_points": 4, "full_up_to": 24, **settings}).eval()


def encode(module: SetEncoder, networks: list[Network]) -> torch.Tensor:
    with torch.no_grad():
        return module(module.collate(module.prepare(networks)))


def mixed() -> list[Network]:
    return [handmade.network(layers, seed=i) for i, layers in enumerate(LAYOUTS.values())]


def assert_same(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("has_norm", [False, True])
def test_equals_nested_loops(has_norm):
    # One part of 9 chunks is above full_up_to, the others are below.
    layers = (*handmade.cnn((1, 3, 3), 2)[:2], *handmade.gru(5, 2))
    module = encoder(dim=8, full_up_to=6, chunk_size=4, has_norm=has_norm).double()
    module.input_std.fill_(0.3)
    network = handmade.network(layers)
    item = module.prepare([network])[0]
    got = module(replace(item, chunks=item.chunks.double()))[0]
    torch.testing.assert_close(got, sne_by_loop.embedding(module, network), rtol=1e-6, atol=1e-6)


def test_same_alone_and_in_any_batch():
    module, networks = encoder(), mixed()
    together = encode(module, networks)
    assert together.shape == (len(networks), module.dim) and together.isfinite().all()
    for row, network in zip(together, networks, strict=True):
        assert_same(encode(module, [network])[0], row)
    order = [3, 0, 5, 1, 4, 2, 3]
    assert_same(encode(module, [networks[i] for i in order]), together[order])


def test_order_of_weights_and_chunks_does_not_matter():
    module, network = encoder(), handmade.network(handmade.small_cnn())
    kernel = network.source.load("conv1.weight")
    shuffle = torch.Generator().manual_seed(1)
    weights = kernel.flatten(2)[:, :, torch.randperm(9, generator=shuffle)].reshape(kernel.shape)
    chunks = kernel.flatten(0, 1)[torch.randperm(256, generator=shuffle)].reshape(kernel.shape)
    expected = encode(module, [network])
    for changed in (weights, chunks):
        assert not torch.equal(changed, kernel)
        assert_same(encode(module, [handmade.with_tensors(network, conv1__weight=changed)]), expected)


def test_padding_does_not_matter():
    network = handmade.network(handmade.cnn((2, 4, 6), 5))  # no row is longer than 9
    expected = encode(encoder(chunk_size=9), [network])
    assert_same(encode(encoder(chunk_size=40), [network]), expected)
    batch = chunk([network], 40)
    noisy = replace(batch, chunks=batch.chunks.masked_fill(~batch.mask, 1e3))
    assert_same(encoder(chunk_size=40)(noisy), expected)


@pytest.mark.parametrize("name", LAYOUTS)
def test_one_changed_weight_changes_the_embedding(name):
    module, network = encoder().double(), handmade.network(LAYOUTS[name])

    def encode_in_double(given: Network) -> torch.Tensor:
        (item,) = module.prepare([given])
        with torch.no_grad():
            return module(replace(item, chunks=item.chunks.double()))

    before = encode_in_double(network)
    for tensor in list(network.source.infos)[::3]:
        values = network.source.load(tensor).clone()
        values.view(-1)[-1] += 1.0
        changed = encode_in_double(handmade.with_tensors(network, **{tensor: values}))
        assert (changed - before).abs().max() > 1e-6 * before.abs().max(), tensor  # rounding: 1e-15


def test_type_and_level_matter():
    module, network = encoder(), handmade.network(handmade.mlp((6, 6, 6)))
    before = encode(module, [network])
    first, second = network.layers
    deeper = Network("n", (first, replace(second, level=7)), network.source)
    other = Network("n", (first, handmade.Layer("x", handmade.LayerType.RNN, 1, second.parts)), network.source)
    assert (encode(module, [deeper]) - before).abs().max() > 1e-4
    assert (encode(module, [other]) - before).abs().max() > 1e-4


def test_gradients_reach_every_parameter_and_the_weights():
    module = encoder()
    batch = module.collate(module.prepare(mixed()))
    batch = replace(batch, chunks=batch.chunks.requires_grad_())
    module(batch).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert batch.chunks.grad is not None
    assert (batch.chunks.grad[batch.mask] != 0).float().mean() > 0.99
    assert (batch.chunks.grad[~batch.mask] == 0).all()


def test_groups_and_slices_change_nothing(monkeypatch):
    module, networks = encoder(), mixed()
    expected = encode(module, networks)
    monkeypatch.setattr(set_encoder, "RESIDENT_CHUNKS", 50)
    monkeypatch.setattr(set_encoder, "CHUNK_TOKENS", 40)
    monkeypatch.setattr(set_encoder, "VECTOR_TOKENS", 30)
    assert_same(encode(module, networks), expected)


def test_half_precision_stays_near():
    module, networks = encoder(), mixed()
    expected = encode(module, networks)
    with torch.autocast("cpu", torch.bfloat16):
        half = encode(module, networks)
        module(module.collate(module.prepare(networks))).square().mean().backward()
    assert (half.float() - expected).abs().max() < 0.05 * expected.abs().max()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


def test_settings_rebuild_the_encoder():
    module = encoder(chunk_size=7, has_norm=True)
    again = SetEncoder(**module.settings())
    again.load_state_dict(module.state_dict())
    networks = mixed()[:2]
    assert torch.equal(encode(again, networks), encode(module, networks))


def test_scale_is_the_standard_deviation_of_real_entries():
    module, networks = encoder(), mixed()
    module.fit_scale(module.prepare(networks))
    weights = torch.cat([n.read(p).flatten() for n in networks for _, p in n.parts()])
    assert float(module.input_std) == pytest.approx(float(weights.std(unbiased=False)), rel=1e-5)
    doubled = [handmade.with_tensors(n, **{k: 2 * n.source.load(k) for k in n.source.infos}) for n in networks]
    expected = encode(module, networks)
    module.fit_scale(module.prepare(doubled))
    assert_same(encode(module, doubled), expected)


def test_scale_needs_weights_that_differ():
    module, network = encoder(), handmade.network(handmade.mlp())
    for value in (0.0, float("nan")):
        same = {k: torch.full_like(network.source.load(k), value) for k in network.source.infos}
        with pytest.raises(ValueError, match="expected finite weights that differ, got 403"):
            module.fit_scale(module.prepare([handmade.with_tensors(network, **same)]))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="dim 10 is not a multiple of heads 4"):
        SetEncoder(dim=10, heads=4)
    with pytest.raises(ValueError, match="dim must be even"):
        SetEncoder(dim=5, heads=5)
    with pytest.raises(ValueError, match="inducing_points must be at least 1, got 0"):
        SetEncoder(inducing_points=0)


def test_levels_beyond_any_seen_stay_apart():
    codes = sinusoids(torch.arange(2000), 16)
    assert codes.abs().max() <= 1
    assert torch.cdist(codes, codes).fill_diagonal_(1).min() > 1e-3
    encoding = TypeLevelEncoding(16)
    assert encoding(torch.tensor([1, 2]), torch.tensor([0, 0]), torch.tensor([500, 500])).shape == (2, 16)


@pytest.mark.slow
def test_one_batch_with_a_network_of_eleven_million_weights():
    large = handmade.network(handmade.resnet((64, 128, 256, 512), 1000), std=0.05)
    assert large.num_weights > 11_000_000
    module = encoder(dim=64, heads=4, inducing_points=16, full_up_to=128)
    together = encode(module, [*mixed(), large])
    assert together.isfinite().all()
    assert_same(encode(module, [large])[0], together[-1])


@pytest.mark.gpu
def test_same_on_a_gpu():
    module, networks = encoder(), mixed()
    expected = encode(module, networks)
    batch = module.collate(module.prepare(networks)).to("cuda")
    got = module.to("cuda")(batch).cpu()
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_running_variances_enter_as_deviations():
    norm = torch.nn.BatchNorm2d(4)
    norm.running_var = torch.tensor([0.0, 0.5, 4.0, 150.0])
    network = read_network(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), norm))
    (item,) = encoder().prepare([network])
    (raw,) = chunk_each([network], encoder().chunk_size)
    is_variance = (raw.part_roles == ROLES[Role.RUNNING_VAR]).repeat_interleave(raw.part_chunks)
    assert is_variance.any() and not is_variance.all()
    torch.testing.assert_close(item.chunks[is_variance].square(), raw.chunks[is_variance])
    assert torch.equal(item.chunks[~is_variance], raw.chunks[~is_variance])
