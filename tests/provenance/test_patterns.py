"""Values that follow from places, such as constants and identities, show no common origin."""

import math
from collections.abc import Callable

import pytest
import torch
from provenance.descendants import noisy
from torch import Tensor, nn

from sne.provenance import compare, patterns
from sne.provenance.patterns import (
    has_common_waves,
    has_diagonal,
    have_common_peaks,
    is_table,
    looks_random,
    own_cosine,
)
from sne.provenance.relation import Relation

WIDTHS = (56, 64, 48, 40, 10)
State = dict[str, Tensor]
Table = Callable[[int, int], Tensor]


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random(rows: int, columns: int, seed: int) -> Tensor:
    return drawn(rows, columns, seed=seed) / columns**0.5


def sines(rows: int, columns: int) -> Tensor:
    frequencies = 10_000.0 ** -(torch.arange(columns // 2) / (columns // 2))
    angles = torch.arange(rows)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


def cosines(rows: int, columns: int) -> Tensor:
    return torch.cos(math.pi / rows * (torch.arange(rows)[:, None] + 0.5) * torch.arange(columns))


def hadamard(rows: int, columns: int) -> Tensor:
    found = torch.ones(1, 1)
    while len(found) < max(rows, columns):
        found = torch.cat([torch.cat([found, found], 1), torch.cat([found, -found], 1)])
    return found[:rows, :columns].clone()


def triangles(rows: int, columns: int) -> Tensor:
    centres = (1.5 + torch.arange(rows)) ** 1.2 * columns / (rows + 2) ** 1.2
    widths = (centres * 0.2 + 1)[:, None]
    return (1 - (torch.arange(columns) - centres[:, None]).abs() / widths).clamp_min(0) / widths


TABLES: dict[str, Table] = {
    "zeros": torch.zeros,
    "ones": torch.ones,
    "identity": torch.eye,
    "triangle": lambda rows, columns: torch.ones(rows, columns).tril(),
    "distances": lambda rows, columns: -(torch.arange(rows)[:, None] - torch.arange(columns)).abs().float(),
    "sines": sines,
    "cosines": cosines,
    "hadamard": hadamard,
    "filter bank": triangles,
}


def perceptron(seed: int, *made: Callable[[int, int, int], Tensor]) -> State:
    """A perceptron whose first matrices are made by functions of shape and seed, and whose last one is random."""
    state = {}
    for layer, make in enumerate((*made, random)):
        columns, rows = WIDTHS[len(WIDTHS) - 2 - len(made) + layer : len(WIDTHS) - len(made) + layer]
        state[f"{2 * layer}.weight"] = make(rows, columns, 100 * seed + layer)
        state[f"{2 * layer}.bias"] = 0.1 * drawn(rows, seed=100 * seed + 50 + layer)
    return state


def fixed(table: Table) -> Callable[[int, int, int], Tensor]:
    return lambda rows, columns, seed: table(rows, columns)


def near(table: Table, noise: float) -> Callable[[int, int, int], Tensor]:
    return lambda rows, columns, seed: table(rows, columns) + noise * drawn(rows, columns, seed=seed)


@pytest.mark.parametrize("name", TABLES)
def test_tables_do_not_look_random(name):
    assert is_table(TABLES[name](64, 48))
    assert not looks_random(TABLES[name](64, 48))


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.2, 0.5])
def test_a_part_of_the_lines_rules_out_no_table(noise, monkeypatch):
    tables = [make(64, 48) for make in TABLES.values()]
    samples = [table + noise * drawn(64, 48, seed=0) for table in tables]
    samples += [torch.cat([drawn(8, 48, seed=1), table[8:]]) for table in tables]
    samples += [sample.T for sample in samples]
    found = [is_table(sample) for sample in samples]
    monkeypatch.setattr(patterns, "PART_OF_LINES", 1000)  # the part is empty
    assert found == [is_table(sample) for sample in samples]
    assert any(found) and not all(found)


