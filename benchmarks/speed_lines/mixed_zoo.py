"""Training throughput on a zoo of six families, against one family with as many weights."""

from pathlib import Path

import numpy as np
import torch

from sne.encoders import PRESETS
from sne.making import FAMILIES, load_images
from sne.predictors import Property
from sne.predictors.experts import Examples, FitContext, Fold, NeuralExpert, Prepared
from sne.predictors.experts.state import StateStore
from sne.training import preset_settings
from sne.zoo import Zoo, ZooWriter
from speed_lines.line import Line, Reading, Setting
from speed_lines.material import once
from speed_lines.timing import Times, alternate

MIXED = ("small_cnn", "cnn_s", "mlp", "residual_cnn", "vit", "gru")
PER_FAMILY = 32
EPOCHS = 4


def untrained_zoo(work: Path, name: str, families: tuple[str, ...], count: int) -> Zoo:
    """Returns a zoo of untrained networks, `count` of each family; no time depends on what they have learned."""

    def write(path: Path) -> None:
        images, rng = load_images("digits"), np.random.default_rng(0)
        with ZooWriter(path) as writer:
            for number in range(count * len(families)):
                family = families[number % len(families)]
                generator = torch.Generator().manual_seed(number)
                hyperparameters = FAMILIES[family].sample(rng)
                module = FAMILIES[family].build(hyperparameters, images.shape, images.num_classes, generator)
                writer.add(
                    id=f"n{number}", run=f"n{number}", family=family, dataset="digits", step=0,
                    state=module.state_dict(), properties={"test_accuracy": float(rng.random())}, hyperparameters={},
                )  # fmt: skip

    return Zoo.open(once(work / name, write))


def training(zoo: Zoo) -> tuple[NeuralExpert, Examples]:
    """Returns a neural expert of `default` and the examples of a zoo."""
    prop = Property("test_accuracy", "fraction")
    items = PRESETS["default"]().prepare(zoo.networks(range(len(zoo))))
    labels = torch.tensor(zoo.column("test_accuracy"), dtype=torch.float32).unsqueeze(1)
    settings = preset_settings("default", epochs=EPOCHS)
    expert = NeuralExpert.create(PRESETS["default"], [prop], settings)
    return expert, Examples(Prepared(items), labels, list(range(len(zoo))))


def measure(setting: Setting) -> list[Reading]:
    """Compares weights per second in the training loop of the neural expert."""
    mixed = untrained_zoo(setting.work, "untrained-mixed", MIXED, PER_FAMILY)
    total = sum(mixed.num_weights(row) for row in range(len(mixed)))
    one = untrained_zoo(setting.work, "untrained-small_cnn", ("small_cnn",), round(total / 4970))
    totals = {"mixed": total, "one": sum(one.num_weights(row) for row in range(len(one)))}
    calls = {}
    for name, zoo in (("mixed", mixed), ("one", one)):
        expert, examples = training(zoo)
        fold = Fold(np.arange(len(zoo)), np.arange(0))
        context = FitContext(
            name=name, seed=(0,), device=torch.device("cpu"), store=StateStore(None, {}), resume=False, copies=None,
            on_progress=lambda *_: None,
        )  # fmt: skip
        calls[name] = lambda expert=expert, examples=examples, fold=fold, context=context: expert.fit(
            examples, fold, context
        )
    times: dict[str, Times] = alternate(calls, repeats=3, seconds=40)
    each = {name: 1e6 * times[name].wall / totals[name] / EPOCHS for name in times}
    return [
        Reading(
            f"training `default` on {len(mixed)} networks of six families, time per weight",
            f"the same on {len(one)} small CNNs, {totals['one']:,} and {total:,} weights",
            each["mixed"],
            each["one"],
            0.8,
            at_least=True,
            cpu_ratio=times["one"].cpu / times["mixed"].cpu * totals["mixed"] / totals["one"],
            threads=setting.threads,
            repeats=times["mixed"].repeats,
            unit="us",
            notes=[f"seconds per epoch: {times['mixed'].wall / EPOCHS:.2f} and {times['one'].wall / EPOCHS:.2f}"],
        )
    ]


LINES = (Line("mixed", measure, 240),)
