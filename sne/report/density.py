"""Density of the networks on a map: contours around shares of them, and the clusters around its peaks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

CELLS = 128
"""Number of cells of the grid in each direction."""

MARGIN = 0.12
"""Width of the empty edge of the grid, in the units of a map, which goes from -1 to 1."""

WIDTH = 0.2
"""Standard deviation of the kernel for one network, in the units of a map; it falls with the sixth root of their
number."""

LEAST_NETWORKS = 20
"""Number of networks below which no clusters are sought."""

LEAST_MEMBERS = 5

LEAST_SHARE = 0.015
"""Least share of all networks in a cluster."""

SHALLOW = 0.75
"""Two peaks are one cluster if the pass between them has more than this share of the density of the lower peak."""

OUTSKIRTS = 0.97
"""Share of the networks that clusters share; the others are where hardly any are."""


@dataclass(frozen=True)
class Density:
    """Density of networks on a grid.

    Args:
        at: Places of the rows and columns of the grid, in the units of a map.
        values: Density at [y, x].
        outside: Share of all networks where the density is larger than at [y, x]: a contour of this at 0.4 encloses 40%
            of the networks.
    """

    at: Float[np.ndarray, " cells"]
    values: Float[np.ndarray, "cells cells"]
    outside: Float[np.ndarray, "cells cells"]


@dataclass(frozen=True)
class Cluster:
    """Networks around a peak of the density.

    Args:
        x: Place of the peak.
        y: Place of the peak.
        members: Numbers of the networks.
    """

    x: float
    y: float
    members: Int[np.ndarray, " members"]


def density(places: Float[np.ndarray, "networks 2"]) -> Density:
    """Computes the density of networks with a Gaussian kernel.

    Args:
        places: Places of networks between -1 and 1.
    """
    from scipy.ndimage import gaussian_filter

    edge = 1 + MARGIN
    bins = np.linspace(-edge, edge, CELLS + 1)
    counts = np.histogram2d(places[:, 1], places[:, 0], bins=(bins, bins))[0]
    width = WIDTH * max(len(places), 1) ** (-1 / 6) / (bins[1] - bins[0])
    values = gaussian_filter(counts, width, mode="constant")
    order = values.argsort(axis=None, kind="stable")[::-1]
    outside = np.empty(values.size)
    outside[order] = np.cumsum(values.flat[order]) / max(float(values.sum()), np.finfo(np.float64).tiny)
    return Density((bins[1:] + bins[:-1]) / 2, values, outside.reshape(values.shape))


def clusters(places: Float[np.ndarray, "networks 2"], found: Density) -> list[Cluster]:
    """Finds clusters: the parts of the map that belong to the peaks of the density.

    Args:
        places: Places of networks between -1 and 1.
        found: Their density.

    Returns:
        Clusters, the largest first; not all networks are in one.

    Source: Chazal, Guibas, Oudot and Skraba, "Persistence-Based Clustering in Riemannian Manifolds", JACM 60, 2013.
    Differs: on the cells of a grid; the persistence of a peak is relative to its height, and peaks with few networks
        are merged, too.
    """
    if len(places) < LEAST_NETWORKS:
        return []
    least = max(LEAST_MEMBERS, LEAST_SHARE * len(places))
    peak_of = _basins(found, least / len(places))
    step = found.at[1] - found.at[0]
    cells = np.clip(np.floor((places - found.at[0]) / step + 0.5).astype(int), 0, len(found.at) - 1)
    own = peak_of[cells[:, 1], cells[:, 0]]
    result = []
    for peak in np.unique(own[own >= 0]):
        members = np.flatnonzero(own == peak)
        if len(members) >= least:
            row, column = divmod(int(peak), len(found.at))
            result.append(Cluster(float(found.at[column]), float(found.at[row]), members))
    return sorted(result, key=lambda cluster: -len(cluster.members))


def _basins(found: Density, least: float) -> Int[np.ndarray, "cells cells"]:
    """Returns the cell of the peak that each cell belongs to; -1 where the density is low."""
    cells = len(found.at)
    values = found.values.ravel()
    share = values / max(float(values.sum()), np.finfo(np.float64).tiny)
    order = values.argsort(kind="stable")[::-1]
    order = order[(found.outside.ravel()[order] <= OUTSKIRTS) & (values[order] > 0)]
    parent = np.full(cells * cells, -1, dtype=np.int64)
    mass = np.zeros(cells * cells)

    def root(cell: int) -> int:
        while parent[cell] != cell:
            parent[cell] = parent[parent[cell]]
            cell = int(parent[cell])
        return cell

    for cell in order.tolist():  # from the highest cell down
        row, column = divmod(cell, cells)
        around = [
            r * cells + c
            for r in range(max(row - 1, 0), min(row + 2, cells))
            for c in range(max(column - 1, 0), min(column + 2, cells))
        ]
        peaks = sorted({root(other) for other in around if parent[other] >= 0}, key=lambda peak: (-values[peak], peak))
        highest = peaks[0] if peaks else cell
        parent[cell] = highest
        mass[highest] += share[cell]
        for peak in peaks[1:]:
            if values[cell] > SHALLOW * values[peak] or mass[peak] < least:
                parent[peak] = highest
                mass[highest] += mass[peak]
    return np.array([root(cell) if parent[cell] >= 0 else -1 for cell in range(cells * cells)]).reshape(cells, cells)
