"""Lists the architectures whose embedding by `default` does not change when neurons are permuted, and exceptions.

    python benchmarks/token_invariance.py

The architectures are those of tests/symmetry/networks_to_trace.py, with weights as after training; two draws each.
"""

import argparse
import sys
from pathlib import Path

import torch

from sne import read_network
from sne.encoders.tensor_tokens import tokenize
from sne.symmetry import apply, sample, trace

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "symmetry"))
from networks_to_trace import ARCHITECTURES, build

TOLERANCE = 2e-3
"""Tolerance for features, which are of order 1 and in single precision."""


def moved_parts(name: str) -> tuple[list[str], int]:
    """Returns the layers with a part whose token changes under a permutation, and the number of parts."""
    module, inputs = build(name)
    symmetry, state = trace(module, inputs), module.float().state_dict()
    network = read_network(state)
    layers = [layer.name for layer, _ in network.parts()]
    (before,) = tokenize([network])
    moved = set()
    for seed in range(2):
        (after,) = tokenize([read_network(apply(sample(symmetry, seed), state))])
        change = (after.features - before.features).abs().amax(1)
        moved.update(layers[place] for place in torch.nonzero(change > TOLERANCE).flatten().tolist())
    return sorted(moved), len(layers)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    exact = 0
    for name in ARCHITECTURES:
        moved, parts = moved_parts(name)
        exact += not moved
        print(f"{name}: {'exact' if not moved else f'{len(moved)} layers change, of {parts} parts: {moved[0]}, ...'}")
    print(f"{exact} of {len(ARCHITECTURES)} exact")


if __name__ == "__main__":
    main()
