"""`sne zoo make`."""

from pathlib import Path
from typing import Annotated

import typer

from sne.cli.zoo.feedback import disk_errors, zoo_progress
from sne.cli.zoo.summary import print_summary


def make(
    out: Annotated[Path, typer.Argument(help="Folder of the zoo. The same command goes on where it stopped.")],
    family: Annotated[
        list[str] | None,
        typer.Option(help="small_cnn, cnn_s, mlp, gru, residual_cnn, vit; separated by commas. [default: small_cnn]"),
    ] = None,
    images: Annotated[str, typer.Option(help="digits, or an .npz of x_train, y_train, x_test, y_test.")] = ("digits"),
    networks: Annotated[int, typer.Option(help="Training runs of each family.")] = 60,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of each run. [default: 400]")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each run, in place of steps.")] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Steps (or epochs) to keep, as 50,200,400. [default: the last, a third, a ninth]"),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes of one thread; the zoo does not depend on it.")] = 2,
    seed: Annotated[int, typer.Option(help="With a network's family and number it decides everything.")] = 0,
    image_size: Annotated[int | None, typer.Option(help="Resample images to this height and width.")] = None,
    eval_images: Annotated[int, typer.Option(help="Measure accuracy on this many images at most.")] = 2000,
    storage: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Train networks; store them with what was measured."""
    from sne import zoo

    with disk_errors(), zoo_progress("networks") as progress:
        made = zoo.make(
            out,
            families=[name.strip() for name in ",".join(family or ["small_cnn"]).split(",")],
            images=images,
            networks=networks,
            steps=steps,
            epochs=epochs,
            keep=None if keep is None else _whole_numbers("--keep", keep),
            workers=workers,
            seed=seed,
            image_size=image_size,
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
