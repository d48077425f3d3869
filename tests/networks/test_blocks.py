"""Pieces of parts cover each part once."""

import pytest
import torch

from sne import read_network
from sne.networks import Network, Part, Role


@pytest.mark.parametrize("most", [1, 7, 40, 10_000])
def test_blocks_cover_a_part_once_and_stay_within_the_limit(most: int) -> None:
    network = read_network({"conv.weight": torch.randn(6, 5, 3, 3), "conv.bias": torch.randn(6)})
    for _, part in network.parts():
        covered = torch.full(part.arranged_shape, float("nan"))
        for block in network.read_blocks(part, most):
            assert covered[block.rows, block.columns].isnan().all()
            covered[block.rows, block.columns] = block.values
            assert block.values.numel() <= max(most, part.arranged_shape[2])
        assert torch.equal(covered, network.read(part))


@pytest.mark.parametrize("most", [1, 7, 40, 100])
def test_aligned_blocks_cut_no_run_of_entries(most: int) -> None:
    network = read_network(
        {"fc.weight": torch.randn(6, 50), "fc.bias": torch.randn(50), "conv.weight": torch.randn(9, 9, 3)}
    )
    for _, part in network.parts():
        covered = torch.zeros(part.arranged_shape)
        for block in network.read_blocks(part, most, align=4):
            assert block.columns.start % 4 == 0
            assert part.arranged_shape[1] > 1 or block.rows.start % 4 == 0
            assert block.values.numel() <= max(most, 4 * part.arranged_shape[2])
            covered[block.rows, block.columns] += 1
        assert (covered == 1).all()


def test_samples_of_parts_without_neurons_are_empty() -> None:
    source = read_network({"a.weight": torch.randn(3, 4), "b.weight": torch.zeros(0, 4)}).source
    network = Network("a", (), source)
    none = torch.empty(0, dtype=torch.int64)
    for part in (Part("b.weight", Role.WEIGHT, (0, 4), in_axis=1), Part("a.weight", Role.WEIGHT, (0, 4), 0, 1, axis=0)):
        for rows, columns in ((None, None), (none, None), (None, torch.tensor([2, 0])), (none, none)):
            expected = (0, 4 if columns is None else len(columns), 1)
            assert network.read_sample(part, rows, columns).shape == expected


def test_neurons_that_follow_one_another_are_read_at_once() -> None:
    network = read_network({"fc.weight": torch.randn(9, 5), "fc.bias": torch.randn(9)})
    ranges = []

    class Recorded:
        def __init__(self) -> None:
            self.name, self.infos, self.load = network.name, network.source.infos, network.source.load

        def load_range(self, name: str, start: int, stop: int) -> torch.Tensor | None:
            ranges.append((name, start, stop))
            return network.source.load(name).reshape(-1)[start:stop]

    recorded = Network("a", network.layers, Recorded())
    for _, part in recorded.parts():
        sample = recorded.read_sample(part, torch.tensor([2, 3, 4, 8, 0]), None)
        assert torch.equal(sample, network.read(part)[[2, 3, 4, 8, 0]])
    assert ranges == [
        ("fc.weight", 10, 25), ("fc.weight", 40, 45), ("fc.weight", 0, 5),
        ("fc.bias", 2, 5), ("fc.bias", 8, 9), ("fc.bias", 0, 1),
    ]  # fmt: skip
