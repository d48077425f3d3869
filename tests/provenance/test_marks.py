"""Marks find networks with equal values and other sizes."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sne import Predictor, ProvenanceError, Relation, read_network
from sne.provenance.fingerprint import LEAST_MARKS, MARKS, fingerprint
from sne.provenance.index import SETTINGS, VERSION, Index
from sne.provenance.lineage import lineage
from sne.provenance.search import search

State = dict[str, Tensor]


def cnn(seed: int) -> State:
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10)
    return nn.Sequential(*layers).state_dict()


def without_channels(state: State, share: float, seed: int = 0) -> State:
    """The network with some of the channels of both convolutions."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randperm(size, generator=generator)[: int(share * size)].sort().values for size in (16, 32))
    return {
        "0.weight": state["0.weight"][first],
        "0.bias": state["0.bias"][first],
        "2.weight": state["2.weight"][second][:, first],
        "2.bias": state["2.bias"][second],
        "5.weight": state["5.weight"][:, second],
        "5.bias": state["5.bias"],
    }


def marks(state: State) -> set[int]:
    return set(fingerprint(read_network(state)).marks.tolist()) - {0}


def test_marks_are_those_of_equal_values():
    parent = cnn(0)
    assert len(marks(parent)) == MARKS
    assert len(marks(parent) & marks(without_channels(parent, 0.7))) >= 8
    assert len(marks(parent) & marks(cnn(1))) < LEAST_MARKS
    order = torch.randperm(16)
    moved = {**parent, "0.weight": parent["0.weight"][order], "2.weight": parent["2.weight"][:, order]}
    assert marks(moved) == marks(parent)


def test_marks_do_not_depend_on_how_often_values_occur():
    values = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    assert marks({"fc.weight": values}) == marks({"fc.weight": values.repeat(3, 4)})
    few = values[:5, :4].repeat(60, 60)
    assert marks({"fc.weight": few}) == marks({"fc.weight": few[:5, :4].clone()})
    assert len(marks({"fc.weight": few})) == 20


def test_values_in_half_precision_have_no_marks():
    assert marks({name: values.bfloat16().float() for name, values in cnn(0).items()}) == set()
    assert marks({name: values.half().float() for name, values in cnn(0).items()}) == set()
    assert fingerprint(read_network({"fc.weight": torch.eye(8)})).marks.dtype == np.uint32


def test_networks_without_some_units_are_found(tmp_path):
    paths = [tmp_path / f"{seed}.pt" for seed in range(25)]
    for seed, path in enumerate(paths):
        torch.save(cnn(seed), path)
    child = tmp_path / "child.pt"
    torch.save(without_channels(cnn(3), 0.5), child)
    predictor = Predictor.from_pretrained()
    index = Index.open_or_create(tmp_path / "index", predictor)
    network = read_network(child)
    assert index.sharing(fingerprint(network).marks, 3) == []
    index.add(map(str, paths), predictor, errors=lambda path, error: pytest.fail(str(error)))
    for where in (None, "num_weights > 10"):
        hits = search(network, index, where=where, warn=pytest.fail)
        assert [(hit.path, hit.relation) for hit in hits] == [(str(paths[3]), Relation.PRUNED)]
        assert hits[0].direction == "file from relative"
    assert search(network, index, where="num_weights < 10", warn=pytest.fail) == []
    index.add([str(child)], predictor, errors=lambda path, error: pytest.fail(str(error)))
    hits = search(read_network(paths[3]), index, warn=pytest.fail)
    assert [hit.path for hit in hits] == [str(child)]
    assert "marks" not in index.columns
    found = lineage([*map(str, paths[:12]), str(child)], errors=lambda path, error: pytest.fail(str(error)))
    assert [(edge.parent, edge.child, edge.relation) for edge in found.edges] == [
        (str(paths[3]), str(child), Relation.PRUNED)
    ]
    settings = tmp_path / "index" / SETTINGS
    settings.write_text(settings.read_text().replace(f'"version": {VERSION}', '"version": 2'))
    with pytest.raises(ProvenanceError, match=f"version 2, expected {VERSION}; make it again with sne index"):
        Index.open(tmp_path / "index")
