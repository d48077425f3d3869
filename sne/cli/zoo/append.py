"""`sne zoo append`."""

from pathlib import Path
from typing import Annotated

import typer

from sne.cli.progress import zoo_progress
from sne.cli.zoo.summary import print_summary


def append(
    path: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder of the zoo that grows.")],
    others: Annotated[list[Path], typer.Argument(metavar="OTHER", help="Zoos whose networks are added.")],
    prefix: Annotated[
        bool, typer.Option("--prefix", help="Put the folder name of each added zoo before its ids and runs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Add the networks of other zoos to a zoo.

    If the command is stopped, the folder holds either the old zoo or the new one.
    """
    from sne import zoo

    with zoo_progress("networks") as progress:
        grown = zoo.append(path, others, prefix=prefix, progress=progress)
    print_summary(grown, as_json, is_new=True)
