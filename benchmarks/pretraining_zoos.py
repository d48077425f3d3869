"""Makes the zoos that the packaged predictor is trained on: every family on every image set, short and long runs.

    python benchmarks/pretraining_zoos.py WORK --data DATA [--workers 2] [--only ROUND]

DATA has the image sets as .npz files; `digits` comes with scikit-learn. Each zoo is a folder of WORK. An interrupted
run continues where it stopped, and the zoos do not depend on the number of workers. The rounds come in the order of
their use: all families on all image sets first, then larger networks, then longer and further runs.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sne.making import make

IMAGES = ("digits", "mnist", "fashion_mnist", "usps", "cifar10_gs", "svhn_crops_gs")
CHEAP = ("small_cnn", "cnn_s", "mlp", "gru")
COSTLY = ("residual_cnn", "wild_cnn", "vit")
LEFT_OUT = {"digits": ("cnn_s",)}
"""Families that are not trained on an image set."""

SIDES = {"usps": 20}
"""Side in pixels of image sets that are too small for a family."""

FLIPPED = ("fashion_mnist", "cifar10_gs")
"""Image sets whose classes do not depend on left and right."""


@dataclass(frozen=True)
class Part:
    """One zoo per image set.

    Args:
        families: Families of networks.
        steps: Number of optimiser steps per run.
        networks: Number of training runs per family.
        name: Name of the part within its round.
    """

    families: tuple[str, ...]
    steps: int
    networks: int
    name: str = ""


@dataclass(frozen=True)
class Round:
    """The parts of a round, and its seed; the place of an image set in `IMAGES` is added to it."""

    seed: int
    parts: tuple[Part, ...]
    images: tuple[str, ...] = IMAGES


ROUNDS = {
    "short": Round(5000, (Part(CHEAP + COSTLY, 300, 24),)),
    "people": Round(
        7000,
        (
            Part(("lenet",), 3780, 6, "lenet"),
            Part(("resnet",), 972, 6, "resnet"),
            Part(("vgg",), 972, 6, "vgg"),
            Part(("mnist_cnn",), 2160, 4, "mnist_cnn"),
        ),
    ),
    "middle": Round(6000, (Part(CHEAP, 1200, 36, "cheap"), Part(COSTLY, 1200, 10, "costly"))),
    "long": Round(4000, (Part(CHEAP, 4000, 20, "cheap"), Part(COSTLY, 4000, 5, "costly"))),
    "more": Round(8000, (Part(CHEAP, 400, 48, "cheap"), Part(COSTLY, 400, 16, "costly"))),
    "far": Round(
        9000,
        (Part(("lenet",), 13_500, 3, "lenet"), Part(("resnet",), 5400, 2, "resnet"), Part(("vgg",), 5400, 2, "vgg")),
        ("mnist", "fashion_mnist", "cifar10_gs"),
    ),
}
"""The rounds in their order. Together they have more than 4,000 runs."""

RECIPE = Path(__file__).with_suffix(".toml")
FLIPPED_RECIPE = RECIPE.with_stem("pretraining_zoos_flipped")


def main() -> None:
    """Makes the zoos of all rounds, or of one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder that the zoos are written to")
    parser.add_argument("--data", type=Path, required=True, help="folder of the image sets")
    parser.add_argument("--workers", type=int, default=2, help="number of processes, with one thread each")
    parser.add_argument("--only", choices=ROUNDS, help="round to make; default all")
    options = parser.parse_args()
    for name in [options.only] if options.only else ROUNDS:
        for images, part in zoos(ROUNDS[name]):
            started = time.perf_counter()
            out = options.work / "-".join(filter(None, (images, name, part.name)))
            zoo = make(
                out,
                recipe=recipe_of(images, part),
                families=[family for family in part.families if family not in LEFT_OUT.get(images, ())],
                images=images if images == "digits" else options.data / f"{images}.npz",
                networks=part.networks,
                steps=part.steps,
                keep=[part.steps // 27, part.steps // 9, part.steps // 3, part.steps],
                seed=ROUNDS[name].seed + IMAGES.index(images),
                image_size=SIDES.get(images),
                workers=options.workers,
            )
            minutes = (time.perf_counter() - started) / 60
            print(f"{out.name}: {len(zoo)} networks of {len(set(zoo.runs))} runs, {minutes:.1f} min", flush=True)


def zoos(of: Round) -> Iterator[tuple[str, Part]]:
    """Yields the image set and the part of each zoo of a round, in the order in which they are made."""
    for part in of.parts:
        for images in of.images:
            yield images, part


def recipe_of(images: str, part: Part) -> Path | None:
    """Returns the recipe that changes the ranges of hyper-parameters; None where those of the families hold."""
    if set(part.families) <= {*CHEAP, *COSTLY}:
        return RECIPE
    return FLIPPED_RECIPE if images in FLIPPED else None


if __name__ == "__main__":
    main()
