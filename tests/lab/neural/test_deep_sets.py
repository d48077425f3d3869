"""Deep sets: comparison with a loop, invariance to order within a tensor, quantiles of large tensors."""

import pytest
import torch
from encoder_checks import encode
from neural_cases import fitted
from oracles import handmade

from sne.encoders.chunking import LAYER_TYPES, ROLES
from sne.lab.neural.deep_sets import DeepSetsEncoder


def test_it_is_what_a_loop_says():
    some = [handmade.network(layers, seed=seed) for seed, layers in enumerate((handmade.mlp(), handmade.gru()))]
    encoder = fitted("deep_sets", some)
    for got, network in zip(encode(encoder, some), some, strict=True):
        tensors = []
        for layer, part in network.parts():
            place = [torch.tensor([n]) for n in (LAYER_TYPES[layer.type], ROLES[part.role], layer.level)]
            of_weights, of_tensors = (encoding(*place) for encoding in encoder.encodings)
            x = network.read(part).reshape(-1, 1) / encoder.std
            vectors = [
                encoder.on_weights(encoder.of_weights(torch.cat([one, (30 * one).asinh()])) + of_weights[0])
                for one in x
            ]
            log_size = torch.tensor([part.num_entries]).log() / 10
            added = encoder.of_tensors(torch.cat([of_tensors[0], log_size]))
            tensors.append(encoder.on_tensors(encoder.to_tensors(torch.stack(vectors).mean(0)) + added))
        expected = encoder.head(torch.stack(tensors).mean(0))
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_order_within_a_tensor_is_nothing_and_its_place_is_all():
    network = handmade.network(handmade.mlp((6, 5, 6, 5)))
    encoder = fitted("deep_sets", [network])
    first, third = (network.source.load(f"fc{i}.weight") for i in (0, 2))
    turned = handmade.with_tensors(network, fc0__weight=first.flip(0, 1))
    swapped = handmade.with_tensors(network, fc0__weight=third, fc2__weight=first)
    rows = encode(encoder, [network, turned, swapped])
    torch.testing.assert_close(rows[1], rows[0], rtol=1e-5, atol=1e-5)
    assert (rows[2] - rows[0]).abs().max() > 1e-4  # rounding is 1e-7


def test_large_tensors_are_read_by_quantiles():
    network = handmade.network(handmade.mlp((64, 64, 8)))
    few, all_of_them = DeepSetsEncoder(most_values=256), DeepSetsEncoder(most_values=1 << 20)
    all_of_them.load_state_dict(few.state_dict())
    (item,) = few.prepare([network])
    assert item.lengths.tolist() == [256, 64, 256, 8] and item.sizes.tolist() == [4096, 64, 512, 8]
    rows = [encode(encoder.eval(), [network])[0] for encoder in (few, all_of_them)]
    assert 0 < (rows[0] - rows[1]).abs().max() < 1e-3 * rows[1].abs().max()
    moved = handmade.with_tensors(network, fc0__weight=network.source.load("fc0.weight").flip(0).T.contiguous())
    assert torch.equal(few.prepare([moved])[0].values[:256], item.values[:256])


def test_it_wants_values():
    with pytest.raises(ValueError, match="most_values must be at least 1, got 0"):
        DeepSetsEncoder(most_values=0)
