"""Files of ResNet-50, of 1.24 and of 7 billion weights: `sne predict` as a command."""

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open

from speed_lines.line import Line, Reading, Setting
from speed_lines.material import (
    LLAMA_1B,
    LLAMA_7B,
    LLAMA_7B_FILE,
    Shapes,
    default_predictor,
    num_weights,
    resnet50_shapes,
    weight_file,
)
from speed_lines.timing import PYTHON, SNE, Times, alternate, floor, run, run_alternately

SLICE = 1 << 24
"""Bytes that are converted at a time: 8 million weights of bfloat16, 32 MB of float32."""


def copy_in_slices(path: Path) -> Callable[[], None]:
    """Returns a call that converts the bytes of a file to float32 once, into one buffer that stays in the cache."""
    buffer = torch.empty(SLICE // 2)

    def copy() -> None:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
            for start in range(0, len(mapped) - 1, SLICE):
                count = min(SLICE, len(mapped) - start) // 2
                values = torch.frombuffer(mapped, dtype=torch.bfloat16, count=count, offset=start)
                buffer[:count] = values
                del values

    return copy


def copy_tensors(path: Path) -> Callable[[], None]:
    """Returns a call that converts a file to float32 tensor by tensor, each into fresh memory."""

    def copy() -> None:
        with safe_open(path, "pt") as file:
            for name in file.keys():
                file.get_tensor(name).float()

    return copy


def _predict(setting: Setting, path: Path, *options: str) -> tuple[str, ...]:
    return (*SNE, "predict", str(path), "--predictor", str(default_predictor(setting.work)), *options)


def resnet(setting: Setting) -> list[Reading]:
    """Compares a prediction for ResNet-50, imports included, with the import of torch."""
    shapes = resnet50_shapes()
    path = weight_file(setting.work / "resnet50.safetensors", shapes, torch.float32)
    default_predictor(setting.work)
    commands = {"ours": _predict(setting, path), "torch": (*PYTHON, "import torch")}
    times = run_alternately(commands, threads=setting.threads, repeats=5)
    notes = [f"time beyond `import torch`: {times['ours'].wall - times['torch'].wall:.2f} s"]
    return [
        Reading(
            "`sne predict` of a ResNet-50 file, imports included",
            "`import torch` alone",
            times["ours"].wall,
            times["torch"].wall,
            2,
            cpu_ratio=times["ours"].cpu / times["torch"].cpu,
            threads=setting.threads,
            repeats=times["ours"].repeats,
            peak=times["ours"].peak,
            most_peak=400e6,
            floor=floor("bytes read once, beyond the import", bytes=path.stat().st_size),
            notes=notes,
        )
    ]


def _large(
    setting: Setting, what: str, path: Path, shapes: Shapes, most_peak: float, repeats: int, seconds: float
) -> list[Reading]:
    """Compares a prediction with two copies of the bytes; the prediction is not repeated where it takes long.

    The target is about the copy tensor by tensor; the other one shows what remains of it where no memory is written.
    """
    copies = alternate({"tensors": copy_tensors(path), "slices": copy_in_slices(path)}, repeats=3, seconds=seconds / 5)
    found: list[Times] = []
    while len(found) < repeats and sum(one.wall for one in found) < seconds / 2:
        found.append(run(_predict(setting, path), threads=setting.threads, seconds=seconds))
    ours = sorted(found, key=lambda one: one.wall)[len(found) // 2]
    weights = num_weights(shapes)
    return [
        Reading(
            f"`sne predict` of {what}, imports included",
            f"its bytes converted to float32 once, {opponent}",
            ours.wall,
            copy.wall,
            6,
            cpu_ratio=ours.cpu / copy.cpu,
            threads=setting.threads,
            repeats=len(found),
            peak=max(one.peak or 0 for one in found),
            most_peak=most_peak,
            floor=floor("bytes read once", bytes=2 * weights),
            notes=[
                f"{difference}; CPU time per weight: {1e9 * ours.cpu / weights:.1f} ns, of the copy "
                f"{1e9 * copy.cpu / weights:.2f} ns"
            ],
        )
        for opponent, copy, difference in (
            ("tensor by tensor", copies["tensors"], "the copy writes each tensor to memory"),
            (
                "in slices into one buffer that stays in the cache",
                copies["slices"],
                "the copy overwrites one buffer of 8 million weights and writes nothing else to memory, so that it is "
                "faster than the copy tensor by tensor that the target is about",
            ),
        )
    ]


def billion(setting: Setting) -> list[Reading]:
    """Compares a prediction for Llama 3.2 1B with a copy of its bytes."""
    path = weight_file(setting.work / "llama-1b.safetensors", LLAMA_1B, torch.bfloat16)
    return _large(setting, "1.24 B weights (Llama 3.2 1B, bf16)", path, LLAMA_1B, 1.2e9, 3, 200)


def seven_billion(setting: Setting) -> Iterator[Reading]:
    """Compares a prediction with a budget for Llama 2 7B, and then a whole one with a copy of its bytes.

    The file is deleted.
    """
    path = weight_file(setting.work / LLAMA_7B_FILE, LLAMA_7B, torch.bfloat16)
    try:
        sample = run(_predict(setting, path, "--budget", "50M"), threads=setting.threads, seconds=120)
        yield Reading(
            "`sne predict --budget 50M` of the 7 B weights, imports included",
            "30 seconds",
            sample.wall,
            30.0,
            1,
            threads=setting.threads,
            peak=sample.peak,
            most_peak=2e9,
            floor=floor("bytes of the sample", bytes=100e6),
        )
        yield from _large(setting, "7 B weights (Llama 2 7B, bf16)", path, LLAMA_7B, 2e9, 1, 360)
    finally:
        path.unlink()


LINES = (
    Line("resnet", resnet, 180),
    Line("1b", billion, 400),
    Line("7b", seven_billion, 900, (LLAMA_7B_FILE,)),
)
