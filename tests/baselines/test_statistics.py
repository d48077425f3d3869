import math

import numpy as np
import pytest
from oracles import handmade

from sne.baselines import StatisticsBaseline
from sne.baselines.statistics import STATISTICS, per_tensor, pooled, statistics


def by_loop(values: np.ndarray) -> list[float]:
    ordered = sorted(float(value) for value in values)
    mean = sum(ordered) / len(ordered)
    found = [mean, sum((value - mean) ** 2 for value in ordered) / len(ordered)]
    for at in (0.0, 0.25, 0.5, 0.75, 1.0):
        place = at * (len(ordered) - 1)
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        found.append(low + (place - math.floor(place)) * (high - low))
    return found


def flat(network, part) -> np.ndarray:
    return network.read(part).flatten().numpy()


@pytest.mark.parametrize("size", [1, 2, 10, 33])
def test_statistics_equal_loops(size):
    values = np.random.default_rng(0).normal(0.2, 3.0, (4, size)).astype(np.float32)
    np.testing.assert_allclose(statistics(values), [by_loop(row) for row in values], rtol=1e-6, atol=1e-9)


def test_every_tensor_has_columns_of_its_own():
    networks = [handmade.network(handmade.cnn(), seed=seed) for seed in range(3)]
    expected = [[number for _, part in n.parts() for number in by_loop(flat(n, part))] for n in networks]
    np.testing.assert_allclose(per_tensor(networks), expected, rtol=1e-6, atol=1e-9)


def test_shallower_networks_are_filled_up_and_deeper_ones_cut():
    deep, flat_one = handmade.network(handmade.mlp((4, 5, 6, 2))), handmade.network(handmade.mlp((4, 2)))
    both = per_tensor([deep, flat_one])
    assert both.shape == (2, 6 * len(STATISTICS)) and np.isfinite(both[0]).all()
    np.testing.assert_array_equal(np.isnan(both[1]), np.arange(6 * len(STATISTICS)) >= 2 * len(STATISTICS))
    np.testing.assert_array_equal(per_tensor([deep], width=2), both[:1, : 2 * len(STATISTICS)])


def test_pooling_joins_tensors_of_one_type_and_role():
    networks = [handmade.network(handmade.cnn()), handmade.network(handmade.mlp())]
    table, kinds = pooled(networks)
    assert kinds == ["conv2d.bias", "conv2d.weight", "linear.bias", "linear.weight"]
    assert table.shape == (2, 5 * len(STATISTICS))
    for row, network in zip(table, networks, strict=True):
        for column, kind in enumerate([*kinds, ""]):
            got = row[column * len(STATISTICS) : (column + 1) * len(STATISTICS)]
            same = [flat(network, p) for layer, p in network.parts() if f"{layer.type}.{p.role}".startswith(kind)]
            if not same:
                assert np.isnan(got).all()
                continue
            np.testing.assert_allclose(got, by_loop(np.concatenate(same)), rtol=1e-6, atol=1e-9)


def test_pooling_keeps_the_columns_asked_for():
    table, kinds = pooled([handmade.network(handmade.mlp())], ["gru.weight", "linear.bias"])
    assert kinds == ["gru.weight", "linear.bias"] and table.shape == (1, 3 * len(STATISTICS))
    assert np.isnan(table[0, : len(STATISTICS)]).all() and np.isfinite(table[0, len(STATISTICS) :]).all()


def test_unknown_models_are_named():
    with pytest.raises(ValueError, match="unknown model 'forest'; known: boosting, mlp"):
        StatisticsBaseline(model="forest")
