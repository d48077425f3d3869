"""Measures the speed of a zoo on disk: writing, opening, random and shuffled reading, verifying, describing.

    OMP_NUM_THREADS=1 python benchmarks/bench_zoo_store.py [--networks 100000] [--work FOLDER]

Writes a synthetic zoo into FOLDER: small CNNs of 4,970 weights each, or MLPs whose layouts are all different. Prints a
Markdown table and writes results/zoo_store.json next to this file. All readings come from the page cache.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sne.zoo import Zoo, ZooWriter, verify
from sne.zoo.store.layout import Layout, flatten
from sne.zoo.store.summary import summarise

CNN = {
    "layers.0.weight": (16, 1, 3, 3), "layers.0.bias": (16,),
    "layers.1.weight": (16, 16, 3, 3), "layers.1.bias": (16,),
    "layers.2.weight": (16, 16, 3, 3), "layers.2.bias": (16,),
    "layers.3.weight": (10, 16), "layers.3.bias": (10,),
}  # fmt: skip
OPEN = """
import sys, time
from sne.zoo import Zoo
start = time.perf_counter()
Zoo.open(sys.argv[1])
print(time.perf_counter() - start)
"""  # in a process of its own, so that nothing is loaded yet
TARGETS = {
    "open": "< 1 s", "a random network's weights": "< 1 ms", "shuffled epoch, batches of 256": "> 300 MB/s",
}  # fmt: skip


def cnn_layout(_: int) -> Layout:
    return _CNN_LAYOUT


def mlp_layout(number: int) -> Layout:
    """Returns a layout that is different for each of the first 100,000 numbers."""
    first, second = 8 + number % 250, 8 + number // 250
    shapes = {"0.weight": (first, 16), "0.bias": (first,), "2.weight": (second, 2), "2.bias": (second,)}
    return flatten({name: torch.zeros(shape) for name, shape in shapes.items()})[0]


_CNN_LAYOUT = flatten({name: torch.zeros(shape) for name, shape in CNN.items()})[0]


def write(path: Path, networks: int, layout_of: Callable[[int], Layout], storage: str) -> None:
    generator = np.random.default_rng(0)
    pool = torch.randn(1 << 22)
    with ZooWriter(path, storage=storage) as writer:
        for number in range(networks):
            layout = layout_of(number)
            start = int(generator.integers(len(pool) - layout.num_entries))
            accuracy = float(generator.random())
            writer.add_flat(
                id=f"small_cnn-{number // 9:06d}@{number % 9}",
                run=f"small_cnn-{number // 9:06d}",
                family="small_cnn",
                dataset="mnist",
                step=number % 9,
                layout=layout,
                vector=pool[start : start + layout.num_entries],
                properties={
                    "train_accuracy": accuracy, "test_accuracy": accuracy, "train_loss": 1 - accuracy,
                    "test_loss": 1 - accuracy, "generalization_gap": 0.0, "diverged": False, "wall_time": accuracy,
                },
                hyperparameters={
                    "optimizer": "adam", "learning_rate": accuracy, "weight_decay": 1e-4, "dropout": 0.1,
                    "activation": "relu", "train_fraction": 0.5, "batch_size": 512,
                },
            )  # fmt: skip


def seconds(run: Callable[[], object], repeat: int = 1) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def figures(path: Path, layout_of: Callable[[int], Layout], networks: int, storage: str) -> dict[str, str]:
    """Returns the cells of one column of the table."""
    wrote = seconds(lambda: write(path, networks, layout_of, storage))
    size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    opened = statistics.median(float(subprocess.check_output([sys.executable, "-c", OPEN, path])) for _ in range(5))
    zoo = Zoo.open(path)
    first = seconds(lambda: zoo.weights(networks // 2))
    rows = np.random.default_rng(1).permutation(networks)
    passes = [seconds(lambda: epoch(zoo, rows)) for _ in range(2)]
    sample = rows[:2000].tolist()
    weights = [seconds(lambda row=row: zoo.weights(row)) for row in sample]
    loads = [seconds(lambda row=row: load_all(zoo, row)) for row in sample]
    read = sum(zoo.num_weights(row) for row in range(networks)) * torch.empty(0, dtype=_dtype(zoo)).element_size() / 1e6
    verified = seconds(lambda: verify(path))
    return {
        "size": f"{size:,.0f} MB in {len(list(path.iterdir()))} files",
        "written": f"{wrote:.1f} s, {networks / wrote:,.0f} networks/s, {size / wrote:.0f} MB/s",
        "open": f"{opened:.3f} s",
        "first weights after opening": f"{first * 1e3:.1f} ms",
        "a random network's weights": f"{_quantiles(weights)}",
        "a random network's `network`, all tensors": f"{_quantiles(loads)}",
        "shuffled epoch, batches of 256": f"{read / passes[0]:,.0f} MB/s at first, {read / passes[1]:,.0f} MB/s again",
        "`sne zoo info`": f"{seconds(lambda: summarise(Zoo.open(path))):.2f} s",
        "`sne zoo verify`": f"{verified:.1f} s, {read / verified:,.0f} MB/s",
    }


def epoch(zoo: Zoo, rows: np.ndarray) -> None:
    for start in range(0, len(rows), 256):
        zoo.weight_rows(rows[start : start + 256])


def load_all(zoo: Zoo, row: int) -> None:
    network = zoo.network(row)
    for name in network.source.infos:
        network.source.load(name)


def _dtype(zoo: Zoo) -> torch.dtype:
    return zoo.stored(0).dtype


def _quantiles(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{statistics.median(ordered) * 1e6:.0f} us, 99% in {ordered[int(0.99 * len(ordered))] * 1e6:.0f} us"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=100_000, help="number of networks (default %(default)s)")
    parser.add_argument("--work", type=Path, help="folder for the zoo (default: a temporary folder)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent / "results" / "zoo_store.json",
        help="JSON file to write (default %(default)s)",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = Path(tempfile.mkdtemp(dir=options.work))
    kinds = {
        "small CNNs, float32": (cnn_layout, "float32"),
        "small CNNs, bfloat16": (cnn_layout, "bfloat16"),
        "MLPs, different layouts": (mlp_layout, "float32"),
    }
    results = {}
    for name, (layout_of, storage) in kinds.items():
        results[name] = figures(work / "zoo", layout_of, options.networks, storage)
        shutil.rmtree(work / "zoo")
    shutil.rmtree(work)
    print(f"{options.networks:,} networks\n\n|  | target | {' | '.join(results)} |\n|---|---|{'---|' * len(results)}")
    for line in next(iter(results.values())):
        print(f"| {line} | {TARGETS.get(line, '')} | {' | '.join(column[line] for column in results.values())} |")
    where = f"{platform.machine()}, torch {torch.__version__}, one thread, load average {os.getloadavg()[1]:.1f}"
    command = "OMP_NUM_THREADS=1 python benchmarks/bench_zoo_store.py"
    record = {"command": command, "networks": options.networks, "machine": where, "results": results}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
