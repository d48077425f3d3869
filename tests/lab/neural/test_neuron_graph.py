"""The neuron graph of a network: shared nodes, edges, and refusals."""

from collections import Counter

import pytest
import torch
from neural_cases import Known
from oracles import handmade
from torch import nn

from sne import read_network
from sne.lab.neural import CannotTakeError
from sne.lab.neural.graph_batch import plan_of
from sne.lab.neural.neuron_graph import MEMBERSHIP, NeuronGraph, NodeKind, neuron_graph
from sne.making import FAMILIES
from sne.networks import Network
from sne.symmetry import Group, Span, Symmetry

MANY = 1 << 20


def graph_of(source, symmetry=None) -> NeuronGraph:
    read = read_network(source)
    if symmetry is not None:
        tensors = {name: read.source.load(name) for name in read.source.infos}
        read = Network(read.name, read.layers, Known(tensors, symmetry), read.notes)
    return neuron_graph(read, max_edges=MANY)


def family(name: str, **hyperparameters) -> nn.Module:
    drawn = {"activation": "relu", "dropout": 0.0, "depth": 2, "width": 4, "cell": "gru", **hyperparameters}
    return FAMILIES[name].module(drawn, (1, 28, 28), 10)


def sizes(graph: NeuronGraph, kind: NodeKind) -> list[int]:
    return sorted(one.size for one in graph.sets if one.kind == kind)


def test_a_plain_stack_is_a_chain():
    graph = graph_of(
        nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)).state_dict()
    )
    assert sizes(graph, NodeKind.MOVED) == [6, 7]
    assert sizes(graph, NodeKind.INPUT) == [5] and sizes(graph, NodeKind.OUTPUT) == [3]
    assert [tuple(one.entries.shape) for one in graph.edges] == [(7, 5, 1), (6, 7, 1), (3, 6, 1)]
    for before, after in zip(graph.edges, graph.edges[1:], strict=False):
        assert after.from_set == before.to_set
    assert [one.node_set for one in graph.vectors] == [one.to_set for one in graph.edges]
    assert sum(one.size for one in graph.sets) == 21 and plan_of(graph).num_edges == 35 + 42 + 18


def test_kernels_and_flattened_positions_are_channels_of_edges():
    graph = graph_of(family("cnn_s").state_dict())
    assert (20, 4, 9) in [tuple(one.entries.shape) for one in graph.edges]
    assert (6, 8, 25) in [tuple(one.entries.shape) for one in graph.edges]


def test_a_residual_stream_is_one_set():
    from sne.symmetry import trace

    module = family("residual_cnn", depth=2).eval()
    graph = graph_of(module, trace(module, (torch.zeros(1, 1, 28, 28),)))
    written = Counter(one.to_set for one in graph.edges)
    assert sorted(written.values())[-2:] == [3, 3]  # stem and two blocks; two blocks and the shortcut
    widths = {number: one.size for number, one in enumerate(graph.sets)}
    assert all(widths[one.to_set] == one.entries.shape[0] for one in graph.edges)
    assert all(widths[one.from_set] == one.entries.shape[1] for one in graph.edges)


def test_heads_are_nodes_with_members():
    from sne.symmetry import trace

    module = family("vit").eval()
    graph = graph_of(module, trace(module, (torch.zeros(1, 1, 28, 28),)))
    assert sizes(graph, NodeKind.HEAD) == [2, 2]
    members = [one for one in graph.edges if one.kind == MEMBERSHIP]
    assert len(members) == 4  # queries with keys, values with outputs, in two blocks
    for one in members:
        assert one.entries.shape == (2, 32, 1) and torch.equal(one.entries.sum(0), torch.ones(32, 1, dtype=torch.int64))


