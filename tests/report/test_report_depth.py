"""Folding keeps every layer, once and in order, and folds what repeats."""

from itertools import pairwise

import torch
from report.report_checkpoints import transformer_state
from torch import nn

from sne import read_network
from sne.report.depth import fold
from sne.report.drawing import MOST_COLUMNS, draw_depth


def names_in_order(blocks):
    return [name for block in blocks for turn in block.turns for column in turn for name in column.names]


def test_every_layer_stands_once_and_in_order():
    for network in (
        read_network(transformer_state(5)),
        read_network(nn.Sequential(*(nn.Linear(4 + n % 3, 4 + (n + 1) % 3) for n in range(11)))),
        read_network(nn.Linear(3, 2)),
    ):
        assert names_in_order(fold(network.layers)) == [layer.name for layer in network.layers]


def test_blocks_of_a_transformer_are_folded_whole():
    blocks = fold(read_network(transformer_state(40)).layers)
    assert [(block.times, len(block.columns)) for block in blocks] == [(1, 1), (40, 6), (1, 1)]
    assert blocks[1].columns[0].names == ("h.0.ln_1",)
    assert blocks[1].names_at(5)[-1] == "h.39.mlp.c_proj"


def test_layers_of_other_sizes_are_not_folded():
    widths = [4, 8, 16, 32, 64]
    net = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))
    assert [block.times for block in fold(read_network(net).layers)] == [1]


def test_layers_side_by_side_that_are_alike_share_a_cell():
    state = {"mlp.gate.weight": torch.randn(6, 4)}
    state |= {f"mlp.experts.{n}.w1.weight": torch.randn(8, 4) for n in range(6)}
    state |= {f"mlp.experts.{n}.w2.weight": torch.randn(4, 8) for n in range(6)}
    (block,) = fold(read_network(state).layers)
    assert [[cell.count for cell in column.cells] for column in block.columns] == [[1], [6], [6]]
    assert block.columns[1].num_weights == 6 * 32


def test_a_deep_network_of_different_layers_is_drawn_in_part():
    state = {f"layers.{n}.weight": torch.zeros(n + 2, n + 1) for n in range(MOST_COLUMNS + 7)}
    drawn = draw_depth(fold(read_network(state).layers), {"layers.3": "bad"})
    assert drawn.count('<svg width="20"') == MOST_COLUMNS and "7 levels not drawn" in drawn
    assert drawn.count("mark-bad") == 1
