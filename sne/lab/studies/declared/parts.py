"""What several studies have in common: the sizes of zoos at each scale, and shared zoos, tasks and methods."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sne.lab.studies.methods import METHODS, POOLED, Method
from sne.lab.studies.study import Design, HeldOut, StudyTask, ZooNeed
from sne.lab.studies.zoos import DIGITS, TURNED


@dataclass(frozen=True)
class Size:
    """Size of the zoos of one scale.

    Args:
        networks: Number of training runs per family.
        steps: Optimiser steps per run.
        keep: Steps after which a checkpoint is kept.
        device: Device on which the networks are trained.
    """

    networks: int
    steps: int
    keep: tuple[int, ...]
    device: str = "cpu"


SIZES: Mapping[str, Size] = {
    "ci": Size(networks=16, steps=40, keep=(10, 40)),
    "cpu": Size(networks=110, steps=1600, keep=(400, 1600)),
    "gpu": Size(networks=1000, steps=8000, keep=(100, 1000, 8000), device="cuda"),
}
"""Sizes of zoos of image classifiers, by scale.

After 400 steps, three quarters of the small CNNs still predict SVHN's largest class for every image, so that there is
little to rank. With 1600 steps, a small CNN takes 5 s on one core, and a zoo of 110 runs takes about 5 minutes on two.

The estimates for the scale cpu are based on times measured on one core, in ms per small CNN and epoch: sne paper 24,
HyperRep 17, NFT 16, probing 7, graph transformer 7, graph network 4, NFN 3.5, DeepSets 2, sne default 0.3 per fold.
Networks of sine waves take about a third of that. A zoo of 110 runs has 132 training checkpoints. Each method is
trained four times per task: with two configurations, then with two more seeds."""

SLOW_FAMILIES = ("vit", "residual_cnn", "wild_cnn")
SLOW_SIZES: Mapping[str, Size] = {**SIZES, "cpu": replace(SIZES["cpu"], steps=800, keep=(200, 800))}
"""Sizes of zoos of families whose steps take three to five times as long as those of a small CNN."""

IMAGES: Mapping[str, tuple[str, ...]] = {
    "ci": (DIGITS, TURNED),
    "cpu": ("mnist", "fashion_mnist", "cifar10_gs", "svhn_crops_gs"),
    "gpu": ("mnist", "fashion_mnist", "cifar10_gs", "svhn_crops_gs"),
}
"""Image sets by scale. All images are grey: 28 x 28 pixels for MNIST and Fashion-MNIST, 32 x 32 for CIFAR-10 and SVHN,
20 x 20 for digits."""


def image_zoo(
    scale: str,
    family: str,
    images: str | None = None,
    *,
    variant: str = "",
    changes: Mapping[str, Any] | None = None,
    networks: int | None = None,
    seed: int = 0,
) -> ZooNeed:
    """Returns a zoo of image classifiers of one family.

    Args:
        scale: Scale, which determines its size.
        family: Name of the family.
        images: Name of the image set; the scale's first if None.
        variant: Word in the zoo's name that distinguishes it from other zoos of the family, if `changes` are given.
        changes: Hyper-parameters that replace the family's own.
        networks: Number of training runs; the scale's if None.
        seed: Random seed of the zoo. It must differ from that of a zoo of the same family that is learned from, if
            all of its runs are judged.
    """
    size = (SLOW_SIZES if family in SLOW_FAMILIES else SIZES)[scale]
    chosen = images or IMAGES[scale][0]
    count = networks or size.networks
    words = [scale, family, *([variant] if variant else []), chosen, *([str(count)] if networks else [])]
    return ZooNeed(
        "-".join(words),
        (family,),
        chosen,
        networks=count,
        steps=size.steps,
        keep=size.keep,
        seed=seed,
        overrides={family: dict(changes)} if changes else {},
        eval_images=500 if scale == "ci" else 2000,
        device=size.device,
    )


def sine_zoo(scale: str) -> ZooNeed:
    """Returns a zoo of small networks fitted to sine waves, with the last checkpoint of each run."""
    networks, steps = {"ci": (16, 40), "cpu": (500, 600), "gpu": (3000, 2000)}[scale]
    device = SIZES[scale].device
    return ZooNeed(f"{scale}-sine_inr", ("sine_inr",), networks=networks, steps=steps, keep=(steps,), device=device)


def two_tasks(scale: str) -> dict[str, Any]:
    """Returns zoos and tasks of studies of variants: the frequency of sine waves, and the accuracy of small CNNs."""
    waves, images = sine_zoo(scale), image_zoo(scale, "small_cnn")
    of_waves = HeldOut("sine waves", (waves.name,), "frequency")
    of_images = HeldOut("small CNNs", (images.name,), "accuracy")
    tasks = (
        StudyTask("frequency", (waves.name,), (of_waves,), target="frequency", metric="mse"),
        StudyTask("accuracy", (images.name,), (of_images,)),
    )
    return {"zoos": (waves, images), "tasks": tasks}


def names_of(zoos: Sequence[ZooNeed]) -> tuple[str, ...]:
    """Returns the names of zoos."""
    return tuple(zoo.name for zoo in zoos)


def compared(scale: str, *, without: Iterable[str] = (), is_pooled: bool = False) -> tuple[Method, ...]:
    """Returns the methods that a study compares: a few of each kind at the scale ci, all at the others.

    Args:
        scale: Scale.
        without: Names of methods that are left out; the design states the reasons in `left_out`.
        is_pooled: Whether weight statistics are pooled by layer type, so that they apply across architectures.
    """
    known = {**METHODS, **POOLED} if is_pooled else METHODS
    names = [name for name in (QUICK if scale == "ci" else METHODS) if name not in without]
    return tuple(known[name] for name in names if all(part in names for part in known[name].parts))


QUICK = ("sne", "sne_paper", "flat_mlp", "deep_sets", "nfn_np", "graph_network", "mean", "statistics_boosting")
"""Methods that are compared at the scale ci."""


def design(scale: str, **given: Any) -> Design:
    """Returns a design with the defaults of a scale, updated with the given fields."""
    return Design(**{**_OF_SCALE[scale], **given})


_OF_SCALE: Mapping[str, Mapping[str, Any]] = {
    "ci": {"seeds": (0, 1), "configurations": 1, "most_epochs": 2, "most_folds": 2},
    "cpu": {"seeds": (0, 1, 2), "configurations": 2},
    "gpu": {"seeds": (0, 1, 2, 3, 4), "configurations": 3, "device": "auto"},
}
