from dataclasses import replace

import pytest
import torch
from oracles import handmade

from sne.encoders import tensor_tokens
from sne.encoders.descriptors import describe
from sne.encoders.measures import WholeTensor
from sne.encoders.tensor_tokens import TensorTokens, summarize, tokenize
from sne.networks import Layer, LayerType, Network, Part, Role

LAYOUTS = [handmade.mlp(), handmade.cnn(), handmade.gru(), handmade.mlp(), handmade.transformer(), handmade.cnn()]


def networks() -> list[Network]:
    return [handmade.network(layers, seed=seed) for seed, layers in enumerate(LAYOUTS)]


def assert_same(a: TensorTokens, b: TensorTokens) -> None:
    for name, value in vars(a).items():
        torch.testing.assert_close(value, vars(b)[name], rtol=1e-5, atol=1e-5)


def test_one_token_a_part_in_order():
    for network, item in zip(networks(), tokenize(networks()), strict=True):
        parts = [part for _, part in network.parts()]
        assert item.num_networks == 1 and item.lengths.tolist() == [len(parts)]
        levels = torch.tensor([layer.level for layer, _ in network.parts()])
        assert torch.equal(item.levels, levels)
        assert torch.equal(item.heights, levels.max() - levels)
        for row, part in zip(item.features, parts, strict=True):
            described = describe(WholeTensor(network.read(part)[None]))[0]
            torch.testing.assert_close(row[: len(described)], described, rtol=1e-5, atol=1e-5)


def test_batches_change_nothing(monkeypatch):
    expected = tokenize(networks())
    monkeypatch.setattr(tensor_tokens, "BATCH_ENTRIES", 1)
    for item, other in zip(tokenize(networks()), expected, strict=True):
        assert_same(item, other)


def test_joined_batches_hold_the_items_in_order():
    items = tokenize(networks())
    batch = TensorTokens.concat(items)
    assert batch.num_networks == len(items)
    for name, rows in (("features", batch.lengths), ("outputs", batch.output_lengths)):
        for piece, item in zip(getattr(batch, name).split(rows.tolist()), items, strict=True):
            assert torch.equal(piece, getattr(item, name))


def test_summaries_have_one_length_and_hold_the_ends():
    items = tokenize(networks())
    found = summarize(items)
    size = items[0].features.shape[1]
    for row, item in zip(found, items, strict=True):
        matrices, vectors = item.features[item.is_matrix], item.features[~item.is_matrix]
        assert torch.equal(row[:size], matrices[0]) and torch.equal(row[3 * size : 4 * size], matrices[-1])
        torch.testing.assert_close(row[4 * size : 5 * size], matrices.mean(0))
        assert torch.equal(row[6 * size : 7 * size], vectors[0])
    assert found.isfinite().all()


def test_a_network_of_one_matrix_has_a_summary():
    (layer,) = handmade.mlp()[:1]
    (item,) = tokenize([handmade.network((replace(layer, parts=layer.parts[:1]),), seed=0)])
    assert item.is_matrix.tolist() == [True]
    size = item.features.shape[1]
    row = summarize([item])[0]
    assert torch.equal(row[:size], row[3 * size : 4 * size])
    assert (row[6 * size : 12 * size] == 0).all()


def test_items_own_their_memory():
    items = tokenize([handmade.network(handmade.mlp(), seed=seed) for seed in range(50)])
    assert items[0].features.untyped_storage().nbytes() == items[0].features.numel() * 4


def test_empty_parts_are_left_out():
    network = handmade.network(handmade.mlp())
    hollow = Layer("hollow", LayerType.OTHER, 0, (Part("none", Role.WEIGHT, (0, 3), 0, 1),))
    source = handmade.TensorsInMemory({**network.source.tensors, "none": torch.zeros(0, 3)})
    (item,) = tokenize([Network("n", (hollow, *network.layers), source)])
    (expected,) = tokenize([network])
    assert torch.equal(item.features, expected.features)


def test_a_network_without_weights_is_named():
    with pytest.raises(ValueError, match="hollow: no weights to encode"):
        tokenize([*networks(), Network("hollow", (), handmade.TensorsInMemory({}))])


def test_outputs_are_those_of_the_last_layer():
    (item,) = tokenize([handmade.network(handmade.cnn(classes=7))])
    assert item.output_index.tolist() == list(range(7)) and len(item.outputs) == 7
    (wide,) = tokenize([handmade.network(handmade.mlp((4, 5, 2000)))])
    assert wide.output_lengths.tolist() == [0] and len(wide.outputs) == 0
    vector = (handmade.layer(LayerType.LAYER_NORM, "norm", 0, 6),)
    (norm,) = tokenize([handmade.network(vector)])
    assert norm.output_lengths.tolist() == [0]
