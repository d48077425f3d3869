"""Arguments and options that several commands share."""

from typing import Annotated

import typer

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE",
        show_default=False,
        help="Checkpoints: files, globs, folders of checkpoints, or - to read one path per line from stdin.",
    ),
]
PredictorFolder = Annotated[
    str, typer.Option(metavar="FOLDER", show_default=False, help="Folder of a predictor, as written by sne train.")
]
BatchSize = Annotated[
    int, typer.Option(min=1, metavar="N", help="Number of networks per forward pass; changes speed and memory only.")
]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="cpu, cuda, or auto: cuda if there is a CUDA device, else cpu.")
]
"""The device on which the predictor runs."""


def split_list(text: str) -> tuple[str, ...]:
    """Splits the value of --invariance-kinds at its commas.

    Example:
        >>> split_list("permutation, scaling")
        ('permutation', 'scaling')
    """
    return tuple(kind.strip() for kind in text.split(",") if kind.strip())
