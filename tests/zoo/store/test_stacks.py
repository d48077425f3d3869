"""Parts of many networks read at once are those read one by one."""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sne import ZooError, read_network
from sne.networks import Network, Part, Role, TensorInfo, read_stack
from sne.symmetry import canonicalize
from sne.zoo import Zoo, ZooWriter


def write(folder: Path, *, count: int = 12, shard_bytes: int = 4000, storage: str = "float32") -> Zoo:
    """Networks of two layouts that take turns, over several shards."""
    torch.manual_seed(0)
    with ZooWriter(folder, shard_bytes=shard_bytes, storage=storage) as writer:
        for i in range(count):
            width = 4 + i // 5 % 2
            state = {
                "conv.weight": torch.randn(width, 3, 2, 2), "up.weight": torch.randn(4, 6, 2, 2),
                "up.bias": torch.randn(6), "attn.in_proj_weight": torch.randn(12, 4),
                "h.0.attn.c_attn.weight": torch.randn(4, 12), "h.0.attn.c_attn.bias": torch.randn(12),
            }  # fmt: skip
            writer.add(
                id=f"n{i}",
                run=f"r{i}",
                family="a",
                dataset="toy",
                step=0,
                state=state,
                properties={},
                hyperparameters={},
            )
    return Zoo.open(folder)


def assert_stacks_equal_single_reads(networks: list[Network]) -> None:
    for _, part in networks[0].parts():
        stack = read_stack(networks, part)
        assert stack.dtype == torch.float32
        assert torch.equal(stack, torch.stack([network.read(part) for network in networks]))


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_rows_in_any_order(storage, tmp_path):
    zoo = write(tmp_path / "zoo", storage=storage)
    assert len({zoo.table["shard"][i].as_py() for i in range(len(zoo))}) > 1
    rows = [row for row in range(len(zoo)) if row // 5 % 2 == 0]
    assert_stacks_equal_single_reads(zoo.networks(rows))
    assert_stacks_equal_single_reads(zoo.networks(rows[::-1]))
    random.Random(0).shuffle(rows)
    assert_stacks_equal_single_reads(zoo.networks([*rows, rows[0], rows[0]]))
    assert_stacks_equal_single_reads([zoo.network(6)])


def test_neighbours_are_read_at_once(tmp_path, monkeypatch):
    zoo = write(tmp_path / "zoo", shard_bytes=10**6)
    networks, calls = zoo.networks(range(5)), []
    vector = zoo._shards.vector
    monkeypatch.setattr(zoo._shards, "vector", lambda *place: calls.append(place) or vector(*place))
    read_stack(networks, networks[0].layers[0].parts[0])
    assert len(calls) == 1


def test_a_stack_can_be_changed(tmp_path):
    zoo = write(tmp_path / "zoo")
    part = zoo.network(0).layers[0].parts[0]
    expected = zoo.network(0).read(part)
    read_stack(zoo.networks([0, 1]), part).zero_()
    assert torch.equal(zoo.network(0).read(part), expected)


def test_other_weights_are_read(tmp_path):
    zoo = write(tmp_path / "zoo")
    changed = zoo.with_weights({1: torch.randn(zoo.num_weights(1))})
    assert_stacks_equal_single_reads(changed.networks(range(5)))
    assert_stacks_equal_single_reads([zoo.network(0), changed.network(1), zoo.network(2)])


def test_networks_of_other_sources(tmp_path):
    zoo = write(tmp_path / "zoo")
    network = zoo.network(0)
    state = {name: network.source.load(name) for name in network.source.infos}
    assert_stacks_equal_single_reads([network, read_network(state)])
    assert_stacks_equal_single_reads([read_network(state), network])
    assert_stacks_equal_single_reads([canonicalize(one) for one in zoo.networks([0, 1])])


def test_a_damaged_row_is_an_error(tmp_path):
    zoo = write(tmp_path / "zoo")
    networks = zoo.networks([0, 1])
    zoo._row_offsets[1] = 10**9
    with pytest.raises(ZooError, match="asked for"):
        read_stack(networks, networks[0].layers[0].parts[0])


class _Fixed:
    """A source with one tensor."""

    name = "fixed"

    def __init__(self, values: Tensor) -> None:
        self._values = values

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        return {"qkv": TensorInfo("qkv", tuple(self._values.shape), "float32")}

    def load(self, name: str) -> Tensor:
        return self._values


def test_parts_that_repeat_are_arranged_as_one_by_one():
    for shape, axis, in_axis in (((6, 5), 0, 1), ((5, 6), 1, 0)):
        stored = torch.randn(3, *(18 if a == axis else size for a, size in enumerate(shape)))
        part = Part("qkv", Role.WEIGHT, shape, out_axis=axis, in_axis=in_axis, axis=axis, start=2, run=2, step=6)
        expected = torch.stack([Network("a", (), _Fixed(values)).read(part) for values in stored])
        assert torch.equal(part.arrange_stack(stored), expected)
