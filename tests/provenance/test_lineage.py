"""The forest of parents and children: exact operations, training, merges, copies, strangers."""

import itertools
import json

import networkx as nx
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sne import ProvenanceError
from sne.provenance.lineage import _nearest, lineage
from sne.provenance.relation import Relation
from sne.provenance.steps import Kinship, possible_steps
from sne.work import ProcessPool


def tuned(state, seed):
    """Changes a network as further training does: all weights a little, and biases away from zero."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, values in state.items():
        noise = torch.randn(values.shape, generator=generator)
        made[name] = values + 0.15 * values.std() * noise if values.ndim > 1 else 1.5 * values + 0.02 * noise
    return made


def network(seed):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 4))
    return {name: values.detach() for name, values in module.state_dict().items()}


def quantised(state):
    made = dict(state)
    for name, values in state.items():
        if values.ndim > 1:
            step = values.abs().amax(1, keepdim=True) / 127
            made[name] = (values / step).round() * step
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A root, what was made of it, and a stranger."""
    folder = tmp_path_factory.mktemp("lineage")
    root = network(0)
    other, long = tuned(root, 1), tuned(root, 2)
    further = tuned(other, 3)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(1))
    states = {
        "root": root,
        "other": other,
        "further": further,
        "long": long,
        "merge": {name: 0.7 * values + 0.3 * other[name] for name, values in long.items()},
        "half": {name: values.half() for name, values in root.items()},
        "int8": quantised(root),
        "other_half": {name: values.half() for name, values in other.items()},
        "pruned": {
            name: values * (values.abs() > values.abs().median()) if values.ndim > 1 else values
            for name, values in root.items()
        },
        "permuted": {
            **root,
            "0.weight": root["0.weight"][order],
            "0.bias": root["0.bias"][order],
            "2.weight": root["2.weight"][:, order],
        },
        "stranger": network(5),
    }
    for name, state in states.items():
        save_file({key: values.contiguous() for key, values in state.items()}, folder / f"{name}.safetensors")
    return folder


def raise_error(path, error):
    raise AssertionError(f"{path}: {error}")


@pytest.fixture(scope="module")
def found(folder):
    return lineage([str(path) for path in sorted(folder.iterdir())], errors=raise_error)


def short(path):
    return path.rpartition("/")[2].removesuffix(".safetensors")


def test_parents_are_found(found):
    edges = {short(edge.child): (short(edge.parent), edge.relation) for edge in found.edges}
    assert edges.pop("merge") in (("long", Relation.MERGE), ("other", Relation.MERGE))
    assert edges == {
        "half": ("root", Relation.PRECISION),
        "int8": ("root", Relation.PRECISION),
        "pruned": ("root", Relation.PRUNED),
        "permuted": ("root", Relation.SAME_FUNCTION),
        "other": ("root", Relation.FINE_TUNE),
        "long": ("root", Relation.FINE_TUNE),
        "further": ("other", Relation.FINE_TUNE),
        "other_half": ("other", Relation.PRECISION),
    }
    assert [short(root) for root in found.roots] == ["root", "stranger"]


def test_pruned_copies_without_their_original_are_no_children_of_each_other(tmp_path):
    root = network(0)
    for seed in range(2):
        torch.manual_seed(seed)
        state = {name: values * (torch.rand_like(values) > 0.4) for name, values in root.items()}
        save_file(state, tmp_path / f"{seed}.safetensors")
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    found = lineage(paths, errors=raise_error)
    assert not found.edges and found.twins == (tuple(paths),)
    save_file(root, tmp_path / "root.safetensors")
    found = lineage([*paths, str(tmp_path / "root.safetensors")], errors=raise_error)
    assert {short(edge.parent) for edge in found.edges} == {"root"} and len(found.edges) == 2


def test_merges_have_both_parents_and_weights(found):
    edge = next(edge for edge in found.edges if short(edge.child) == "merge")
    other, weight = edge.merged_with
    weights = {short(edge.parent): 1 - weight, short(other): weight}
    assert weights == {"long": pytest.approx(0.7, abs=1e-3), "other": pytest.approx(0.3, abs=1e-3)}


def test_merges_of_merges_make_no_circles(tmp_path):
    root = network(0)
    one, other = tuned(root, 1), tuned(root, 2)
    states = {"root": root, "one": one, "other": other}
    for name, weight in (("mostly_one", 0.8), ("mostly_other", 0.2)):
        states[name] = {key: weight * values + (1 - weight) * other[key] for key, values in one.items()}
    for name, state in states.items():
        save_file({key: values.contiguous() for key, values in state.items()}, tmp_path / f"{name}.safetensors")
    found = lineage([str(path) for path in sorted(tmp_path.iterdir())], errors=raise_error)
    assert nx.is_directed_acyclic_graph(found.to_graph())


def test_a_merge_without_the_common_root_is_no_parent(tmp_path):
    root = network(0)
    one, other = tuned(root, 1), tuned(root, 2)
    merge = {key: 0.6 * values + 0.4 * other[key] for key, values in one.items()}
    for name, state in {"one": one, "other": other, "merge": merge}.items():
        save_file({key: values.contiguous() for key, values in state.items()}, tmp_path / f"{name}.safetensors")
    found = lineage([str(path) for path in sorted(tmp_path.iterdir())], errors=raise_error)
    assert nx.is_directed_acyclic_graph(found.to_graph())
    assert all(short(edge.parent) != "merge" for edge in found.edges)
    (edge,) = [edge for edge in found.edges if short(edge.child) == "merge"]
    assert edge.relation is Relation.MERGE and short(edge.parent) == "one"


