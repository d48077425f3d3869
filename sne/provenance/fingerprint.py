"""Fingerprints: short vectors by which relatives of a network are found among many."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.networks import Network, Part

SKETCH = 128
"""Length of the sketch of the stored values."""

PROBES = 16
"""Number of random inputs that are passed through the matrices."""

DEPTHS = 7
"""Number of depths at which the size of what has been passed through is kept."""

OUTPUTS = 16
"""Number of outputs that are kept."""

CHAIN = PROBES * DEPTHS + OUTPUTS
"""Length of the chain."""

MOST_ENTRIES = 4096
"""Largest number of entries of a matrix that are sketched, at equal distances."""

BLOCK = 4_000_000
"""Largest number of entries that are hashed at a time."""

MOST_CHAINED = 4_000_000
"""Largest number of entries of a matrix that probes pass through; larger ones, such as tables, are left out."""


@dataclass(frozen=True)
class Fingerprint:
    """What identifies a network among many.

    Args:
        content: Hash of all values in float32. It does not depend on names, on the format, or on the order of tensors.
        layout: Hash of the types, roles and sizes of all parts.
        sketch: Random projection of the matrices as they are stored, of length 1. Descendants whose units were not
            moved have similar sketches, and those of independent networks are nearly orthogonal.
        chain: Sizes of random inputs after they have passed through the matrices, at several depths, and what comes
            out. The order and the signs of hidden units do not change it.
    """

    content: str
    layout: str
    sketch: Float[np.ndarray, " sketch"]
    chain: Float[np.ndarray, " chain"]


def fingerprint(network: Network) -> Fingerprint:
    """Computes the fingerprint of a network, one tensor at a time.

    Args:
        network: The network.

    Example:
        >>> from sne import read_network
        >>> state = {"0.weight": torch.randn(8, 4), "2.weight": torch.randn(3, 8)}
        >>> renamed = {"a.weight": state["0.weight"], "b.weight": state["2.weight"]}
        >>> found = [fingerprint(read_network(some)) for some in (state, renamed)]
        >>> found[0].content == found[1].content
        True
    """
    digests, sizes = [], []
    sketch, seen = np.zeros(SKETCH), Counter()
    chain = _Chain()
    for layer, part in network.parts():
        sizes.append((layer.type.value, part.role.value, part.arranged_shape))
        if part.num_entries > MOST_CHAINED:
            digests.append(_digest_of_blocks(network, part))
            continue
        values = network.read(part)
        digests.append(_digest(part, values.numpy()))
        if part.in_axis is not None and min(values.shape[0], values[0].numel()) > 1:
            sketch += _sketched(values, seen[part.arranged_shape])
            seen[part.arranged_shape] += 1
            chain.add(values)
    length = float(np.linalg.norm(sketch))
    return Fingerprint(
        _joined(sorted(digests)),
        _joined(sorted(map(repr, sizes))),
        (sketch / length if length else sketch).astype(np.float32),
        chain.features().astype(np.float32),
    )


def _joined(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _digest(part: Part, values: np.ndarray) -> str:
    shape = repr((part.role.value, part.arranged_shape)).encode()
    return hashlib.sha256(shape + (np.ascontiguousarray(values) + 0.0).tobytes()).hexdigest()


def _digest_of_blocks(network: Network, part: Part) -> str:
    found = hashlib.sha256(repr((part.role.value, part.arranged_shape)).encode())
    rows, columns, kernel = part.arranged_shape
    height = max(1, BLOCK // (columns * kernel))
    for start in range(0, rows, height):  # in the order of rows, however the tensor is stored
        values = network.read_sample(part, torch.arange(start, min(rows, start + height)), None)
        found.update((values.contiguous().numpy() + 0.0).tobytes())
    return found.hexdigest()


def _sketched(values: Float[Tensor, "out in kernel"], number: int) -> Float[np.ndarray, " sketch"]:
    """Projects a matrix of norm 1 and mean 0; `number` counts matrices of this size."""
    flat = values.reshape(-1)
    if len(flat) > MOST_ENTRIES:
        flat = flat[torch.linspace(0, len(flat) - 1, MOST_ENTRIES).long()]
    flat = flat.double().numpy()
    flat = np.nan_to_num(flat - np.nan_to_num(flat).mean(), posinf=0.0, neginf=0.0)
    norm = float(np.linalg.norm(flat))
    return _signs(len(flat), number) @ flat / norm if norm > 0 else np.zeros(SKETCH)


@lru_cache(maxsize=64)
def _signs(length: int, number: int) -> Float[np.ndarray, "sketch entries"]:
    """Returns random signs that depend on the arguments alone."""
    return np.random.default_rng((length, number)).choice(np.array([-1.0, 1.0], np.float32), (SKETCH, length))


@lru_cache(maxsize=64)
def _random(length: int, columns: int) -> Float[Tensor, "entries columns"]:
    """Returns random numbers that depend on the arguments alone."""
    return torch.from_numpy(np.random.default_rng((7, length, columns)).standard_normal((length, columns))).float()


class _Chain:
    """Passes random inputs through matrices, from the first one to the last one, without activations.

    Each matrix reads what the one before it gives if the widths fit, and fresh random inputs otherwise. A permutation
    of hidden units permutes rows of one matrix and columns of the next, and leaves the sizes as they are.
    """

    def __init__(self) -> None:
        self._passed: Float[Tensor, "units probes"] | None = None
        self._sizes: list[np.ndarray] = []

    def add(self, values: Float[Tensor, "out in kernel"]) -> None:
        """Passes the probes through one matrix."""
        values = values.nan_to_num(0.0, 0.0, 0.0)
        matrix = values @ _random(values.shape[2], 1)[:, 0] if values.shape[2] > 1 else values[:, :, 0]
        given = self._inputs(matrix.shape[1])
        passed = matrix @ given
        expected = matrix.square().sum() * given.square().sum(0) / given.shape[0]
        self._sizes.append((passed.square().sum(0) / expected.clamp_min(1e-30)).clamp(1e-6, 1e6).log().numpy())
        self._passed = passed / passed.norm(dim=0).clamp_min(1e-20) * passed.shape[0] ** 0.5

    def _inputs(self, width: int) -> Float[Tensor, "width probes"]:
        """Returns what a matrix reads: what came before, repeated for each position of an image, or fresh numbers."""
        passed = self._passed
        if passed is None or width % len(passed):
            return _random(width, PROBES)
        if width == len(passed):
            return passed
        positions = _random(width // len(passed), 1)
        return (passed[:, None] * positions[None]).reshape(width, PROBES)

    def features(self) -> Float[np.ndarray, " chain"]:
        """Returns the sizes at several depths, and the first outputs."""
        found = np.zeros(CHAIN)
        if self._passed is None:
            return found
        places = np.linspace(0, len(self._sizes) - 1, DEPTHS).round().astype(int)
        found[: PROBES * DEPTHS] = np.concatenate([self._sizes[place] for place in places])
        outputs = self._passed[:OUTPUTS].mean(1).numpy()
        found[PROBES * DEPTHS :][: len(outputs)] = outputs
        return found
