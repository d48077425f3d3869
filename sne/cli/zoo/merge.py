"""`sne zoo merge`."""

from pathlib import Path
from typing import Annotated

import typer

from sne.cli.progress import zoo_progress
from sne.cli.zoo.summary import print_summary


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the new zoo.")],
    zoos: Annotated[list[Path], typer.Argument(metavar="ZOO", help="Zoos to merge, in this order.")],
    prefix: Annotated[
        bool, typer.Option("--prefix", help="Put the folder name of each zoo before its ids and runs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Merge several zoos into a new one. They may differ in families, data sets, columns and storage."""
    from sne import zoo

    with zoo_progress("networks") as progress:
        made = zoo.merge(out, zoos, prefix=prefix, progress=progress)
    print_summary(made, as_json, is_new=True)
