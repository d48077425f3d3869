"""`sne zoo info`."""

from pathlib import Path
from typing import Annotated

import typer

from sne.cli.zoo.summary import print_summary


def info(
    path: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder of a zoo.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Print what a zoo contains: its families, columns and size.

    Each family is shown with a histogram of its test accuracies.
    """
    from sne import zoo

    print_summary(zoo.Zoo.open(path), as_json)
