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