def checkpoints(module, order, steps):
    """Trains a network to tell 4 classes; yields its state before training, and after each so many steps."""
    inputs = torch.randn(512, 16, generator=torch.Generator().manual_seed(7))
    classes = (inputs[:, :4] * inputs[:, 4:8]).argmax(1)
    draws = torch.Generator().manual_seed(order)
    optimiser = torch.optim.Adam(module.parameters(), lr=3e-3)
    for step in range(max(steps) + 1):
        if step in steps:
            yield {name: values.detach().clone() for name, values in module.state_dict().items()}
        rows = torch.randint(len(inputs), (64,), generator=draws)
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(inputs[rows]), classes[rows]).backward()
        optimiser.step()


def fresh():
    """A network before training, whose biases are zero."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 4))
    for name, values in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(values)
    return module


@pytest.mark.parametrize("steps", [(0, 40, 80, 120, 160, 200), (10, 20, 40, 80, 160, 320), (200, 240, 280, 320)])
def test_checkpoints_of_one_run_make_a_chain(tmp_path, steps):
    for step, state in zip(steps, checkpoints(fresh(), 1, steps), strict=True):
        save_file(state, tmp_path / f"{997 * step % 1000}-{step}.safetensors")  # names tell nothing of the order
    found = lineage([str(path) for path in sorted(tmp_path.iterdir())], errors=raise_error)
    edges = sorted(
        (int(short(edge.parent).split("-")[1]), int(short(edge.child).split("-")[1])) for edge in found.edges
    )
    assert edges == list(itertools.pairwise(steps))


def test_of_networks_that_were_trained_equally_far_from_one_start_none_is_the_parent(tmp_path):
    for order in (1, 2):
        (state,) = checkpoints(fresh(), order, (300,))
        save_file(state, tmp_path / f"order{order}.safetensors")
        half = {name: values.half() for name, values in state.items()}
        save_file(half, tmp_path / f"half{order}.safetensors")
    found = lineage([str(path) for path in sorted(tmp_path.iterdir())], errors=raise_error)
    assert {(short(edge.parent), short(edge.child)) for edge in found.edges} == {
        ("order1", "half1"),
        ("order2", "half2"),
    }
    assert ("order1", "order2") in [tuple(map(short, pair)) for pair in found.twins]


def test_confidence_is_one_only_where_values_tell(found):
    for edge in found.edges:
        if edge.relation in (Relation.PRECISION, Relation.PRUNED, Relation.MERGE):
            assert edge.confidence == 1
        else:
            assert edge.confidence < 1


def test_descendants_come_after_their_parents(found):
    root = found.roots[0]
    below = [short(name) for name in found.descendants(root)]
    assert len(below) == 9 and below.index("other") < below.index("further")


def test_the_graph_is_written_and_read_again(found, tmp_path):
    graph = found.to_graph()
    assert graph.number_of_edges() == len(found.edges) + 1  # the merge has two parents
    nx.write_graphml(graph, tmp_path / "graph.graphml")
    assert nx.read_graphml(tmp_path / "graph.graphml").number_of_edges() == graph.number_of_edges()
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert len(plain["edges"]) == 9 and plain["roots"] == list(found.roots)


def test_labels_of_mermaid_are_escaped():
    from sne.provenance.forest import Edge
    from sne.provenance.lineage import Lineage

    edge = Edge('a"<b>', "c", Relation.PRUNED, None, 0.0, 1.0)
    text = Lineage(('a"<b>', "c"), (edge,), ()).to_mermaid()
    assert text.splitlines()[1] == '    n0["a#34;#60;b#62;"]' and '-->|"pruned"|' in text


def test_worker_processes_find_the_same(folder, found):
    again = lineage([str(path) for path in sorted(folder.iterdir())], errors=raise_error, executor=ProcessPool(2))
    assert again.to_json() == found.to_json()


def test_unreadable_files_are_named_and_left_out(folder, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no network")
    said = []
    paths = [str(folder / "root.safetensors"), str(folder / "half.safetensors"), str(broken)]
    found = lineage(paths, errors=lambda path, error: said.append(path))
    assert said == [str(broken)] and len(found.networks) == 2 and len(found.edges) == 1


def test_single_and_unrelated_networks_have_no_parents(folder):
    alone = lineage([str(folder / "root.safetensors")], errors=raise_error)
    assert alone.edges == () and len(alone.roots) == 1
    two = lineage([str(folder / f"{name}.safetensors") for name in ("root", "stranger")], errors=raise_error)
    assert two.edges == () and len(two.roots) == 2
    assert lineage([], errors=raise_error).networks == ()


def test_too_many_networks_are_refused(monkeypatch):
    monkeypatch.setattr("sne.provenance.lineage.MOST_NETWORKS", 3)
    with pytest.raises(ProvenanceError, match="4 networks, expected at most 3"):
        lineage(["a.pt", "b.pt", "c.pt", "d.pt"], errors=lambda path, error: pytest.fail(path))


def test_nearest_are_those_of_a_loop_in_blocks_of_any_size(monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = np.square(vectors[:, None] - vectors).sum(2)
    np.fill_diagonal(distances, np.inf)
    expected = [set(row) for row in distances.argsort(1)[:, :4].tolist()]
    for most in (10, 700, 10**6):
        monkeypatch.setattr("sne.provenance.lineage.MOST_DISTANCES", most)
        for is_cosine in (True, False):
            assert [set(row) for row in _nearest(vectors, 4, is_cosine=is_cosine)] == expected


def test_networks_that_were_trained_equally_far_cost_what_a_fine_tune_does():
    def cost(relation, is_even):
        found = Kinship(relation, None, 0.0, 1e-9, 0.01, False, False, False, 0.0, is_even)
        return possible_steps({("a", "b"): found})["a", "b"].cost

    assert cost(Relation.SAME_START, True) == cost(Relation.FINE_TUNE, False) < cost(Relation.SAME_START, False)
