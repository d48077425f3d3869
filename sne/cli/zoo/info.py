"""`sne zoo info`."""

from pathlib import Path
from typing import Annotated

import typer

from sne.cli.zoo.summary import print_summary


def info(
    path: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder of a zoo.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Print the content of a zoo: its families with a histogram of test accuracies, its columns, and its size."""
    from sne import zoo

    print_summary(zoo.Zoo.open(path), as_json)