def test_windowed_waves_and_narrow_filter_banks_are_tables():
    window = torch.hann_window(512) * torch.cos(torch.arange(257)[:, None] * torch.arange(512) * 2 * math.pi / 512)
    assert is_table(window[:, :256])
    assert is_table(triangles(40, 257))


def test_weights_look_random():
    assert looks_random(drawn(64, 48, seed=0))
    assert looks_random(drawn(12, 12, seed=1))
    assert looks_random(1 + 0.01 * drawn(32, 32, seed=2))
    assert looks_random(drawn(64, 1, seed=3))
    assert looks_random(nn.init.orthogonal_(torch.empty(32, 32)))
    assert looks_random(drawn(64, 48, seed=4) * (drawn(64, 48, seed=5) > 1.3))  # nine tenths of the entries are zero
    assert looks_random(drawn(64, 48, seed=6).mul(10).round().clamp(-7, 7))


def test_rows_and_columns_of_zeros_make_no_band():
    values = drawn(64, 64, seed=0)
    values[:40] = 0
    values[:, 30:] = 0
    assert looks_random(values)


def test_diagonals_stand_out_at_any_position_of_a_kernel():
    kernels = 0.3 * drawn(16, 8, 9, seed=0)
    assert not has_diagonal(kernels.flatten(1), torch.arange(16), 9)
    kernels += nn.init.dirac_(torch.empty(16, 8, 3, 3)).flatten(2)
    assert has_diagonal(kernels.flatten(1), torch.arange(16), 9)
    spaced = torch.arange(0, 1024, 4)
    assert has_diagonal((torch.eye(1024) + 0.02 * drawn(1024, 1024, seed=1))[spaced, :256], spaced, 1)


@pytest.mark.parametrize("size", [0.003, 0.03])
@pytest.mark.parametrize("table", [torch.eye, torch.ones])
def test_own_cosine_is_that_of_what_is_not_shared(table, size):
    one, other = (table(48, 48) + size * drawn(48, 48, seed=seed) for seed in (0, 1))
    assert abs(own_cosine(one, other)) < 0.3
    assert own_cosine(one, one + 0.1 * size * drawn(48, 48, seed=2)) > 0.9


@pytest.mark.parametrize("hidden", [*TABLES, "random"])
@pytest.mark.parametrize("first", [*TABLES, "random"])
def test_networks_that_share_tables_alone_are_independent(first, hidden):
    made = [random if name == "random" else fixed(TABLES[name]) for name in (first, hidden, hidden)]
    found = compare(perceptron(0, *made), perceptron(1, *made))
    assert found.relation is Relation.INDEPENDENT
    assert not found.related


def waves_of_planes(size: int) -> Tensor:
    """A bank of cosine kernels: [kernels, 1, size, size]."""
    return torch.einsum("ia,jb->ijab", cosines(size, size).T, cosines(size, size).T).reshape(-1, 1, size, size)


def gabor(size: int, phase: float) -> Tensor:
    down, right = (place - (size - 1) / 2 for place in torch.meshgrid(*[torch.arange(size)] * 2, indexing="ij"))
    kernels = [
        torch.exp(-(down**2 + right**2) / (size / 2) ** 2)
        * torch.cos(frequency * (math.cos(angle) * right + math.sin(angle) * down) + phase)
        for frequency in (0.6, 1.2, 2.0)
        for angle in torch.arange(8).mul(math.pi / 8).tolist()
    ]
    return torch.stack(kernels)[:, None]


BANKS = {
    "cosines of 4 x 4": waves_of_planes(4),
    "cosines of 8 x 8": waves_of_planes(8),
    "cosines of three channels": waves_of_planes(8).expand(-1, 3, -1, -1),
    "rounded cosines": waves_of_planes(8).bfloat16().float(),
    "gabor of 5 x 5": gabor(5, 0.0),
    "gabor of 7 x 7": gabor(7, 0.7),
    "gabor of three channels": gabor(7, 0.0).expand(-1, 3, -1, -1),
}


