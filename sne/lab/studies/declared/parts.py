"""What several studies declare alike: sizes of zoos by scale, and the zoos that they share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sne.lab.studies.images import DIGITS, TURNED
from sne.lab.studies.methods import METHODS, POOLED, Method
from sne.lab.studies.study import Design, HeldOut, StudyTask, ZooNeed


@dataclass(frozen=True)
class Size:
    """How large zoos of one scale are.

    Args:
        networks: training runs of each family.
        steps: optimiser steps of each run.
        keep: steps after which a checkpoint is kept.
        device: where they are made.
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
"""Of image classifiers. At 400 steps three quarters of the small CNNs still answer SVHN's largest class, and nothing is
left to rank; at 1600 a small CNN takes 5 s of one core, a zoo of 110 runs as many minutes on two.

Estimates of the scale cpu rest on times measured on one core, in ms a small CNN and epoch: sne paper 24, HyperRep 17,
NFT 16, probing 7, graph transformer 7, graph network 4, NFN 3.5, DeepSets 2, sne default 0.3 a member; of a sine wave's
network about a third of that. A zoo of 110 runs gives 132 networks to train on; each method takes four trainings a
task: two configurations, then two more seeds."""

SLOW_FAMILIES = ("vit", "residual_cnn", "wild_cnn")
SLOW_SIZES: Mapping[str, Size] = {**SIZES, "cpu": replace(SIZES["cpu"], steps=800, keep=(200, 800))}
"""Of families whose steps take three to five times those of a small CNN."""

IMAGES: Mapping[str, tuple[str, ...]] = {
    "ci": (DIGITS, TURNED),
    "cpu": ("mnist", "fashion_mnist", "cifar10_gs", "svhn_crops_gs"),
    "gpu": ("mnist", "fashion_mnist", "cifar10_gs", "svhn_crops_gs"),
}
"""Data sets by scale, all of grey images: 28 x 28 of MNIST and Fashion-MNIST, 32 x 32 of CIFAR-10 and SVHN, 20 x 20 of
digits."""


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
    """A zoo of image classifiers of one family.

    Args:
        scale: decides its size.
        family: name.
        images: name of the image set; None: the scale's first.
        variant: what tells it from other zoos of the family, where hyper-parameters are changed.
        changes: hyper-parameters in place of the family's own.
        networks: training runs, in place of the scale's.
        seed: of the zoo: another one where the same family is learned from and judged whole.
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
    """A zoo of sine waves fitted by small networks; the last checkpoint of each alone."""
    networks, steps = {"ci": (16, 40), "cpu": (500, 600), "gpu": (3000, 2000)}[scale]
    device = SIZES[scale].device
    return ZooNeed(f"{scale}-sine_inr", ("sine_inr",), networks=networks, steps=steps, keep=(steps,), device=device)


def two_tasks(scale: str) -> dict[str, Any]:
    """Zoos and tasks of studies of variants: the frequency of sine waves, and the accuracy of small CNNs."""
    waves, images = sine_zoo(scale), image_zoo(scale, "small_cnn")
    of_waves = HeldOut("sine waves", (waves.name,), "frequency")
    of_images = HeldOut("small CNNs", (images.name,), "accuracy")
    tasks = (
        StudyTask("frequency", (waves.name,), (of_waves,), target="frequency", metric="mse"),
        StudyTask("accuracy", (images.name,), (of_images,)),
    )
    return {"zoos": (waves, images), "tasks": tasks}


def names_of(zoos: Sequence[ZooNeed]) -> tuple[str, ...]:
    """Their names."""
    return tuple(zoo.name for zoo in zoos)


def compared(scale: str, *, without: Iterable[str] = (), is_pooled: bool = False) -> tuple[Method, ...]:
    """Every method but some; the smallest scale has a few of each kind.

    Args:
        scale: decides whether all or a few.
        without: names of those that are left out; a design says why in `left_out`.
        is_pooled: whether weight statistics are pooled by type, so that they cross architectures.
    """
    known = {**METHODS, **POOLED} if is_pooled else METHODS
    names = [name for name in (QUICK if scale == "ci" else METHODS) if name not in without]
    return tuple(known[name] for name in names if all(part in names for part in known[name].parts))


QUICK = ("sne", "sne_paper", "flat_mlp", "deep_sets", "nfn_np", "graph_network", "mean", "statistics_boosting")
"""What the smallest scale compares."""


def design(scale: str, **given: Any) -> Design:
    """A design with what all studies of a scale have in common; what is given wins."""
    return Design(**{**_OF_SCALE[scale], **given})


_OF_SCALE: Mapping[str, Mapping[str, Any]] = {
    "ci": {"seeds": (0, 1), "configurations": 1, "most_epochs": 2, "most_members": 2},
    "cpu": {"seeds": (0, 1, 2), "configurations": 2},
    "gpu": {"seeds": (0, 1, 2, 3, 4), "configurations": 3, "device": "auto"},
}
