"""`sne zoo verify`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sne.cli.tables import format_table
from sne.cli.zoo.feedback import zoo_progress

_SHOWN = 20  # hurt networks that people are shown; --json has them all


def verify(
    path: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder of a zoo.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON line.")] = False,
) -> None:
    """Compare every weight with its checksum; say which networks are hurt.

    Ends with status 0 if the zoo is whole, 1 if a part of it is hurt, 2 if it cannot be opened at all.
    """
    from sne import zoo

    with zoo_progress("networks") as progress:
        report = zoo.verify(path, progress=progress)
    if as_json:
        print(json.dumps(report.to_json()))
    else:
        hurt = f"{len(report.hurt)} of {report.networks} networks are hurt"
        whole = f"whole, {report.networks} networks, {report.bytes_read / 1e6:.1f} MB of weights"
        print(f"{report.path}: {whole if report.is_whole else hurt}")
        for fault in report.faults:
            print(f"{fault.file}: {fault.reason}" + (f" ({fault.networks} networks)" if fault.networks else ""))
        for note in report.notes:
            print(f"note: {note}")
        if report.hurt:
            print()
            rows = [{"id": n.id, "run": n.run, "family": n.family, "file": n.file} for n in report.hurt[:_SHOWN]]
            print(format_table(rows))
        if len(report.hurt) > _SHOWN:
            print(f"... and {len(report.hurt) - _SHOWN} more; --json lists them all")
    if not report.is_whole:
        raise typer.Exit(1)