def convolutional(seed: int, first: Tensor) -> State:
    channels = len(first)
    return {
        "conv1.weight": first,
        "conv2.weight": drawn(20, channels, 3, 3, seed=100 * seed),
        "conv2.bias": 0.1 * drawn(20, seed=100 * seed + 1),
        "fc.weight": drawn(10, 20, seed=100 * seed + 2),
    }


@pytest.mark.parametrize("name", BANKS)
def test_networks_that_share_kernels_of_waves_are_independent(name):
    kernels = BANKS[name]
    assert is_table(kernels.flatten(1), kernels.shape[2:])
    assert not compare(convolutional(0, kernels), convolutional(1, kernels)).related


@pytest.mark.parametrize("name", ["cosines of 8 x 8", "gabor of 5 x 5", "gabor of three channels"])
def test_networks_that_start_from_kernels_of_waves_are_independent(name):
    """Each has noise of its own, as after some training; what they have in common are waves."""
    kernels = BANKS[name]
    pair = [kernels + 0.1 * kernels.std() * drawn(*kernels.shape, seed=seed) for seed in (7, 8)]
    assert has_common_waves(pair[0].flatten(1), pair[1].flatten(1), kernels.shape[2:])
    assert not compare(convolutional(0, pair[0]), convolutional(1, pair[1])).related


def test_equal_kernels_with_random_values_show_a_common_origin():
    for size in (3, 4, 5, 8):
        kernels = drawn(24, 2, size, size, seed=size)
        for values in (kernels, kernels.half().float(), kernels.bfloat16().float(), kernels.repeat(1, 3, 1, 1)):
            assert looks_random(values.flatten(1), kernels.shape[2:])
        symmetric = kernels + kernels.flip(3)
        assert looks_random(symmetric.flatten(1), kernels.shape[2:])
        assert not has_common_waves(kernels.flatten(1), kernels.flatten(1), kernels.shape[2:])
    kernels = drawn(24, 1, 5, 5, seed=0)
    assert compare(convolutional(0, kernels), convolutional(1, kernels)).relation is Relation.PARTIAL


def test_signs_with_a_scale_per_row_look_random():
    signs = drawn(64, 48, seed=0).sign()
    scales = drawn(64, 1, seed=1).abs() + 0.1
    assert looks_random(signs * scales) and looks_random((signs * scales).T)
    assert not looks_random(signs) and not looks_random(signs[:, :1] * torch.ones(1, 48))


def test_quantised_weights_look_random():
    values = drawn(64, 48, seed=0)
    for piece in (values.reshape(1, -1), values, values.reshape(-1, 16)):
        for most in (127, 7):
            step = piece.abs().amax(1, keepdim=True) / most
            assert looks_random(((piece / step).round() * step).view_as(values))


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.1])
@pytest.mark.parametrize("table", [
    torch.eye(32).repeat_interleave(2, 0),
    torch.eye(32).repeat_interleave(2, 1) / 2,
    torch.eye(32).repeat(2, 1),
    torch.eye(16).repeat(3, 3) * 0.3,
    torch.cat([torch.eye(32), -torch.eye(32)]),
    torch.eye(64).flip(0),
], ids=["doubled rows", "means", "stacked", "tiled", "both signs", "turned"])  # fmt: skip
def test_networks_that_share_repeated_identities_are_independent(table, noise):
    def state(seed: int) -> State:
        start = table + noise * drawn(*table.shape, seed=100 * seed + 9)
        rest = [random(48, len(table), 100 * seed), random(32, 48, 100 * seed + 1), random(10, 32, 100 * seed + 2)]
        return {f"{2 * number}.weight": values for number, values in enumerate([start, *rest])}

    assert not compare(state(0), state(1)).related


def test_weights_have_no_common_peaks():
    one, other = drawn(64, 48, seed=0), drawn(64, 48, seed=1)
    assert not have_common_peaks(one, one + 0.1 * other)
    pruned = one * (one.abs() > 1.3)
    assert not have_common_peaks(pruned, pruned)


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("first", ["random", "identity", "sines"])
def test_networks_that_start_near_identities_are_independent(first, noise):
    made = [random if first == "random" else fixed(TABLES[first]), *[near(torch.eye, noise)] * 2]
    assert not compare(perceptron(0, *made), perceptron(1, *made)).related


