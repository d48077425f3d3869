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


Select = Annotated[
    str | None,
    typer.Option(
        "--select",
        metavar="NAME",
        show_default=False,
        help="Network to read from files that hold several: the key of its state dict (model_ema, 0) or a prefix of "
        "its tensors' names (teacher). Default: the main network; a note states which one.",
    ),
]
AllowNonfinite = Annotated[
    bool,
    typer.Option(
        "--allow-nonfinite",
        help="Read networks with NaN or infinite weights, without the layers that hold them. All values are then "
        "loaded once more.",
    ),
]


def split_list(text: str) -> tuple[str, ...]:
    """Splits the value of --invariance-kinds at its commas.

    Example:
        >>> split_list("permutation, scaling")
        ('permutation', 'scaling')
    """
    return tuple(kind.strip() for kind in text.split(",") if kind.strip())
