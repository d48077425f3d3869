"""Measures which symmetries `sne.symmetry.trace` finds in many architectures, and how exactly they preserve outputs.

    python benchmarks/symmetry_coverage.py [--draws 20]

The networks are those of tests/symmetry: small, in float64, with all weights and buffers drawn at random. Writes
benchmarks/results/symmetry_coverage.md.
"""

import argparse
import sys
import time
from math import prod
from pathlib import Path

import torch

from sne.symmetry import Symmetry, sample, trace

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "symmetry")]

from networks_to_trace import ARCHITECTURES, build  # noqa: E402
from proof import change, state_of, without_one_tensor  # noqa: E402

KINDS = ("permutation", "scaling", "sign", "mixing")
HEAD = """# Symmetries found by tracing

The networks are those of `tests/symmetry/networks_to_trace.py`: all zoo families, eleven small architectures of
`transformers`, and modules with difficult structure. They are in float64, with random weights, biases, norms and
running statistics.

- free: share of the entries of all tensors' axes that a permutation moves. Kernel positions, inputs and outputs are
  never free.
- moved: share of all weights on at least one such axis.
- groups: number of groups with permutations / scalings / signs; the number of mixings is next to it.
- legal: largest change of an output relative to the largest output, over {draws} draws of each kind.
- illegal: the same if one matrix is left out of a group, largest over 4 permutations; the smallest over groups.
- seconds: time of tracing on one core of a shared machine, including torch.export. The first row includes its import.

| network | weights | free | moved | groups | mixings | legal | illegal | seconds |
|---|---|---|---|---|---|---|---|---|
"""


def free_share(symmetry: Symmetry, shapes: dict[str, tuple[int, ...]]) -> tuple[float, float]:
    """Returns the shares of axis entries and of weights that permutations move."""
    moved = {name: [torch.zeros(size, dtype=torch.bool) for size in shape] for name, shape in shapes.items()}
    for group in symmetry.groups:
        if "permutation" in group.kinds:
            for span, positions in group.places:
                moved[span.tensor][span.dim][positions.flatten()] = True
    axes = [axis for several in moved.values() for axis in several]
    weights = 0.0
    for several in moved.values():
        still = prod(1 - float(axis.double().mean()) for axis in several)
        weights += (1 - still) * prod(len(axis) for axis in several)
    return sum(int(axis.sum()) for axis in axes) / sum(map(len, axes)), weights / sum(map(prod, shapes.values()))


def row(name: str, draws: int) -> str:
    """Returns one line of the table."""
    module, inputs = build(name)
    shapes = {key: tuple(one.shape) for key, one in state_of(module).items() if one.is_floating_point() and one.ndim}
    start = time.perf_counter()
    symmetry = trace(module, inputs)
    seconds = time.perf_counter() - start
    legal = max(change(module, inputs, sample(symmetry, seed, (kind,))) for seed in range(draws) for kind in KINDS)
    illegal = []
    for number, group in enumerate(symmetry.groups):
        if "permutation" in group.kinds:
            broken = without_one_tensor(symmetry, number)
            illegal.append(max(change(module, inputs, sample(broken, seed)) for seed in range(4)))
    free, moved = free_share(symmetry, shapes)
    counts = " / ".join(str(sum(kind in group.kinds for group in symmetry.groups)) for kind in KINDS[:3])
    weights = sum(map(prod, shapes.values()))
    return (
        f"| {name} | {weights:,} | {free:.0%} | {moved:.0%} | {counts} | {len(symmetry.mixings)} "
        f"| {legal:.0e} | {min(illegal):.0e} | {seconds:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20, help="draws of each kind per network (default 20)")
    draws = parser.parse_args().draws
    rows = []
    for name in ARCHITECTURES:
        rows.append(row(name, draws))
        print(rows[-1], flush=True)
    foot = "\nThe norms of llama and t5 always compute in float32, which explains their larger changes.\n"
    text = HEAD.replace("{draws}", str(draws)) + "\n".join(rows) + "\n" + foot
    (ROOT / "benchmarks" / "results" / "symmetry_coverage.md").write_text(text)


if __name__ == "__main__":
    main()