def test_children_of_networks_near_identities_are_found():
    parent = perceptron(0, random, near(torch.eye, 0.1), near(torch.eye, 0.1))
    assert compare(parent, noisy(parent, 0.02)).relation is Relation.FINE_TUNE
    head = {**parent, "6.weight": random(10, 40, 77)}
    assert compare(parent, head).relation is Relation.PARTIAL


def test_matrices_near_constants_are_independent():
    one, other = ({f"{i}.weight": 1 + 0.1 * drawn(64, 64, seed=10 * s + i) for i in range(4)} for s in (0, 1))
    assert not compare(one, other).related
    assert compare(one, {name: values + 0.01 for name, values in one.items()}).related


def test_convolutions_that_start_as_identities_are_independent():
    def state(seed: int) -> State:
        found = {"c1.weight": torch.empty(16, 3, 3, 3), "c2.weight": torch.empty(20, 16, 3, 3)}
        for number, (name, values) in enumerate(found.items()):
            found[name] = nn.init.dirac_(values) + 0.01 * drawn(*values.shape, seed=10 * seed + number)
        return {**found, "fc.weight": drawn(10, 20, seed=10 * seed + 5)}

    assert not compare(state(0), state(1)).related


@pytest.mark.parametrize("change", [
    lambda state: {**state, "further.weight": drawn(32, 32, seed=9)},
    lambda state: {name: values.half() for name, values in state.items()},
    lambda state: {name: values * (torch.arange(32) > 9) for name, values in state.items()},
    lambda state: {**state, "a.weight": state["a.weight"] + 1},
    lambda state: {**state, "a.weight": torch.outer(drawn(32, seed=1), drawn(32, seed=2)) + state["a.weight"]},
    lambda state: {**state, "a.bias": drawn(32, seed=3)},
])  # fmt: skip
@pytest.mark.parametrize("table", [torch.eye, lambda rows, columns: torch.full((rows, columns), 1 / 3)])
def test_operations_on_constants_and_identities_show_nothing(table, change):
    state = {"a.weight": table(32, 32), "a.bias": torch.full((32,), 0.1), "b.weight": 0.3 * table(32, 32)}
    for found in (compare(state, change(state)), compare(change(state), state)):
        assert found.relation is Relation.INDEPENDENT


def test_equal_values_are_identical_whatever_they_are():
    state = {"a.weight": torch.eye(32), "a.bias": torch.zeros(32), "n.weight": torch.ones(32)}
    assert compare(state, dict(state)).relation is Relation.IDENTICAL


def test_smaller_tables_are_not_pruned_larger_ones():
    large, small = ({"a.weight": torch.eye(size), "b.weight": sines(size, size)} for size in (64, 32))
    assert not compare(large, small).related
    cut = {"a.weight": torch.eye(32), "b.weight": large["b.weight"][:32, :32].clone()}
    assert not compare(large, cut).related


def test_constants_are_no_merge_of_constants():
    states = [
        {"a.weight": torch.full((8, 8), value), "b.bias": torch.full((8,), value + 0.1)} for value in (0.2, 0.1, 0.4)
    ]
    assert compare(*states).relation is not Relation.MERGE
    parents = [{"a.weight": drawn(8, 8, seed=seed)} for seed in (0, 1)]
    mean = {"a.weight": (parents[0]["a.weight"] + parents[1]["a.weight"]) / 2}
    assert compare(mean, *parents).relation is Relation.MERGE


@pytest.mark.parametrize("shape", [(1, 1), (1, 16), (2, 2)])
def test_tiny_networks_of_which_some_values_agree_are_independent(shape):
    one, other = ({f"{i}.weight": drawn(*shape, seed=10 * seed + i) for i in range(3)} for seed in (0, 1))
    other["0.weight"] = torch.ones(shape)
    one["0.weight"] = torch.ones(shape)
    assert not compare(one, other).related
    assert not compare({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, {"a": torch.tensor(1.0)}).related
