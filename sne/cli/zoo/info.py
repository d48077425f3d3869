"""`sne zoo info`."""

from pathlib import Path
from typing import Annotated

import typer

from sne.cli.zoo.summary import print_summary


def info(
    path: Annotated[Path, typer.Argument(help="Folder of a zoo.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line.")] = False,
) -> None:
    """Counts, families, properties, an accuracy histogram, and size."""
    from sne import zoo

    print_summary(zoo.Zoo.open(path), as_json)
