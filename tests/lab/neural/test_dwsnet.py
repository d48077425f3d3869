"""The equivariant layer of DWSNet: comparison with loops, equivariance, and completeness."""

from itertools import combinations, product

import pytest
import torch

from sne.lab.neural.dwsnet import WeightSpaceLinear

# Two hidden layers of 3 and 4 neurons: weights and biases of an MLP 2-3-4-2, inputs and outputs among the channels.
SIZES = {1: 3, 2: 4}
AXES = [(1,), (1, 2), (2,), (1,), (2,), ()]
INPUTS = [2, 1, 2, 1, 1, 2]
OUTPUTS = [4, 2, 4, 2, 2, 4]


def arrays(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, *(SIZES[axis] for axis in axes), width) for axes, width in zip(AXES, INPUTS, strict=True)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def permuted(given: list[torch.Tensor], orders: dict[int, torch.Tensor]) -> list[torch.Tensor]:
    results = []
    for x, axes in zip(given, AXES, strict=True):
        for place, axis in enumerate(axes):
            x = x.index_select(1 + place, orders[axis])
        results.append(x)
    return results


@pytest.fixture(scope="module")
def layer() -> WeightSpaceLinear:
    torch.manual_seed(0)
    return WeightSpaceLinear(AXES, INPUTS, OUTPUTS).double()


def by_loop(layer: WeightSpaceLinear, given: list[torch.Tensor], target: int, place: dict[int, int]) -> torch.Tensor:
    """One entry of one array of the result."""
    total = 0
    subsets = [some for size in range(len(AXES[target]) + 1) for some in combinations(AXES[target], size)]
    for kept, linear in zip(subsets, layer.maps[target], strict=True):
        seen = []
        for x, axes in zip(given, AXES, strict=True):
            if not set(kept) <= set(axes):
                continue
            ranges = [[place[axis]] if axis in kept else range(SIZES[axis]) for axis in axes]
            entries = [x[(slice(None), *where)] for where in product(*ranges)]
            seen.append(sum(entries) / len(entries))
        total = total + linear(torch.cat(seen, -1))
    return total


def test_it_is_what_a_loop_says(layer):
    given = arrays(0)
    results = layer(given)
    for target, (axes, width) in enumerate(zip(AXES, OUTPUTS, strict=True)):
        assert results[target].shape == (2, *(SIZES[axis] for axis in axes), width)
        for where in product(*(range(SIZES[axis]) for axis in axes)):
            expected = by_loop(layer, given, target, dict(zip(axes, where, strict=True)))
            torch.testing.assert_close(results[target][(slice(None), *where)], expected)


def test_permutations_go_through(layer):
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        orders = {axis: torch.randperm(size, generator=generator) for axis, size in SIZES.items()}
        for got, expected in zip(layer(permuted(arrays(1), orders)), permuted(layer(arrays(1)), orders), strict=True):
            torch.testing.assert_close(got, expected)


def test_its_maps_are_all_there_are():
    """The number of parameters equals the number of orbits of pairs of entries under the permutations."""
    torch.manual_seed(0)
    layer = WeightSpaceLinear(AXES, [1] * 6, [1] * 6)

    def entries():
        for array, axes in enumerate(AXES):
            yield from ((array, where) for where in product(*(range(SIZES[axis]) for axis in axes)))

    def orbit(one, other):
        places = [dict(zip(AXES[array], where, strict=True)) for array, where in (one, other)]
        shared = sorted(places[0].keys() & places[1].keys())
        return one[0], other[0], tuple(places[0][axis] == places[1][axis] for axis in shared)

    orbits = {orbit(one, other) for one in entries() for other in entries()}
    weights = sum(parameter.numel() for name, parameter in layer.named_parameters() if name.endswith("weight"))
    assert weights == len(orbits)
    biases = sum(parameter.numel() for name, parameter in layer.named_parameters() if name.endswith("bias"))
    assert biases == len(AXES)


def test_signals_keep_their_size():
    torch.manual_seed(0)
    layer = WeightSpaceLinear(AXES, [32 * width for width in INPUTS], [32 * width for width in INPUTS])
    given = [x.repeat_interleave(32, -1).float() for x in arrays(2)]
    for x, y in zip(given, layer(given), strict=True):
        assert 0.1 < float(y.detach().std() / x.std()) < 3
