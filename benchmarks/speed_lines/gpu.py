"""One GPU: 7 billion weights from the page cache, `paper`, and the making of zoos."""

import json
import subprocess
import sys
from pathlib import Path

import torch

from speed_lines.line import Line, Reading, Setting, Skipped
from speed_lines.material import LLAMA_7B, LLAMA_7B_FILE, load_predictor, weight_file
from speed_lines.timing import alternate

HERE = Path(__file__).parents[1]
SLICE = 1 << 28


def _need_gpu() -> str:
    if not torch.cuda.is_available():
        raise Skipped("no CUDA device")
    return torch.cuda.get_device_name()


def seven_billion(setting: Setting) -> list[Reading]:
    """Compares a prediction with a copy of the file's bytes to the device."""
    device = _need_gpu()
    path = weight_file(setting.work / LLAMA_7B_FILE, LLAMA_7B, torch.bfloat16)
    try:
        predictor = load_predictor(setting.work).to("cuda")
        mapped = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8)
        target = torch.empty(SLICE, dtype=torch.uint8, device="cuda")

        def copy() -> None:
            for start in range(0, len(mapped), SLICE):
                piece = mapped[start : start + SLICE]
                target[: len(piece)].copy_(piece)
            torch.cuda.synchronize()

        def ours() -> None:
            predictor.predict(path)
            torch.cuda.synchronize()

        times = alternate({"copy": copy, "ours": ours}, repeats=3, seconds=60)
    finally:
        path.unlink()
    return [
        Reading(
            f"prediction for 7 B weights from the page cache ({device})", "copy of the bytes to the device",
            times["ours"].wall, times["copy"].wall, 3, threads=setting.threads, repeats=times["ours"].repeats,
        )
    ]  # fmt: skip


def paper(setting: Setting) -> list[Reading]:
    """Compares forward passes of `paper` with textbook modules on the device."""
    from bench_set_encoder import small_cnns, textbook

    from sne.encoders.set_encoder import SetEncoder

    device = _need_gpu()
    encoder = SetEncoder()
    items = encoder.prepare(small_cnns(64))
    encoder.fit_scale(items)
    slow = textbook(encoder).to("cuda")
    encoder.to("cuda")
    batch = encoder.collate(items).to("cuda")

    def forward(one: SetEncoder) -> None:
        with torch.inference_mode():
            one(batch)
        torch.cuda.synchronize()

    times = alternate({"ours": lambda: forward(encoder), "textbook": lambda: forward(slow)}, repeats=20)
    return [
        Reading(
            f"`paper`, 64 small CNNs, forward ({device})", "textbook modules on the device",
            times["ours"].wall, times["textbook"].wall, 20,
            at_least=True, threads=setting.threads, repeats=times["ours"].repeats,
        )
    ]  # fmt: skip


def making(setting: Setting) -> list[Reading]:
    """Compares `sne zoo make` on the device with a plain loop, as bench_zoo_making.py measures it."""
    device = _need_gpu()
    out = HERE / "results" / "zoo_making_cuda.json"
    subprocess.run(
        [
            sys.executable, str(HERE / "bench_zoo_making.py"), "--images", "digits", "--device", "cuda",
            "--networks", "1024", "--plain-networks", "4", "--rounds", "1",
        ],
        check=True,
    )  # fmt: skip
    ratio = json.loads(out.read_text())["ratio"]
    return [
        Reading(
            f"`sne zoo make` of 1,024 small CNNs ({device}), time per network", "a plain loop on the device",
            1.0, ratio, 100, at_least=True, threads=setting.threads, unit="of ours",
        )
    ]  # fmt: skip


LINES = (
    Line("gpu-7b", seven_billion, 300, (LLAMA_7B_FILE,)),
    Line("gpu-paper", paper, 120),
    Line("gpu-making", making, 600),
)
