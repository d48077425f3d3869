"""Pieces of parts cover each part once."""

import pytest
import torch

from sne import read_network


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
