"""Measures what `sne lineage` does besides reading and comparing, for many networks: time and peak memory.

    python benchmarks/lineage_scale.py [--networks 10000]

Fingerprints are random and drift from parent to child, as if all networks were of one family; relations are taken from
the drift. Prints the numbers of comparisons and the CPU time of each step.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from sne import read_network
from sne.provenance.fingerprint import Fingerprint
from sne.provenance.forest import forest
from sne.provenance.lineage import _near_pairs, _pairs_with_hubs
from sne.provenance.relation import Relation
from sne.provenance.steps import Kinship, Names

DRIFT = 0.3
YOUNGEST = 400
"""A parent is one of so many networks before the child."""

Found = TypeVar("Found")


def drifting(count: int, length: int, parents: list[int], random: np.random.Generator) -> np.ndarray:
    """Returns vectors that differ from those of their parents by noise."""
    found = np.zeros((count, length), np.float32)
    found[0] = random.standard_normal(length)
    for child in range(1, count):
        found[child] = found[parents[child]] + DRIFT * random.standard_normal(length)
    return found


def timed(what: str, call: Callable[[], Found]) -> Found:
    started = time.process_time()
    found = call()
    print(f"{what}: {len(found):,}, {time.process_time() - started:.1f} s of CPU", flush=True)  # type: ignore[arg-type]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=10_000, help="number of networks")
    count = parser.parse_args().networks
    random = np.random.default_rng(0)
    parents = [0, *(int(random.integers(max(0, child - YOUNGEST), child)) for child in range(1, count))]
    sketches, chains = (drifting(count, length, parents, random) for length in (128, 256))
    sketches /= np.linalg.norm(sketches, axis=1, keepdims=True)
    names = [f"{number:06d}" for number in range(count)]
    no_marks = np.zeros(0, np.uint32)
    vectors = zip(names, sketches, chains, strict=True)
    prints = [Fingerprint(name, "", sketch, chain, no_marks) for name, sketch, chain in vectors]

    def kinship(pair: Names) -> Kinship:
        one, other = map(int, pair)
        distance = float(np.square(sketches[one] - sketches[other]).sum())
        return Kinship(Relation.FINE_TUNE, "second from first", 0.8, 1e-30, distance, False, False, False, 1.4, False)

    near = [(names[one], names[other]) for one, other in timed("pairs of neighbours", lambda: _near_pairs(prints))]
    found = {pair: kinship(pair) for pair in near}
    hubs = timed("pairs with hubs", lambda: _pairs_with_hubs(names, found, set(near)))
    found |= {pair: kinship(pair) for pair in hubs}
    network = read_network({"0.weight": torch.randn(50, 50), "2.weight": torch.randn(50, 50)})
    timed("edges of the forest", lambda: forest(names, found, lambda name: network))
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
