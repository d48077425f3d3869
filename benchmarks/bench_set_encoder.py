"""Measures the time of the paper's encoder on small CNNs, compared with a textbook implementation in the same run.

    python benchmarks/bench_set_encoder.py --networks 64 --threads 2

The minimum work per weight at dim h = 64, in multiply-adds, is 4 h^2 for the second SAB, h^2 for the rFF of PMA, and
about 3,000 for the rest: 23,500 in all, or 47 kFLOP for the forward pass and 141 kFLOP for forward and backward. For 64
networks of 4,970 weights, this is 15 and 45 GFLOP. The textbook implementation needs about 10 h^2, or 80 kFLOP for the
forward pass, and softmaxes over 9 entries, which do not vectorise.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sne.encoders.chunking import ChunkedNetworks
from sne.encoders.set_encoder import SetEncoder
from sne.networks import Layer, LayerType, Network, Part, Role, TensorInfo
from sne.nn import PoolingByAttention, ScalarSetAttentionBlock, SetAttentionBlock

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


def textbook_attention(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(-2)


def textbook_block(block: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    queries = F.linear(x, block.query.weight, block.query.bias)
    keys, values = block.key(y), block.value(y)
    return block.end(queries + textbook_attention(queries, keys, values, block.heads))


class TextbookScalarBlock(nn.Module):
    """SAB on scalars with keys, values and logits written out."""

    def __init__(self, block: ScalarSetAttentionBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Computes the same values as the equations state them."""
        return textbook_block(self.block, x.unsqueeze(-1), x.unsqueeze(-1))


class TextbookBlock(nn.Module):
    """SAB with logits and softmax written out."""

    def __init__(self, block: SetAttentionBlock) -> None:
        super().__init__()
        self.block = block.block

    def forward(self, x: Tensor) -> Tensor:
        """Computes the same values as the equations state them."""
        return textbook_block(self.block, x, x)


class TextbookPooling(nn.Module):
    """PMA with keys and values of every token."""

    def __init__(self, block: PoolingByAttention) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """Computes the same values as the equations state them."""
        seeds = self.block.seed.expand(len(x), -1, -1)
        return textbook_block(self.block, seeds, self.block.feedforward(x)).squeeze(1)


def textbook(encoder: SetEncoder) -> SetEncoder:
    """Returns an encoder with the same weights and a textbook chunk encoder; the other stages cost little."""
    other = SetEncoder(**encoder.settings())
    other.load_state_dict(encoder.state_dict())
    stage = other.chunk_encoder
    stage.first = TextbookScalarBlock(stage.first)  # pyright: ignore[reportAttributeAccessIssue]
    stage.second = TextbookBlock(stage.second)  # pyright: ignore[reportAttributeAccessIssue]
    stage.pool = TextbookPooling(stage.pool)  # pyright: ignore[reportAttributeAccessIssue]
    return other


def milliseconds(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Returns wall and CPU time of the fastest repeat; CPU time is more reliable on a busy machine."""
    call()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return 1e3 * min(walls), 1e3 * min(cpus)


def measure(encoder: SetEncoder, batch: ChunkedNetworks, repeats: int) -> dict[str, tuple[float, float]]:
    def forward() -> Tensor:
        with torch.no_grad():
            return encoder(batch)

    def both() -> None:
        encoder.zero_grad()
        encoder(batch).square().mean().backward()

    return {"fwd": milliseconds(forward, repeats), "fwd+bwd": milliseconds(both, repeats)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", type=int, default=64, help="networks per batch (default %(default)s)")
    parser.add_argument("--dim", type=int, default=64, help="width of the encoder (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="repeats, of which the fastest counts (default %(default)s)"
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
    print(f"# {platform.machine()}, {args.threads} threads, load {os.getloadavg()[0]:.1f}, dim {args.dim}")
    print(f"# {args.networks} networks, {int(batch.lengths.sum())} weights; forms differ by {difference:.1e}")
    times = {name: measure(e, batch, args.repeats) for name, e in (("exact", encoder), ("textbook", slow))}
    for name, row in times.items():
        for what, (wall, cpu) in row.items():
            ratio = times["textbook"][what][1] / cpu
            epoch = wall * 900 / args.networks / 1e3
            print(f"{name:9s}{what:8s}{wall:7.0f} ms {cpu:7.0f} ms cpu {ratio:5.1f}x {epoch:6.1f} s for 900")


if __name__ == "__main__":
    main()
