from dataclasses import replace

import pytest
import torch
from oracles import handmade

from sne.encoders import TensorSetEncoder
from sne.encoders.tensor_tokens import TensorTokens
from sne.encoders.token_places import depth_features
from sne.networks import LayerType, Network


def networks(count: int = 6) -> list[Network]:
    layouts = (handmade.mlp(), handmade.cnn(), handmade.resnet())
    return [handmade.network(layouts[seed % 3], seed=seed) for seed in range(count)]


def encoder(**settings) -> TensorSetEncoder:
    torch.manual_seed(0)
    module = TensorSetEncoder(**{"dim": 16, "heads": 2, **settings})
    module.fit_scale(module.prepare(networks()))
    return module.eval()


def forward(module: TensorSetEncoder, batch: TensorTokens) -> torch.Tensor:
    with torch.no_grad():
        return module(batch)


def encode(module: TensorSetEncoder, some: list[Network]) -> torch.Tensor:
    return forward(module, module.collate(module.prepare(some)))


def test_order_of_tokens_does_not_matter():
    module = encoder()
    (item,) = module.prepare([handmade.network(handmade.resnet())])
    order = torch.randperm(len(item.features), generator=torch.Generator().manual_seed(1))
    named = ("features", "types", "roles", "is_matrix", "levels", "heights")
    moved = replace(item, **{name: getattr(item, name)[order] for name in named})
    torch.testing.assert_close(forward(module, moved), forward(module, item), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("field", ["types", "roles", "levels", "heights"])
def test_type_role_and_depth_matter(field):
    module = encoder()
    (item,) = module.prepare([handmade.network(handmade.mlp())])
    changed = replace(item, **{field: getattr(item, field) + torch.tensor([1, 0, 0, 0])})
    assert (forward(module, changed) - forward(module, item)).abs().max() > 1e-3


def test_one_changed_weight_matters():
    module, network = encoder(), handmade.network(handmade.mlp())
    before = encode(module, [network])
    for name in network.source.infos:
        values = network.source.load(name).clone()
        values.view(-1)[0] += 0.5
        changed = encode(module, [handmade.with_tensors(network, **{name.replace(".", "__"): values})])
        assert (changed - before).abs().max() > 1e-4, name


def test_outputs_are_told_apart_once_learned():
    module, network = encoder(), handmade.network(handmade.mlp())
    torch.nn.init.normal_(module.output_gain.weight)
    swap = torch.tensor([1, 0, 2])
    bias, weight = (network.source.load(f"fc1.{name}")[swap] for name in ("bias", "weight"))
    swapped = handmade.with_tensors(network, fc1__bias=bias, fc1__weight=weight)
    assert (encode(module, [swapped]) - encode(module, [network])).abs().max() > 1e-3


def test_networks_without_outputs_stand_beside_others():
    module = encoder()
    vector = handmade.network((handmade.layer(LayerType.LAYER_NORM, "norm", 0, 6),))
    some = [vector, *networks(2), vector]
    rows = encode(module, some)
    assert rows.isfinite().all()
    torch.testing.assert_close(rows[0], encode(module, [vector])[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rows[1], encode(module, [some[1]])[0], rtol=1e-5, atol=1e-5)


def test_no_network_has_outputs():
    vector = handmade.network((handmade.layer(LayerType.LAYER_NORM, "norm", 0, 6),))
    torch.manual_seed(0)
    module = TensorSetEncoder(dim=16, heads=2).eval()
    module.fit_scale(module.prepare([vector]))
    assert encode(module, [vector]).isfinite().all()


def test_training_is_noisy_and_seeded():
    module = encoder(type_dropout=0.3).train()
    batch = module.collate(module.prepare(networks()))
    rows = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        rows.append(forward(module, batch))
    assert torch.equal(rows[0], rows[1])
    assert (rows[0] - rows[2]).abs().max() > 1e-3


def test_without_noise_training_is_evaluation():
    module = encoder(dropout=0.0, noise=0.0)
    expected = encode(module, networks())
    torch.testing.assert_close(encode(module.train(), networks()), expected)


def test_networks_far_from_any_seen_stay_bounded():
    module = encoder()
    for std in (0.0, 1e-9, 1e4, 1e25):
        far = handmade.network(handmade.transformer(), std=std)
        assert encode(module, [far]).isfinite().all()
    deep = handmade.network(tuple(handmade.layer(LayerType.LINEAR, f"fc{i}", i, 3, 3) for i in range(100)))
    assert encode(module, [deep]).isfinite().all()


def test_depth_features_are_bounded_and_tell_the_ends():
    levels = torch.arange(1000)
    features = depth_features(levels, 999 - levels)
    assert features.isfinite().all() and features.abs().max() < 10
    assert len(features.unique(dim=0)) == 1000
    (alone,) = depth_features(torch.tensor([0]), torch.tensor([0]))
    assert alone.isfinite().all()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="dim 10 is not a multiple of heads 4"):
        TensorSetEncoder(dim=10, heads=4)
