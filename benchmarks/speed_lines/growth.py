"""Cost per weight from one million to one billion weights."""

import torch

from speed_lines.line import Line, Reading, Setting
from speed_lines.material import LLAMA_1B, llama_shapes, load_predictor, num_weights, weight_file
from speed_lines.timing import alternate, floor

SIZES = {
    "1m": llama_shapes(width=128, inner=384, layers=4, words=1600, key_width=64),
    "10m": llama_shapes(width=320, inner=1024, layers=7, words=4000, key_width=80),
    "100m": llama_shapes(width=768, inner=2048, layers=13, words=24000, key_width=256),
    "1b": LLAMA_1B,
}


def measure(setting: Setting) -> list[Reading]:
    """Compares the prediction for the largest network with that for the smallest, per weight, without imports."""
    predictor, costs, weights = load_predictor(setting.work), {}, {}
    repeats = 0
    for name, shapes in SIZES.items():
        path = weight_file(setting.work / f"llama-{name}.safetensors", shapes, torch.bfloat16)
        times = alternate({name: lambda path=path: predictor.predict(path)}, repeats=9, seconds=8, warm=name != "1b")[
            name
        ]
        weights[name] = num_weights(shapes)
        costs[name] = times.wall / weights[name]
        repeats = times.repeats
    each = "; ".join(f"{weights[n] / 1e6:,.1f} M weights: {1e9 * costs[n]:.2f} ns" for n in SIZES)
    return [
        Reading(
            "time per weight at 1.24 B weights (bf16 file, read and predicted)",
            "time per weight at 1 M weights",
            1e9 * costs["1b"],
            1e9 * costs["1m"],
            1.2,
            threads=setting.threads,
            repeats=repeats,
            unit="ns",
            floor=floor("bytes read once per weight", bytes=2),
            notes=[each],
        )
    ]


LINES = (Line("growth", measure, 300),)
