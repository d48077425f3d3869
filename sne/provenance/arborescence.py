"""The minimum spanning arborescence of a directed graph, for graphs of many nodes."""

import heapq
from collections.abc import Sequence
from typing import TypeAlias

Arc: TypeAlias = tuple[int, int, float]


def minimum_arborescence(num_nodes: int, root: int, arcs: Sequence[Arc]) -> list[int]:
    """Chooses one incoming arc per node, so that all nodes are reached from the root at the least total cost.

    Time is that of sorting the arcs, times the logarithm of the number of nodes; memory is proportional to the arcs.

    Args:
        num_nodes: Number of nodes, which are numbered from 0.
        root: The node without an incoming arc.
        arcs: Tail, head and cost of each arc. Every node can be reached from the root.

    Returns:
        Number of the arc that enters each node; -1 for the root.

    Example:
        >>> minimum_arborescence(3, 0, [(0, 1, 5.0), (0, 2, 5.0), (1, 2, 1.0), (2, 1, 1.0)])
        [-1, 0, 2]

    Source: Tarjan, "Finding optimum branchings", Networks 7 (1977).
    Differs: heaps are merged by inserting the smaller one into the larger one.
    """
    return _Contraction(num_nodes, root, arcs).entering()


class _Contraction:
    """Nodes, and cycles of cheapest arcs that were contracted to one node each.

    Args:
        num_nodes: Number of nodes.
        root: The root.
        arcs: Tail, head and cost of each arc.
    """

    def __init__(self, num_nodes: int, root: int, arcs: Sequence[Arc]) -> None:
        self._num_nodes, self._root, self._arcs = num_nodes, root, arcs
        self._within = list(range(num_nodes))  # what a node was contracted to, or itself; paths are shortened
        self._cycle = [-1] * num_nodes  # the cycle that a node is a member of
        self._chosen = [-1] * num_nodes
        self._cost = [0.0] * num_nodes  # of the chosen arc
        self._less = [0.0] * num_nodes  # by how much all arcs of a heap cost less than they say
        self._heaps: list[list[tuple[float, int]]] = [[] for _ in range(num_nodes)]
        for number, (_, head, cost) in enumerate(arcs):
            if head != root:
                self._heaps[head].append((cost, number))
        for heap in self._heaps:
            heapq.heapify(heap)

    def entering(self) -> list[int]:
        """Returns the arc that enters each node."""
        is_done = [False] * self._num_nodes
        is_done[self._root] = True
        for start in range(self._num_nodes):
            path: list[int] = []
            on_path: set[int] = set()
            node = self._top(start)
            while not is_done[node]:
                path.append(node)
                on_path.add(node)
                node = self._choose(node)
                if node in on_path:
                    members = path[path.index(node) :]
                    del path[-len(members) :]
                    on_path.difference_update(members)
                    node = self._contract(members)
                    is_done.append(False)
            for one in path:
                is_done[one] = True
        return self._expanded()

    def _top(self, node: int) -> int:
        """Returns the largest cycle that a node lies in, or the node."""
        top = node
        while self._within[top] != top:
            top = self._within[top]
        while self._within[node] != top:
            self._within[node], node = top, self._within[node]
        return top

    def _choose(self, node: int) -> int:
        """Chooses the cheapest arc from outside, and returns where it comes from."""
        while True:
            cost, number = heapq.heappop(self._heaps[node])
            tail = self._top(self._arcs[number][0])
            if tail != node:
                self._chosen[node], self._cost[node] = number, cost - self._less[node]
                return tail

    def _contract(self, members: Sequence[int]) -> int:
        """Makes a node of a cycle. An arc into a member costs what it costs more than the chosen one."""
        new = len(self._within)
        largest = max(members, key=lambda member: len(self._heaps[member]))
        heap, less = self._heaps[largest], self._less[largest] + self._cost[largest]
        for member in members:
            self._within[member] = self._cycle[member] = new
            if member != largest:
                shift = less - self._less[member] - self._cost[member]
                for cost, number in self._heaps[member]:
                    heapq.heappush(heap, (cost + shift, number))
                self._heaps[member] = []
        self._heaps[largest] = []
        self._within.append(new)
        self._cycle.append(-1)
        self._chosen.append(-1)
        self._cost.append(0.0)
        self._less.append(less)
        self._heaps.append(heap)
        return new

    def _expanded(self) -> list[int]:
        """Opens the cycles, the last one first: the arc into a cycle replaces that of the member that it enters."""
        for cycle in range(len(self._within) - 1, self._num_nodes - 1, -1):
            number = self._chosen[cycle]
            member = self._arcs[number][1]
            while self._cycle[member] != cycle:
                member = self._cycle[member]
            self._chosen[member] = number
        return self._chosen[: self._num_nodes]
