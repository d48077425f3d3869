"""Measures `sne compare` on files of the size of ResNet-50 and of Llama 3.2 1B: CPU time, wall time and peak memory.

    python benchmarks/compare_speed.py --work WORK [--out TABLE.json] [--repeats 3] [--sizes resnet50 llama-1b]

The files have random values. The relative of each has noise of a tenth of the spread of its values on top, and the
stranger has other random values. WORK keeps them: 0.3 GB for ResNet-50 in float32, 7.5 GB for Llama 3.2 1B in bfloat16.
Writes TABLE.json, and the same as a table in TABLE.md; by default, both in WORK. The files of that name in
benchmarks/results were measured by hand, in turns with an earlier version, and are not overwritten by default.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from speed_lines.material import LLAMA_1B, num_weights, once, resnet50_shapes, weight_file
from speed_lines.timing import SNE, run

NOISE = 0.1
MOST_ENTRIES = 1 << 24
SIZES = {"resnet50": (resnet50_shapes(), torch.float32), "llama-1b": (LLAMA_1B, torch.bfloat16)}
TARGETS = {"resnet50": "5 s", "llama-1b": "120 s, 1.5 GB"}


def noisy_file(path: Path, source: Path) -> Path:
    """Returns a copy of a file with noise on all weights."""

    def write(draft: Path) -> None:
        block = torch.randn(2 * MOST_ENTRIES, generator=torch.Generator().manual_seed(1))
        with source.open("rb") as file:
            length = file.read(8)
            text = file.read(int.from_bytes(length, "little"))
        with safe_open(source, "pt") as tensors, draft.open("wb") as file:
            file.write(length + text)
            for number, name in enumerate(json.loads(text)):
                for piece in pieces_of(tensors, name):
                    if piece.is_floating_point():
                        noise = block[number : number + piece.numel()].view_as(piece)
                        piece = (piece.float() + NOISE * piece.float().std(correction=0) * noise).to(piece.dtype)
                    file.write(piece.contiguous().view(-1).view(torch.uint8).numpy().data)

    return once(path, write)


def pieces_of(tensors: safe_open, name: str) -> Iterator[torch.Tensor]:
    """Yields a tensor in pieces of whole rows."""
    rows = tensors.get_slice(name)
    shape = rows.get_shape()
    if len(shape) < 2:
        yield tensors.get_tensor(name)
        return
    height = max(1, MOST_ENTRIES // torch.Size(shape[1:]).numel())
    for start in range(0, shape[0], height):
        yield rows[start : start + height]


def text_of(record: dict[str, object], rows: list[dict[str, object]]) -> str:
    lines = [
        "# Speed of sne compare", "",
        f"{record['machine']}. The commands start Python and import torch. CPU time depends less than wall time on "
        "what else the machine does; with one thread, wall time is at least CPU time.", "",
        "| files | weights | relation | CPU | wall | peak memory | target |", "|" + "---|" * 7,
    ]  # fmt: skip
    for row in rows:
        lines.append(
            f"| {row['files']} | {row['weights']:,} | {row['relation']} | {row['cpu']:.1f} s | {row['wall']:.1f} s | "
            f"{row['peak'] / 1e9:.2f} GB | {row['target']} |"
        )
    return "\n".join([*lines, "", "Made by `python benchmarks/compare_speed.py --work WORK`. Medians of "
                      f"{record['repeats']} runs.", ""])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the files")
    parser.add_argument("--out", type=Path, help="table to write, .json; default: compare_speed.json in WORK")
    parser.add_argument("--repeats", type=int, default=3, help="number of runs of each command")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES), help="which files")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for size in options.sizes:
        shapes, dtype = SIZES[size]
        base = weight_file(options.work / f"{size}.safetensors", shapes, dtype)
        others = {
            "relative": noisy_file(options.work / f"{size}-tuned.safetensors", base),
            "stranger": weight_file(options.work / f"{size}-stranger.safetensors", shapes, dtype, seed=2),
        }
        for kind, other in others.items():
            said = options.work / "compared.json"
            compare = [*SNE, "compare", str(base), str(other), "--json"]
            command = ["sh", "-c", f'exec "$@" > {shlex.quote(str(said))}', "sh", *compare]
            times = [run(command, threads=1, seconds=3600) for _ in range(options.repeats)]
            middle = sorted(times, key=lambda one: one.cpu)[len(times) // 2]
            rows.append({
                "files": f"{size}, {kind}", "weights": num_weights(shapes),
                "relation": json.loads(said.read_text())["relation"],
                "cpu": middle.cpu, "wall": min(one.wall for one in times), "peak": max(one.peak or 0 for one in times),
                "target": TARGETS[size],
            })  # fmt: skip
            print(rows[-1], file=sys.stderr, flush=True)
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    record = {
        "machine": f"{os.cpu_count()} cores, torch {torch.__version__}, 1 thread, load averages {loads}",
        "repeats": options.repeats,
    }
    out = options.out or options.work / "compare_speed.json"
    out.write_text(json.dumps({**record, "rows": rows}, indent=1) + "\n")
    out.with_suffix(".md").write_text(text_of(record, rows))


if __name__ == "__main__":
    main()
