"""`sne zoo verify`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sne.cli.progress import zoo_progress
from sne.cli.tables import format_table, say
from sne.errors import counted

_SHOWN = 20  # damaged networks in the table; --json lists all


def verify(
    path: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder of a zoo.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON line.")] = False,
) -> None:
    """Compare every weight of a zoo with its checksum.

    Damaged networks are listed.

    The exit status is 0 if the zoo is intact, 1 if a part of it is damaged, and 2 if it cannot be opened at all.
    """
    from sne import zoo

    with zoo_progress("networks") as progress:
        report = zoo.verify(path, progress=progress)
    if as_json:
        print(json.dumps(report.to_json()))
    else:
        networks = counted(report.networks, "network")
        intact = f"intact, {networks}, {report.bytes_read / 1e6:.1f} MB of weights"
        say(f"{report.path}: {intact if report.is_intact else f'{len(report.damaged)} of {networks} damaged'}")
        for fault in report.faults:
            affected = f" ({counted(fault.networks, 'network')})" if fault.networks else ""
            say(f"{fault.file}: {fault.reason}{affected}")
        for note in report.notes:
            say(f"note: {note}")
        if report.damaged:
            say()
            rows = [{"id": n.id, "run": n.run, "family": n.family, "file": n.file} for n in report.damaged[:_SHOWN]]
            say(format_table(rows))
        if len(report.damaged) > _SHOWN:
            say(f"... and {len(report.damaged) - _SHOWN} more; --json lists all")
    if not report.is_intact:
        raise typer.Exit(1)
