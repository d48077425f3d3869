"""`sne zoo merge`."""

from pathlib import Path
from typing import Annotated

import typer

from sne.cli.zoo.feedback import disk_errors, zoo_progress
from sne.cli.zoo.summary import print_summary


def merge(
    out: Annotated[Path, typer.Argument(help="Folder of the new zoo.")],
    zoos: Annotated[list[Path], typer.Argument(metavar="ZOO...", help="Zoos to put together, in this order.")],
    prefix: Annotated[
        bool, typer.Option("--prefix", help="Put each zoo's folder name before its ids and runs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Put several zoos into a new one; they may differ in families, data sets, columns and storage."""
    from sne import zoo

    with disk_errors(), zoo_progress("networks") as progress:
        made = zoo.merge(out, zoos, prefix=prefix, progress=progress)
    print_summary(made, as_json)
