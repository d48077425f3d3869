"""Measures the speed of `sne zoo make`, compared with a plain PyTorch loop on the same networks.

    python benchmarks/bench_zoo_making.py --images mnist.npz [--networks 16] [--steps 400] [--workers 2] [--device cpu]

The plain loop is what a simple script does: one process, `nn.Dropout`, all images scaled once, one network after
another. It is run with torch's default number of threads and with one thread, and the faster counts. It trains the same
networks of the family `small_cnn` (equal hyper-parameters, initial weights and images) for as many steps, and measures
them as often. With --device cuda, both run on the GPU, with the zoo's networks in stacks. The two alternate, and their
accuracies are compared. Prints a Markdown table and writes results/zoo_making_DEVICE.json next to this file.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sne.making import load_images, make
from sne.making.families import FAMILIES
from sne.making.families.blocks import ByteDropout
from sne.making.images import ImageSet
from sne.making.randomness import Seeds
from sne.making.recipe import RunId
from sne.zoo import Zoo

FAMILY = FAMILIES["small_cnn"]
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam, "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop,
}  # fmt: skip


def plain_dropout(module: nn.Module, probability: float) -> None:
    """Replaces our dropout by that of torch."""
    for name, child in module.named_children():
        if isinstance(child, ByteDropout):
            setattr(module, name, nn.Dropout(probability))
        else:
            plain_dropout(child, probability)


def plain_network(unit: RunId, images: ImageSet, scaled: tuple[torch.Tensor, ...], arguments: Any) -> float:
    """Trains one network as a script would and returns its test accuracy."""
    x_train, y_train, x_test, y_test = scaled
    seeds = Seeds(unit.seeds(0))
    chosen = FAMILY.sample(seeds.hyperparameters())
    order = torch.randperm(len(x_train), generator=torch.Generator().manual_seed(seeds.data)).to(x_train.device)
    own = order[: round(chosen["train_fraction"] * len(order))]
    x, y = x_train[own], y_train[own]
    module = FAMILY.build(chosen, images.shape, images.num_classes, torch.Generator().manual_seed(seeds.initial))
    plain_dropout(module, chosen["dropout"])
    module.to(arguments.device)
    settings: dict[str, Any] = {"lr": chosen["learning_rate"], "weight_decay": chosen["weight_decay"]}
    settings |= {"alpha": 0.9} if chosen["optimizer"] == "rmsprop" else {}
    optimiser = OPTIMISERS[chosen["optimizer"]](module.parameters(), **settings)
    step = 0
    while step < arguments.steps:
        shuffled = torch.randperm(len(x), device=x.device)
        for start in range(0, len(x) - 63, 64):
            rows = shuffled[start : start + 64]
            optimiser.zero_grad()
            loss = cross_entropy(module(x[rows]), y[rows])
            loss.backward()
            optimiser.step()
            step += 1
            if step == arguments.steps:
                break
    module.eval()
    with torch.no_grad():
        accuracies = [
            float((module(pixels[:2000]).argmax(1) == classes[:2000]).float().mean())
            for pixels, classes in ((x, y), (x_test, y_test))
        ]
    return accuracies[1]


def plain(images: ImageSet, arguments: Any, networks: int) -> tuple[float, list[float]]:
    """Returns the seconds per network and the accuracies of the plain loop."""
    scaled = tuple(
        tensor.to(arguments.device)
        for tensor in (images.scale(images.x_train), images.y_train, images.scale(images.x_test), images.y_test)
    )
    started = time.perf_counter()
    accuracies = [plain_network(RunId(FAMILY.name, i), images, scaled, arguments) for i in range(networks)]
    return (time.perf_counter() - started) / networks, accuracies


def ours(folder: Path, arguments: Any) -> tuple[float, list[float]]:
    """Returns the seconds per network, including the start of workers, and the accuracies of `make`."""
    started = time.perf_counter()
    zoo: Zoo = make(
        folder / f"zoo-{started}",
        families=[FAMILY.name],
        images=arguments.images,
        networks=arguments.networks,
        steps=arguments.steps,
        keep=[arguments.steps],
        workers=arguments.workers,
        device=arguments.device,
        channels=arguments.channels,
    )
    seconds = (time.perf_counter() - started) / arguments.networks
    return seconds, zoo.column("test_accuracy").tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="image set, an .npz file or digits")
    parser.add_argument("--networks", type=int, default=16, help="number of networks (default %(default)s)")
    parser.add_argument(
        "--plain-networks", type=int, default=None, help="number of networks of the plain loop (default: --networks)"
    )
    parser.add_argument("--steps", type=int, default=400, help="optimiser steps per network (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes of sne zoo make (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="device: cpu or cuda (default %(default)s)")
    parser.add_argument(
        "--channels", default="as_is", help="channels of the images, as for sne zoo make (default %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=2, help="rounds, of which the fastest counts (default %(default)s)"
    )
    arguments = parser.parse_args()
    images = load_images(arguments.images, channels=arguments.channels)
    count = arguments.plain_networks or arguments.networks
    readings: dict[str, list[float]] = {"plain": [], "plain, one thread": [], "sne": []}
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            for name, number in (("plain", threads), ("plain, one thread", 1)):
                torch.set_num_threads(number)
                seconds, theirs = plain(images, arguments, count)
                readings[name].append(seconds)
            seconds, made = ours(Path(folder), arguments)
            readings["sne"].append(seconds)
    best = {name: min(values) for name, values in readings.items()}
    quicker = min(best["plain"], best["plain, one thread"])
    difference = np.array(made[:count]) - np.array(theirs)
    report = {
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else platform.machine(),
        "cores": os.cpu_count(), "threads of the plain loop": threads, "workers": arguments.workers,
        "torch": torch.__version__, "images": images.name, "networks": arguments.networks, "steps": arguments.steps,
        "seconds a network": readings, "ratio": quicker / best["sne"],
        "mean accuracy": {"plain": float(np.mean(theirs)), "sne": float(np.mean(made[:count]))},
        "largest difference of accuracy": float(np.abs(difference).max()),
        "correlation of accuracies": float(np.corrcoef(made[:count], theirs)[0, 1]),
    }  # fmt: skip
    path = Path(__file__).parent / "results" / f"zoo_making_{arguments.device}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print("| | seconds per network | networks per hour | mean test accuracy |\n|---|---|---|---|")
    titles = {"plain": f"plain loop, {threads} threads", "plain, one thread": "plain loop, one thread",
              "sne": f"sne zoo make, {arguments.workers} workers"}  # fmt: skip
    for name, title in titles.items():
        accuracy = report["mean accuracy"][name.partition(",")[0]]
        print(f"| {title} | {best[name]:.3f} | {3600 / best[name]:,.0f} | {accuracy:.3f} |")
    print(f"\n{report['ratio']:.2f} times as many networks as the plain loop; correlation of accuracies "
          f"{report['correlation of accuracies']:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
