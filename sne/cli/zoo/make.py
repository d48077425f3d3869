"""`sne zoo make`."""

from pathlib import Path
from typing import Annotated

import typer

from sne.cli.zoo.feedback import disk_errors, stopped_by_user, zoo_progress
from sne.cli.zoo.summary import print_summary


def make(
    out: Annotated[Path, typer.Argument(help="Folder of the zoo. The same command goes on where it stopped.")],
    family: Annotated[
        list[str] | None,
        typer.Option(
            help="small_cnn, cnn_s, mlp, gru, residual_cnn, wild_cnn, vit, vit_plain, sine_inr, image_inr; "
            "separated by commas. [default: small_cnn]"
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="TOML file of settings and hyper-parameter ranges, see sne zoo recipe. Options win over it."),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="digits, an .npz of x_train, y_train, x_test, y_test, a folder of class folders, "
            "or hf:NAME of Hugging Face. [default: digits]"
        ),
    ] = None,
    networks: Annotated[int | None, typer.Option(help="Training runs of each family. [default: 60]")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of each run. [default: 400]")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each run, in place of steps.")] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Steps (or epochs) to keep, as 50,200,400. [default: the last, a third, a ninth]"),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes of one thread; the zoo does not depend on it.")] = 2,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Train on a Ray cluster: auto, HOST:PORT, or local for a fresh one."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="With a network's family and number it decides everything. [default: 0]")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Resample images to this height and width.")] = None,
    channels: Annotated[str | None, typer.Option(help="as_is, grey or rgb. [default: as_is]")] = None,
    normalisation: Annotated[
        str | None,
        typer.Option(help="unit for [-1, 1], zero_one, or standard for mean 0 and variance 1. [default: unit]"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, or cuda to train networks of one shape together. [default: cpu]")
    ] = None,
    eval_images: Annotated[
        int | None, typer.Option(help="Measure accuracy on this many images at most. [default: 2000]")
    ] = None,
    storage: Annotated[str | None, typer.Option(help="float32, float16 or bfloat16. [default: float32]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Train networks; store them with what was measured."""
    from sne import making

    with stopped_by_user(out), disk_errors(), zoo_progress("networks") as progress:
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
    print_summary(made, as_json)


def _whole_numbers(option: str, text: str) -> list[int]:
    from sne.zoo import ZooError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ZooError(f"{option} {text!r}: expected whole numbers separated by commas") from None
