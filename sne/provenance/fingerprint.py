"""Fingerprints: short vectors by which relatives of a network are found among many."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt32
from torch import Tensor

from sne.networks import Network, Part
from sne.provenance.chain import Chain
from sne.provenance.places import spaced

SKETCH = 128
"""Length of the sketch of the stored values."""

MOST_ENTRIES = 4096
"""Largest number of entries of a matrix that are sketched, at equal distances."""

MARKS = 32
"""Number of marks."""

LEAST_MARKS = 2
"""Least number of marks that relatives have in common; one may be the same by chance."""

MOST_ROUNDED = 0x1FFF
"""Bits of a float32 that are zero in bfloat16 and float16 numbers, of which networks have some in common by chance."""

BLOCK = 4_000_000
"""Largest number of entries that are hashed at a time."""

MOST_CHAINED = 4_000_000
"""Largest number of entries of a matrix of the sketch and the chain; larger ones, such as tables, are left out."""

MOST_KEPT = 64_000_000
"""Largest number of entries of all matrices of the chain, which are in memory together; later ones are left out."""


@dataclass(frozen=True)
class Fingerprint:
    """What identifies a network among many.

    Args:
        content: Hash of all values in float32. It does not depend on names, on the format, or on the order of tensors.
        layout: Hash of the types, roles and sizes of all parts.
        sketch: Random projection of the matrices as they are stored, of length 1. Descendants whose units were not
            moved have similar sketches, and those of independent networks are nearly orthogonal.
        chain: Products of random inputs that have passed through the matrices. The order, the signs and the scales of
            hidden units do not change it, and further training changes it little.
        marks: The smallest hashes of the values of matrices, with zeros at the end if there are fewer. The share that
            two networks have in common is about that of equal values, whatever the sizes of their layers. Values in
            half precision have none.
    """

    content: str
    layout: str
    sketch: Float[np.ndarray, " sketch"]
    chain: Float[np.ndarray, " chain"]
    marks: UInt32[np.ndarray, " marks"]


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
    marks = np.zeros(0, np.uint32)
    chain, kept = Chain(network), 0
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
            marks = _smallest(np.concatenate([marks, _hashes(values.numpy())]))
            kept += part.num_entries
            if kept <= MOST_KEPT:
                chain.add_matrix(part, values.numpy())
        elif part.in_axis is None:
            chain.add_vector(layer, part, values.numpy().reshape(-1))
    length = float(np.linalg.norm(sketch))
    return Fingerprint(
        _joined(sorted(digests)),
        _joined(sorted(map(repr, sizes))),
        (sketch / length if length else sketch).astype(np.float32),
        chain.features().astype(np.float32),
        np.pad(marks, (0, MARKS - len(marks))),
    )


def _smallest(hashes: UInt32[np.ndarray, " hashes"]) -> UInt32[np.ndarray, " marks"]:
    """Returns the smallest different hashes, at most `MARKS`, in increasing order."""
    if len(hashes) > 64 * MARKS:
        few = np.unique(np.partition(hashes, 64 * MARKS)[: 64 * MARKS])
        if len(few) >= MARKS:
            return few[:MARKS]
    return np.unique(hashes)[:MARKS]


def _hashes(values: np.ndarray) -> UInt32[np.ndarray, " hashes"]:
    """Returns a hash of each value that is not in half precision; never 0."""
    bits = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32)
    found = bits[(bits & np.uint32(MOST_ROUNDED)) != 0]
    for shift, factor in ((0, 0x9E3779B1), (15, 0x85EBCA77), (13, 0xC2B2AE3D)):
        found = (found ^ (found >> np.uint32(shift)) if shift else found) * np.uint32(factor)
    found ^= found >> np.uint32(16)
    return found[found != 0]


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
        flat = flat[spaced(len(flat), MOST_ENTRIES)]
    flat = flat.double().numpy()
    flat = np.nan_to_num(flat - np.nan_to_num(flat).mean(), posinf=0.0, neginf=0.0)
    norm = float(np.linalg.norm(flat))
    return _signs(len(flat), number) @ (flat / norm).astype(np.float32) if norm > 0 else np.zeros(SKETCH)


@lru_cache(maxsize=64)
def _signs(length: int, number: int) -> Float[np.ndarray, "sketch entries"]:
    """Returns random signs that depend on the arguments alone."""
    return np.random.default_rng((length, number)).choice(np.array([-1.0, 1.0], np.float32), (SKETCH, length))
