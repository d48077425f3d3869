"""Encoders together against each one alone."""

import pytest
import torch
from oracles import handmade
from torch import nn

from sne.encoders import TensorSetEncoder
from sne.encoders.stacked_tensor_sets import StackedReaders, StackedTensorSets
from sne.encoders.token_places import MOST_TOKENS, TokenPlaces
from sne.networks import LayerType, Network

LAYOUTS = (handmade.mlp(), handmade.cnn(), handmade.resnet(), handmade.transformer())
VECTOR = (handmade.layer(LayerType.LAYER_NORM, "norm", 0, 6),)


def networks(count: int) -> list[Network]:
    return [handmade.network(LAYOUTS[seed % len(LAYOUTS)], seed=seed) for seed in range(count)]


def members(*, shares_scale: bool, **settings: int) -> list[TensorSetEncoder]:
    torch.manual_seed(0)
    found = [TensorSetEncoder(**{"dim": 16, "heads": 2, "seeds": 3, **settings}) for _ in range(3)]
    for number, encoder in enumerate(found):
        for parameter in encoder.parameters():
            nn.init.normal_(parameter, std=0.3)
        encoder.fit_scale(encoder.prepare(networks(8 if shares_scale else 8 + number)))
        encoder.eval()
    return found


@pytest.mark.parametrize("shares_scale", [True, False])
@pytest.mark.parametrize(
    "some",
    [
        networks(9),
        networks(1),
        [handmade.network(VECTOR), *networks(3), handmade.network(VECTOR)],
        [handmade.network(VECTOR)],
        [handmade.network(LAYOUTS[1], seed=seed) for seed in range(MOST_TOKENS // 4)],
    ],
    ids=["mixed", "one", "some without outputs", "none with outputs", "several slices"],
)
def test_equals_each_encoder_alone(shares_scale, some):
    encoders = members(shares_scale=shares_scale)
    batch = encoders[0].collate(encoders[0].prepare(some))
    with torch.no_grad():
        expected = torch.stack([encoder(batch) for encoder in encoders])
    found = StackedTensorSets(encoders)(batch)
    assert found.shape == (3, len(some), 16)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_one_member_without_bins():
    (encoder,) = members(shares_scale=True, bins=0)[:1]
    batch = encoder.collate(encoder.prepare(networks(5)))
    with torch.no_grad():
        expected = encoder(batch)
    torch.testing.assert_close(StackedTensorSets([encoder])(batch)[0], expected, rtol=1e-4, atol=1e-4)


def test_equal_scales_are_applied_once():
    for shares_scale in (True, False):
        encoders = members(shares_scale=shares_scale)
        readers = StackedReaders([e.token_scale for e in encoders], [e.token_input[0] for e in encoders])
        assert readers.has_one_scale == shares_scale


def test_the_context_does_not_matter():
    encoders = members(shares_scale=True)
    batch = encoders[0].collate(encoders[0].prepare(networks(5)))
    expected = StackedTensorSets(encoders)(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(StackedTensorSets(encoders)(batch), expected)
    with torch.inference_mode():
        stack = StackedTensorSets(encoders)
    assert torch.equal(stack(batch), expected) and not expected.requires_grad


def test_places_of_tokens():
    encoder = TensorSetEncoder(dim=16, heads=2)
    some = [handmade.network(VECTOR), *networks(5)]
    items = encoder.prepare(some)
    batch = encoder.collate(items)
    places = TokenPlaces(batch)
    grouped = torch.cat(places.features)
    assert torch.equal(grouped, torch.cat([batch.features[~batch.is_matrix], batch.features[batch.is_matrix]]))
    answers = torch.arange(len(items))[:, None] + torch.full((len(items), grouped.shape[1]), 1e6)
    expected = []
    for number, item in enumerate(items):
        expected += [item.features] + ([answers[number : number + 1]] if len(item.outputs) else [])
    assert torch.equal(torch.cat([grouped, answers])[places.ragged], torch.cat(expected))
    assert [len(item.outputs) for item in items] == places.output_owners.bincount(minlength=len(items)).tolist()
