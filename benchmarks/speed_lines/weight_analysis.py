"""The whole analysis of a network against WeightWatcher, a package that fits the spectrum of every layer.

pip install weightwatcher
"""

import contextlib
import io
import logging
import time
from importlib.metadata import version

import torch
from torch import nn

from speed_lines.line import Line, Reading, Setting, Skipped
from speed_lines.material import LLAMA_1B, Shapes, load_predictor, resnet50_shapes, weight_file
from speed_lines.timing import alternate


def modules(shapes: Shapes) -> nn.Sequential:
    """Returns linear layers and convolutions with the shapes of all matrices and kernels, and random weights."""
    layers: list[nn.Module] = []
    for shape in shapes.values():
        if len(shape) == 4:
            layers.append(nn.Conv2d(shape[1], shape[0], shape[2:], bias=False))
        elif len(shape) == 2:
            layers.append(nn.Linear(shape[1], shape[0], bias=False))
    return nn.Sequential(*layers)


def seconds_of_weightwatcher(model: nn.Module) -> float:
    """Returns the time of `analyze` with its default settings."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            import weightwatcher
        except ImportError as error:
            raise Skipped(f"{error}: pip install weightwatcher") from None
        logging.getLogger("weightwatcher").setLevel(logging.ERROR)
        watcher = weightwatcher.WeightWatcher(model=model)
        started = time.perf_counter()
        details = watcher.analyze()
    if len(details) < len(list(model.children())):
        raise RuntimeError(f"WeightWatcher analysed {len(details)} layers of {len(list(model.children()))}")
    return time.perf_counter() - started


def measure(setting: Setting) -> list[Reading]:
    """Compares ResNet-50 as a whole, and Llama 3.2 1B with 16 times one of its 16 equal blocks."""
    predictor, readings = load_predictor(setting.work), []
    block = {name: shape for name, shape in LLAMA_1B.items() if name.startswith("model.layers.0.")}
    for what, shapes, times_more, file, dtype in (
        ("ResNet-50", resnet50_shapes(), 1, "resnet50", torch.float32),
        ("1.24 B weights", block, 16, "llama-1b", torch.bfloat16),
    ):
        path = weight_file(setting.work / f"{file}.safetensors", LLAMA_1B if times_more > 1 else shapes, dtype)
        own = alternate(
            {"ours": lambda path=path: predictor.predict(path)}, repeats=3, seconds=20, warm=times_more == 1
        )["ours"]
        theirs = times_more * seconds_of_weightwatcher(modules(shapes))
        about = "" if times_more == 1 else f", {times_more} times one of {times_more} equal blocks"
        readings.append(
            Reading(
                f"prediction for {what}, without imports",
                f"WeightWatcher {version('weightwatcher')}, `analyze`{about}",
                own.wall,
                theirs,
                None,
                threads=setting.threads,
                repeats=own.repeats,
            )
        )
    return readings


LINES = (Line("weightwatcher", measure, 300),)
