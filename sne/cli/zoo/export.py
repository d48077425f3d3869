"""`sne zoo export`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sne.cli.zoo.feedback import disk_errors, zoo_progress


def export(
    form: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help="folder: one file a network, and a CSV that `sne zoo import` reads."),
    ],
    source: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder of a zoo.")],
    out: Annotated[Path, typer.Argument(help="The new folder.")],
    split: Annotated[str, typer.Option(help="train, val or test of the zoo's split, or all.")] = "all",
    family: Annotated[list[str] | None, typer.Option(help="Only these families; separated by commas.")] = None,
    files: Annotated[str, typer.Option(help="safetensors, or pt for torch state dicts.")] = "safetensors",
    as_json: Annotated[bool, typer.Option("--json", help="Print path and count as one JSON line.")] = False,
) -> None:
    """Write the networks of a zoo as single checkpoints beside a CSV."""
    from sne import zoo

    if form != "folder":
        raise zoo.ZooError(f"format {form!r} is not known, expected folder")
    families = None if family is None else [name.strip() for name in ",".join(family).split(",")]
    with disk_errors(), zoo_progress("networks") as progress:
        count = zoo.export_folder(
            zoo.Zoo.open(source), out, files=files, split=split, families=families, progress=progress
        )
    print(json.dumps({"path": str(out), "networks": count}) if as_json else f"{out}: {count} networks")
