"""Measures the time of the graph network's messages, compared with separate operations and autograd in the same run.

    python benchmarks/bench_graph_messages.py --threads 1

The minimum work of one layer per edge, in multiply-adds, is edge_dim x hidden for the message, the same for the new
edge, and three times the sum with the backward pass: 3,100 for sizes of 16 and 32. The rest is memory traffic: `hidden`
numbers per edge, each time that messages are read or written.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import silu

from sne.lab.neural.graph_network import pass_messages

LAYERS = {"perceptron, 784 to 24": (1, 24, 784), "CNN, 16 to 16 of 3 x 3": (32, 16, 16)}
"""Number of blocks, written nodes and read nodes. The second is a batch, since small blocks come in large numbers."""


def single_steps(edges: Tensor, *, inward, outward, written, read, writes, reads) -> tuple[Tensor, Tensor, Tensor]:
    message = torch.einsum("hc,bctf->bhtf", inward, edges) + written[..., :, None] + read[..., None, :]
    message = silu(message)
    carried = torch.stack([message.mean(3), (message * reads[..., None, :]).mean(3)], -1)
    returned = torch.stack([message.mean(2), (message * writes[..., :, None]).mean(2)], -1)
    return carried, returned, torch.einsum("ch,bhtf->bctf", outward, message)


def drawn(blocks: int, num_to: int, num_from: int, edge_dim: int, hidden: int) -> dict[str, Tensor]:
    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, requires_grad=True)

    return {
        "edges": numbers(blocks, edge_dim, num_to, num_from),
        "inward": numbers(hidden, edge_dim),
        "outward": numbers(edge_dim, hidden),
        "written": numbers(blocks, hidden, num_to),
        "read": numbers(blocks, hidden, num_from),
        "writes": numbers(blocks, hidden, num_to),
        "reads": numbers(blocks, hidden, num_from),
    }


def cpu_ms(calls: list[Callable[[], object]], repeats: int) -> Iterator[float]:
    """Yields the CPU milliseconds of the fastest repeat of each call; calls alternate to share the machine's load."""
    best = [float("inf")] * len(calls)
    for repeat in range(repeats + 1):  # the first warms up
        for number, call in enumerate(calls):
            start = time.process_time()
            call()
            if repeat:
                best[number] = min(best[number], 1e3 * (time.process_time() - start))
    yield from best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--edge-dim", type=int, default=16, help="length of an edge's vector (default %(default)s)")
    parser.add_argument("--hidden", type=int, default=32, help="length of a message (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=20, help="repeats, of which the fastest counts (default %(default)s)"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(f"# {platform.machine()}, {args.threads} threads, load {os.getloadavg()[0]:.1f}")
    for name, (blocks, num_to, num_from) in LAYERS.items():
        given = drawn(blocks, num_to, num_from, args.edge_dim, args.hidden)

        def both(make: Callable[..., tuple[Tensor, ...]], given: dict[str, Tensor] = given) -> None:
            torch.stack([one.square().mean() for one in make(**given)]).sum().backward()

        own, steps = cpu_ms([lambda: both(pass_messages), lambda: both(single_steps)], args.repeats)
        edges = blocks * num_to * num_from
        floor = 2 * 6 * args.edge_dim * args.hidden * edges / 1e6
        print(
            f"{name:24s}{edges:7d} edges  own {own:6.1f} ms  separate operations {steps:6.1f} ms  {steps / own:4.1f}x  "
            f"minimum work {floor:5.0f} MFLOP, {floor / own:4.0f} GFLOP/s"
        )


if __name__ == "__main__":
    main()
