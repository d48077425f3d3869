"""Measures the paper's encoder on small CNNs, next to textbook modules with the same weights in the same run.

    python benchmarks/bench_set_encoder.py --networks 64 --threads 2

The floor of a line is the time of its multiply-adds at the measured speed of a product: 24,064 per weight at dim 64
(textbook modules: 35,392), and three times as many for forward and backward. It leaves out 76 exponentials per weight,
all reading and writing, and the sets of chunks and layers, which have a tenth of the tokens.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from sne.encoders.chunking import ChunkedNetworks
from sne.encoders.set_encoder import SetEncoder
from sne.networks import Layer, LayerType, Network, Part, Role, TensorInfo

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracles.textbook_sets import textbook

TOKENS = 9
"""Weights per chunk of most chunks of the small CNN: one kernel of 3 x 3."""

SHAPES = {"conv0": (16, 1, 3, 3), "conv1": (16, 16, 3, 3), "conv2": (16, 16, 3, 3), "fc": (10, 16)}


class RandomWeights:
    """Normally distributed weights; the seed identifies the network."""

    def __init__(self, seed: int, parts: list[Part]) -> None:
        self.name = f"random-{seed}"
        generator = torch.Generator().manual_seed(seed)
        self.tensors = {p.tensor: torch.randn(p.shape, generator=generator) * 0.1 for p in parts}
        self.infos = {k: TensorInfo(k, tuple(v.shape), "float32") for k, v in self.tensors.items()}

    def load(self, name: str) -> Tensor:
        """Returns one tensor."""
        return self.tensors[name]


def small_cnns(count: int) -> list[Network]:
    layers = tuple(
        Layer(
            name,
            LayerType.LINEAR if name == "fc" else LayerType.CONV2D,
            level,
            (Part(f"{name}.w", Role.WEIGHT, shape, 0, 1), Part(f"{name}.b", Role.BIAS, shape[:1])),
        )
        for level, (name, shape) in enumerate(SHAPES.items())
    )
    parts = [part for layer in layers for part in layer.parts]
    return [Network(f"cnn-{i}", layers, RandomWeights(i, parts)) for i in range(count)]


def multiply_adds(dim: int, tokens: int, *, is_textbook: bool) -> int:
    """Products per weight of the chunk encoder's forward pass that no known identity removes, or those of textbooks.

    The queries, keys and values of the second block, its feed-forward layer and that of PMA need 5 dim^2; logits and
    averages 2 tokens dim; the first block has affine maps of 6 numbers; PMA's logits and averages take 8 dim. A
    textbook also computes the first block's feed-forward layer and logits, and keys and values in PMA.
    """
    shared = 5 * dim**2 + 2 * tokens * dim
    return shared + (3 * dim**2 + 2 * tokens * dim + 5 * dim if is_textbook else 12 * dim + 18 * dim + 8 * dim)


def exponentials(tokens: int, heads: int = 4) -> int:
    """Exponentials per weight of the chunk encoder's forward pass: two attention blocks, and PMA with one query."""
    return 2 * tokens * heads + heads


def products_per_second(dim: int) -> float:
    """Measured multiply-adds per second of one product of 4,608 rows, all of whose operands fit a core's cache."""
    x, weight = torch.randn(4608, dim), torch.randn(dim, dim)
    out = torch.empty_like(x)
    best = min(_seconds(lambda: [torch.mm(x, weight, out=out) for _ in range(50)])[0] for _ in range(5))
    return 50 * x.numel() * dim / best


def bytes_per_second() -> float:
    """Measured bytes per second that are written to memory that has just been allocated, as saved tensors are."""
    x = torch.randn(4608, 64)
    best = min(_seconds(lambda: [x.clone() for _ in range(64)])[0] for _ in range(5))
    return 64 * x.nbytes / best


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU time of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(
    encoders: dict[str, SetEncoder], batch: ChunkedNetworks, repeats: int
) -> dict[tuple[str, str], list[float]]:
    """Returns the smallest wall and CPU time of each encoder and pass, in seconds; all are run in turn."""

    def forward(encoder: SetEncoder) -> None:
        with torch.no_grad():
            encoder(batch)

    def both(encoder: SetEncoder) -> None:
        encoder.zero_grad()
        encoder(batch).square().mean().backward()

    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(repeats + 1):  # the first is for warming up, and rarely the fastest
        for name, encoder in encoders.items():
            for what, run in (("forward", forward), ("training step", both)):
                found = _seconds(partial(run, encoder))
                times[name, what] = [min(pair) for pair in zip(found, times.get((name, what), found), strict=True)]
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", type=int, default=64, help="networks per batch (default %(default)s)")
    parser.add_argument("--dim", type=int, default=64, help="width of the encoder (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="repeats, of which the fastest counts (default %(default)s)"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    encoder = SetEncoder(dim=args.dim)
    prepared = encoder.prepare(small_cnns(args.networks))
    encoder.fit_scale(prepared)
    batch = encoder.collate(prepared)
    slow = textbook(encoder)
    with torch.no_grad():
        exact = encoder(batch)
        difference = float((exact - slow(batch)).abs().max() / exact.abs().max())
    weights, rate = int(batch.lengths.sum()), products_per_second(args.dim)
    print(f"# {platform.machine()}, {args.threads} threads, load {os.getloadavg()[0]:.1f}, dim {args.dim}")
    print(f"# {args.networks} networks, {weights} weights; relative difference of the outputs {difference:.1e}")
    print(f"# {rate / 1e9:.0f} G multiply-adds/s in products; {bytes_per_second() / 1e9:.1f} GB/s to fresh memory")
    times = compare({"textbook": slow, "sne": encoder}, batch, args.repeats)
    print(f"{'':9s}{'':14s}{'wall':>9s}{'CPU':>9s}{'ratio':>8s}{'(CPU)':>8s}{'floor':>9s}{'of it':>7s}")
    for (name, what), (wall, cpu) in times.items():
        other = times["textbook", what]
        passes = 3 if what == "training step" else 1
        floor = passes * weights * multiply_adds(args.dim, TOKENS, is_textbook=name == "textbook") / rate
        row = f"{name:9s}{what:14s}{1e3 * wall:6.0f} ms{1e3 * cpu:6.0f} ms{other[0] / wall:7.2f}x{other[1] / cpu:7.2f}x"
        print(f"{row}{1e3 * floor:6.0f} ms{wall / floor:6.1f}x")


if __name__ == "__main__":
    main()
