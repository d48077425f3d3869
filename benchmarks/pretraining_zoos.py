"""Makes the zoos that the packaged predictor is trained on: every family on every image set, short and long runs.

    python benchmarks/pretraining_zoos.py WORK --data DATA [--workers 2]

DATA has the image sets as .npz files; `digits` comes with scikit-learn. Each zoo is a folder of WORK. An interrupted
run continues where it stopped, and the zoos do not depend on the number of workers.
"""

import argparse
from pathlib import Path

from rich.progress import Progress

from sne.making import make

IMAGES = ("digits", "mnist", "fashion_mnist", "usps", "cifar10_gs", "svhn_crops_gs")
FAMILIES = ("small_cnn", "cnn_s", "mlp", "gru", "residual_cnn", "wild_cnn", "vit")
SMALLEST = {"digits": ("small_cnn", "mlp", "gru", "residual_cnn", "wild_cnn", "vit")}
"""Families of an image set that is too small for the others."""

SIDES = {"usps": 20}
"""Side in pixels of image sets that are too small for a family."""

ROUNDS = (("short", 300, 24), ("middle", 1200, 24), ("long", 4000, 12))
"""Name, number of optimiser steps and number of training runs per family."""

RECIPE = Path(__file__).with_suffix(".toml")


def main() -> None:
    """Makes the zoos, the short runs of all image sets first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder that the zoos are written to")
    parser.add_argument("--data", type=Path, required=True, help="folder of the image sets")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with Progress() as bars:
        for kind, steps, networks in ROUNDS:
            for seed, images in enumerate(IMAGES):
                bar = bars.add_task(f"{images} {kind}")
                make(
                    options.work / f"{images}-{kind}",
                    recipe=RECIPE,
                    families=SMALLEST.get(images, FAMILIES),
                    images=images if images == "digits" else options.data / f"{images}.npz",
                    networks=networks,
                    steps=steps,
                    keep=[steps // 27, steps // 9, steps // 3, steps],
                    seed=1000 * len(kind) + seed,
                    image_size=SIDES.get(images),
                    workers=options.workers,
                    progress=lambda done, total, bar=bar: bars.update(bar, completed=done, total=total),
                )


if __name__ == "__main__":
    main()
