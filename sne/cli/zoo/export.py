"""`sne zoo export`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sne.cli.progress import zoo_progress
from sne.errors import counted


def export(
    form: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT", help="folder: one file per network, and a CSV. sne zoo import folder reads it."
        ),
    ],
    source: Annotated[Path | None, typer.Argument(metavar="ZOO", help="Folder of the zoo.")] = None,
    out: Annotated[Path | None, typer.Argument(metavar="OUT", help="New folder for the checkpoints.")] = None,
    split: Annotated[
        str, typer.Option(metavar="PIECE", help="Piece of the zoo's split: train, val or test; or all networks.")
    ] = "all",
    family: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Export only these families, separated by commas. [default: all]"),
    ] = None,
    files: Annotated[
        str, typer.Option(metavar="KIND", help="Kind of checkpoint: safetensors, or pt for torch state dicts.")
    ] = "safetensors",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print path and number of networks as one JSON line.")
    ] = False,
) -> None:
    """Write the networks of a zoo as single checkpoints next to a CSV."""
    from sne import zoo

    if form != "folder" or source is None or out is None:
        missing = "" if out else "; expected three arguments, such as: sne zoo export folder my_zoo my_checkpoints"
        reason = "the format is 'folder'" if form == "folder" else f"format {form!r} is not known, expected folder"
        raise zoo.ZooError(f"{reason}{missing}")
    families = None if family is None else [name.strip() for name in ",".join(family).split(",")]
    with zoo_progress("networks") as progress:
        count = zoo.export_folder(
            zoo.Zoo.open(source), out, files=files, split=split, families=families, progress=progress
        )
    if as_json:
        print(json.dumps({"path": str(out), "networks": count}))
    else:
        print(f"{out}: {counted(count, 'network')}")
