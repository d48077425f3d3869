"""Places of networks on a map: embeddings in two dimensions, and the nearest networks in the space of embeddings."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from sne.errors import ReportError, install_hint

Method = Literal["tsne", "umap", "pca"]

MOST_COMPONENTS = 50
"""Number of principal components from which the other methods start, and in which neighbours are near."""

PERPLEXITY = 30.0
"""Perplexity of t-SNE, the number of neighbours that count for a network; smaller for few networks."""

LEAST = 8
"""Number of different embeddings below which principal components are all that is computed."""


def reduce(embeddings: Float[np.ndarray, "networks dim"]) -> Float[np.ndarray, "networks components"]:
    """Computes principal components: up to `MOST_COMPONENTS`, with the distances of the embeddings.

    Args:
        embeddings: One vector per network.

    Returns:
        float32 [networks, components], at least two components; those that the embeddings do not have are zero.
    """
    from sklearn.decomposition import PCA

    networks, dim = embeddings.shape
    wanted = min(MOST_COMPONENTS, networks, dim)
    found = np.zeros((networks, max(wanted, 2)), dtype=np.float32)
    if networks > 1 and wanted:
        # the embeddings of networks unlike any other may be huge, and float32 would overflow when it is squared
        centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
        if np.abs(centred).max() > 0:
            found[:, :wanted] = PCA(wanted, svd_solver="full", random_state=0).fit_transform(centred)
    return found


def lay_out(
    components: Float[np.ndarray, "networks components"], method: str = "tsne", *, seed: int = 0
) -> Float[np.ndarray, "networks 2"]:
    """Places networks on a plane, such that networks with similar embeddings are near each other.

    Args:
        components: Principal components of the embeddings, see `reduce`.
        method: "tsne", "umap" (package umap-learn), or "pca" for the first two components. Fewer than `LEAST`
            different embeddings always have their first two components.
        seed: Random seed of t-SNE and UMAP.

    Returns:
        float32 [networks, 2]. The longer side goes from -1 to 1, and the centre is 0. Distances between groups of
        networks mean little with t-SNE and UMAP.

    Raises:
        ReportError: The method is not known, or umap-learn is not installed.

    Example:
        >>> lay_out(np.array([[0.0, 0.0], [2.0, 1.0]], dtype=np.float32)).tolist()
        [[-1.0, -0.5], [1.0, 0.5]]

    Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008; Kobak and Berens, "The art of using
        t-SNE for single-cell transcriptomics", Nature Communications 10, 2019, for the start at principal components
        and the learning rate.
    Differs: nothing.
    """
    if method not in get_args(Method):
        raise ReportError(f"layout {method!r}, expected {', '.join(get_args(Method))}")
    run = {"tsne": _tsne, "umap": _umap, "pca": _first_two}[method]
    has_few = len(np.unique(components, axis=0)) < LEAST
    places = (_first_two if has_few else run)(components, seed)
    return _scaled(places)


def nearest(components: Float[np.ndarray, "networks components"], count: int) -> Int[np.ndarray, "networks count"]:
    """Finds the networks with the nearest embeddings.

    Args:
        components: Principal components of the embeddings, see `reduce`.
        count: Number of neighbours; fewer if there are not so many other networks.

    Returns:
        Numbers of the neighbours of each network, nearest first.
    """
    from sklearn.neighbors import NearestNeighbors

    count = min(count, len(components) - 1)
    if count < 1:
        return np.zeros((len(components), 0), dtype=np.int64)
    found = NearestNeighbors(n_neighbors=count).fit(components).kneighbors(return_distance=False)
    return np.asarray(found, dtype=np.int64)


def _first_two(components: Float[np.ndarray, "networks components"], seed: int) -> Float[np.ndarray, "networks 2"]:
    return components[:, :2]


def _tsne(components: Float[np.ndarray, "networks components"], seed: int) -> Float[np.ndarray, "networks 2"]:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, max(2.0, (len(components) - 1) / 4))
    start = 1e-4 * components[:, :2] / components[:, 0].std()
    return TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(_unit_scale(components))


def _umap(components: Float[np.ndarray, "networks components"], seed: int) -> Float[np.ndarray, "networks 2"]:
    try:
        import umap
    except ImportError:
        raise ReportError(f"layout 'umap' needs umap-learn; {install_hint('umap')}") from None
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")  # a seed means one thread
        neighbours = min(15, len(components) - 1)
        found = umap.UMAP(n_neighbors=neighbours, random_state=seed).fit_transform(_unit_scale(components))
    return np.asarray(found, dtype=np.float32)


def _unit_scale(components: Float[np.ndarray, "networks components"]) -> Float[np.ndarray, "networks components"]:
    """Divides by the largest deviation, so that no square overflows; the layout does not depend on the scale."""
    return components / max(float(np.abs(components).max()), np.finfo(np.float32).tiny)


def _scaled(places: Float[np.ndarray, "networks 2"]) -> Float[np.ndarray, "networks 2"]:
    low, high = places.min(axis=0, initial=np.inf), places.max(axis=0, initial=-np.inf)
    if not len(places):
        return places.astype(np.float32)
    reach = float((high - low).max()) / 2 or 1.0
    return ((places - (low + high) / 2) / reach).astype(np.float32)
