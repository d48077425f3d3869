"""Layouts keep neighbours together; all are in the same square."""

import sys

import numpy as np
import pytest
from report.map_cases import islands

from sne.errors import ReportError
from sne.report.layout import lay_out, nearest, reduce


def agreement(places, members):
    """Share of the 5 nearest places that belong to the same island."""
    apart = ((places[:, None] - places[None]) ** 2).sum(-1)
    np.fill_diagonal(apart, np.inf)
    group = np.arange(len(places)) // members
    return (group[apart.argsort(1)[:, :5]] == group[:, None]).mean()


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_networks_with_similar_embeddings_are_near_each_other(method):
    places = lay_out(reduce(islands().embeddings), method)
    assert agreement(places, 30) == 1.0
    low, high = places.min(0), places.max(0)
    assert (high - low).max() == pytest.approx(2, abs=1e-5) and np.allclose(low + high, 0, atol=1e-5)


def test_the_same_seed_gives_the_same_places():
    components = reduce(islands().embeddings)
    first, again, other = (lay_out(components, "tsne", seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and first.shape == other.shape


def test_components_keep_distances():
    embeddings = islands().embeddings
    components = reduce(embeddings)
    for rows in (embeddings, components):
        rows -= rows.mean(0)
    assert np.allclose(components @ components.T, embeddings @ embeddings.T, atol=0.05)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_networks_have_places_of_their_own(count):
    embeddings = np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32)
    places = lay_out(reduce(embeddings), "tsne")
    assert places.shape == (count, 2) and np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == count


def test_equal_and_huge_embeddings_have_finite_places():
    embeddings = np.zeros((40, 6), dtype=np.float32)
    assert np.isfinite(lay_out(reduce(embeddings), "tsne")).all()
    embeddings[:20] = 1e30
    places = lay_out(reduce(embeddings), "tsne")
    assert np.isfinite(places).all() and agreement(places, 20) == 1.0


def test_neighbours_are_those_of_a_slow_loop():
    components = reduce(islands().embeddings)
    found = nearest(components, 4)
    for row in (0, 17, 61):
        apart = ((components - components[row]) ** 2).sum(1)
        apart[row] = np.inf
        assert found[row].tolist() == apart.argsort(kind="stable")[:4].tolist()
    assert nearest(components[:3], 4).shape == (3, 2) and nearest(components[:1], 4).shape == (1, 0)


def test_unknown_methods_and_missing_packages_are_told(monkeypatch):
    components = reduce(islands().embeddings)
    with pytest.raises(ReportError, match="layout 'circle', expected tsne, umap, pca"):
        lay_out(components, "circle")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ReportError, match="needs umap-learn; install the extra 'umap'"):
        lay_out(components, "umap")