def test_every_weight_is_there_once():
    for name in ("mlp", "cnn_s", "gru", "residual_cnn", "vit"):
        module = family(name, width=8) if name == "gru" else family(name, width=8, taper=1.0)
        read = read_network(module.state_dict())
        graph = neuron_graph(read, max_edges=MANY)
        entries: dict[str, list[torch.Tensor]] = {}
        for one in (*graph.edges, *graph.vectors):
            if one.kind != MEMBERSHIP:
                entries.setdefault(one.tensor, []).append(one.entries.flatten())
        used = {part.tensor for _, part in read.parts()}
        assert entries.keys() == used
        for tensor, several in entries.items():
            count = read.source.infos[tensor].num_entries
            assert torch.equal(torch.cat(several).long().sort().values, torch.arange(count)), f"{name}: {tensor}"


def test_values_are_read_in_the_order_of_the_plan():
    module = family("cnn_s")
    read = read_network(module.state_dict())
    plan = plan_of(neuron_graph(read, max_edges=MANY))
    values = plan.read(read)
    assert len(values) == plan.num_values == read.num_weights
    stack = next(one for one in plan.edges if one.shape == (1, 20, 4, 9))
    block = values[stack.start : stack.start + stack.num_values].view(20, 4, 9)
    assert torch.equal(block, module.layers[3].weight.detach().view(20, 4, 9))


def test_one_layout_is_worked_out_once():
    first, second = (read_network(family("small_cnn").state_dict()) for _ in range(2))
    graph = neuron_graph(first, max_edges=MANY)
    assert graph is neuron_graph(second, max_edges=MANY) and plan_of(graph) is plan_of(graph)
    other = read_network(family("cnn_s").state_dict())
    assert neuron_graph(other, max_edges=MANY) is not graph


def test_without_a_symmetry_axes_are_apart():
    state = {"a.weight": torch.ones(4, 4), "a.bias": torch.ones(4), "b.weight": torch.ones(4, 4)}
    graph = graph_of(state, Symmetry())
    assert sizes(graph, NodeKind.MOVED) == []
    assert sizes(graph, NodeKind.INPUT) == [4, 4] and sizes(graph, NodeKind.OUTPUT) == [4, 4]
    assert graph.vectors[0].node_set == graph.edges[0].to_set


def test_a_cut_through_neurons_that_trade_places_is_not_made():
    """Queries, keys and values are stored head by head, so the usual cut into three would cut through heads."""
    state = {"attn.qkv.weight": torch.randn(12, 5), "attn.proj.weight": torch.randn(4, 4)}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    heads = Group(
        "heads", 2, (Span("attn.qkv.weight", 0, inner=6), Span("attn.proj.weight", 1, inner=2)), ("permutation",)
    )
    graph = graph_of(state, Symmetry((heads,), (), shapes))
    fused = [one for one in graph.edges if one.tensor == "attn.qkv.weight"]
    assert [tuple(one.entries.shape) for one in fused] == [(2, 5, 6)]


def test_what_cannot_be_read_is_refused():
    read = read_network(family("mlp", taper=1.0).state_dict())
    with pytest.raises(CannotTakeError, match="6416 edges between neurons, expected at most 3000"):
        neuron_graph(read, max_edges=3000)
    with pytest.raises(CannotTakeError, match="hollow: no weights"):
        neuron_graph(Network("hollow", (), handmade.TensorsInMemory({})), max_edges=MANY)
    with pytest.raises(CannotTakeError, match="no matrix"):
        graph_of({"norm.weight": torch.ones(4), "norm.bias": torch.ones(4)})


def test_three_moving_axes_are_refused():
    state = {"both.weight": torch.ones(3, 4, 5)}
    groups = tuple(Group(f"g{dim}", 3 + dim, (Span("both.weight", dim),), ("permutation",)) for dim in range(3))
    with pytest.raises(CannotTakeError, match=r"both.weight, expected at most two axes"):
        graph_of(state, Symmetry(groups, (), {"both.weight": (3, 4, 5)}))


def test_a_symmetry_of_another_network_is_refused():
    group = Group("g", 6, (Span("a.weight", 0),), ("permutation",))
    with pytest.raises(CannotTakeError, match="belongs to another network"):
        graph_of({"a.weight": torch.ones(4, 4)}, Symmetry((group,), (), {"a.weight": (6, 4)}))
