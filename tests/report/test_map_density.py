"""Contours enclose the share of networks that they claim, and clusters are the islands of a map."""

import numpy as np
import pytest

from sne.report.density import clusters, density


def blobs(centres, members, spread, seed=0):
    generator = np.random.default_rng(seed)
    return np.concatenate([centre + spread * generator.normal(size=(members, 2)) for centre in centres])


def test_contours_enclose_their_share_of_the_networks():
    places = np.random.default_rng(0).uniform(-0.9, 0.9, (5000, 2)) ** 3
    found = density(places)
    step = found.at[1] - found.at[0]
    cells = ((places - found.at[0]) / step + 0.5).astype(int)
    outside = found.outside[cells[:, 1], cells[:, 0]]
    for share in (0.2, 0.4, 0.6, 0.8):
        assert (outside <= share).mean() == pytest.approx(share, abs=0.1)
    assert found.outside.max() == pytest.approx(1) and found.values.min() >= 0


def test_the_rows_of_the_density_are_y():
    found = density(np.full((50, 2), [0.5, -0.5]))
    row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    assert found.at[column] == pytest.approx(0.5, abs=0.02) and found.at[row] == pytest.approx(-0.5, abs=0.02)


@pytest.mark.parametrize("members", [40, 2000])
def test_each_island_is_one_cluster(members):
    centres = np.array([[-0.7, -0.7], [0.7, 0.6], [0.0, 0.0], [-0.7, 0.8]])
    places = blobs(centres, members, 0.06)
    found = clusters(places, density(places))
    assert len(found) == 4
    for cluster in found:
        groups = np.bincount(cluster.members // members, minlength=4)
        assert groups.max() > 0.9 * members and groups.sum() == groups.max()
        assert np.abs(centres[groups.argmax()] - [cluster.x, cluster.y]).max() < 0.1


def test_one_blob_is_one_cluster_and_noise_belongs_to_none():
    places = np.concatenate([blobs([[0.0, 0.0]], 3000, 0.15), [[0.95, 0.95], [-0.95, 0.95]]])
    (only,) = clusters(places, density(places))
    assert len(only.members) > 2700 and not {3000, 3001} & set(only.members.tolist())


def test_few_networks_have_no_clusters():
    places = blobs([[0.0, 0.0]], 10, 0.1)
    assert clusters(places, density(places)) == []
