"""`sne zoo make`."""

from pathlib import Path
from typing import Annotated

import typer

from sne.cli.progress import stopped_by_user, zoo_progress
from sne.cli.zoo.summary import print_summary

Out = Annotated[
    Path,
    typer.Argument(metavar="OUT", help="Folder of the zoo. If the command is stopped, the same command continues."),
]
Family = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAMES",
        help="Families, separated by commas: small_cnn, cnn_s, mlp, gru, residual_cnn, wild_cnn, vit, vit_plain, "
        "lenet, mnist_cnn, vgg, resnet, gpt, sine_inr, image_inr. [default: small_cnn]",
    ),
]
Recipe = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="TOML file with settings and ranges of hyper-parameters, see sne zoo recipe. Options override it.",
    ),
]
Images = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="Images to train on: digits, an .npz file with x_train, y_train, x_test, y_test, a folder of class "
        "folders, or hf:NAME from Hugging Face. [default: digits]",
    ),
]
Networks = Annotated[int | None, typer.Option(metavar="N", help="Number of training runs per family. [default: 60]")]
Steps = Annotated[int | None, typer.Option(metavar="N", help="Number of optimiser steps per run. [default: 400]")]
Epochs = Annotated[int | None, typer.Option(metavar="N", help="Number of epochs per run, instead of steps.")]
Keep = Annotated[
    str | None,
    typer.Option(
        metavar="STEPS",
        help="Steps (or epochs) at which a checkpoint is kept, such as 50,200,400; 0 is the untrained network. "
        "[default: the last, a third and a ninth]",
    ),
]
Workers = Annotated[
    int, typer.Option(metavar="N", help="Number of processes, with one thread each. It does not change the zoo.")
]
Ray = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Train on a Ray cluster: auto, HOST:PORT, or local for a new one."),
]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Base seed; the randomness of each network is derived from it, the family and the network's index. "
        "[default: 0]",
    ),
]
ImageSize = Annotated[
    int | None, typer.Option(metavar="N", help="Height and width to which images are resampled, in pixels.")
]
Channels = Annotated[
    str | None, typer.Option(metavar="MODE", help="Colours of the images: as_is, grey or rgb. [default: as_is]")
]
Normalisation = Annotated[
    str | None,
    typer.Option(
        metavar="MODE",
        help="Range of pixel values: unit for [-1, 1], zero_one for [0, 1], or standard for mean 0 and variance 1. "
        "[default: unit]",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="DEVICE", help="cpu, or cuda, which trains networks of one shape together. [default: cpu]"),
]
EvalImages = Annotated[
    int | None,
    typer.Option(metavar="N", help="Largest number of images on which accuracy is measured. [default: 2000]"),
]
Storage = Annotated[
    str | None,
    typer.Option(metavar="TYPE", help="Type of the stored weights: float32, float16 or bfloat16. [default: float32]"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")]


def make(
    out: Out,
    family: Family = None,
    recipe: Recipe = None,
    images: Images = None,
    networks: Networks = None,
    steps: Steps = None,
    epochs: Epochs = None,
    keep: Keep = None,
    workers: Workers = 2,
    ray: Ray = None,
    seed: Seed = None,
    image_size: ImageSize = None,
    channels: Channels = None,
    normalisation: Normalisation = None,
    device: Device = None,
    eval_images: EvalImages = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Train networks with random hyper-parameters, as a new zoo.

    They are stored with their measured properties, such as test accuracy.
    """
    from sne import making

    with stopped_by_user(out), zoo_progress("networks") as progress:
        made = making.make(
            out,
            recipe=recipe,
            families=None if family is None else [name.strip() for name in ",".join(family).split(",")],
            images=images,
            networks=networks,
            steps=steps,
            epochs=epochs,
            keep=None if keep is None else _whole_numbers("--keep", keep),
            workers=workers,
            ray=ray,
            seed=seed,
            image_size=image_size,
            channels=channels,
            normalisation=normalisation,
            device=device,
            eval_images=eval_images,
            storage=storage,
            progress=progress,
        )
    print_summary(made, as_json, is_new=True)


def _whole_numbers(option: str, text: str) -> list[int]:
    from sne.zoo import ZooError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ZooError(f"{option} {text!r}: expected whole numbers separated by commas") from None
