"""The minimum spanning arborescence."""

import itertools
import random

import networkx as nx
import pytest

from sne.provenance.arborescence import minimum_arborescence


def random_arcs(seed):
    """Arcs from a root to all nodes, and others among these; costs are often equal, or below zero."""
    draw = random.Random(seed)
    num_nodes = draw.randint(2, 14)
    arcs = [(0, node, draw.choice([2.0, 1.9, 3 * draw.random()])) for node in range(1, num_nodes)]
    for _ in range(draw.randint(0, 60)):
        tail, head = draw.randrange(1, num_nodes), draw.randrange(1, num_nodes)
        if tail != head:
            arcs.append((tail, head, draw.choice([-0.2, 0.1, draw.random()])))
    return num_nodes, arcs


@pytest.mark.parametrize("seed", range(100))
def test_the_cost_is_that_of_networkx(seed):
    num_nodes, arcs = random_arcs(seed)
    graph = nx.MultiDiGraph()
    graph.add_weighted_edges_from(arcs)
    expected = sum(cost for *_, cost in nx.minimum_spanning_arborescence(graph).edges(data="weight"))
    chosen = minimum_arborescence(num_nodes, 0, arcs)
    assert sum(arcs[number][2] for number in chosen[1:]) == pytest.approx(expected)
    tree = nx.DiGraph(arcs[number][:2] for number in chosen[1:])
    assert nx.is_arborescence(tree) and tree.number_of_nodes() == num_nodes


def test_cycles_within_cycles_are_opened():
    """Two pairs of nodes that prefer each other, and prefer the other pair to the root."""
    arcs = [(0, node, 10.0) for node in range(1, 5)]
    arcs += [(1, 2, 0.0), (2, 1, 0.0), (3, 4, 0.0), (4, 3, 0.0), (2, 3, 1.0), (4, 1, 1.0)]
    costs = [
        sum(arcs[number][2] for number in some)
        for some in itertools.product(*([i for i, arc in enumerate(arcs) if arc[1] == node] for node in range(1, 5)))
        if nx.is_arborescence(nx.DiGraph(arcs[number][:2] for number in some))
    ]
    assert sum(arcs[number][2] for number in minimum_arborescence(5, 0, arcs)[1:]) == min(costs)
