"""The preset `paper` against textbook modules with the same parameters and outputs."""

import os
from collections.abc import Callable
from functools import partial

import torch
from bench_set_encoder import TOKENS, exponentials, multiply_adds, small_cnns, textbook

from sne.encoders.set_encoder import SetEncoder
from speed_lines.line import Line, Reading, Setting
from speed_lines.timing import alternate, floor

NETWORKS = 64


def measure(setting: Setting) -> list[Reading]:
    """Compares forward passes and training steps."""
    torch.manual_seed(0)
    encoder = SetEncoder()
    items = encoder.prepare(small_cnns(NETWORKS))
    encoder.fit_scale(items)
    batch = encoder.collate(items)
    slow = textbook(encoder)
    errors = {}
    for value in ("0", "1"):
        os.environ["SNE_COMPILE"] = value
        with torch.inference_mode():
            exact, other = encoder(batch), slow(batch)
        errors[value] = error = float((exact - other).abs().max() / exact.abs().max())
        if error > 1e-5:
            raise RuntimeError(f"outputs differ by {error:.1e}, expected 1e-5 or less")

    def forward(one: SetEncoder) -> None:
        with torch.inference_mode():
            one(batch)

    def step(one: SetEncoder) -> None:
        one.zero_grad()
        one(batch).square().mean().backward()

    weights = 4970 * NETWORKS
    products, powers = multiply_adds(encoder.dim, TOKENS, is_textbook=False), exponentials(TOKENS)
    forms = {"torch's operations": "0", "compiled kernel, SNE_COMPILE=1": "1"}

    def with_variable(value: str, call: Callable[[SetEncoder], None]) -> None:
        os.environ["SNE_COMPILE"] = value
        call(encoder)

    readings = []
    for what, call, target, passes in (("forward", forward, 5, 1), ("forward and backward", step, 4, 3)):
        ours = {form: partial(with_variable, value, call) for form, value in forms.items()}
        times = alternate({**ours, "textbook": partial(call, slow)}, repeats=5, seconds=45)
        least = floor(
            f"{products:,} multiply-adds per weight and pass, {powers} exponentials per weight",
            bytes=4 * weights,
            multiply_adds=passes * products * weights,
            exponentials=powers * weights,
        )
        readings += [
            Reading(
                f"`paper`, 64 small CNNs, {what}, {form}",
                "textbook modules with the same parameters",
                times[form].wall,
                times["textbook"].wall,
                target,
                at_least=True,
                cpu_ratio=times["textbook"].cpu / times[form].cpu,
                threads=setting.threads,
                repeats=times[form].repeats,
                floor=least,
                notes=[f"outputs differ by {errors[value]:.0e} of the largest"],
            )
            for form, value in forms.items()
        ]
    return readings


LINES = (Line("paper", measure, 180),)
