"""The health of the networks of a map, as two more properties."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from sne.errors import counted
from sne.health import HealthReport, Severity, check
from sne.predictors.sources import OnError, handle_error
from sne.predictors.spreading import spread
from sne.provenance.entries import gone, read_entries
from sne.report.map_data import Column, MapData, known_columns
from sne.work import Executor, InThisProcess

HEALTH, FINDINGS = "health", "findings"
"""Columns with the verdict, and with what it rests on."""

MOST_FINDINGS = 3
"""Largest number of findings that are named per network."""

PART = 64
"""Largest number of networks that are checked and sent together."""

Checked: TypeAlias = tuple[str, str, str | None]
"""Name of a network, verdict, and findings."""


def with_health(
    data: MapData,
    *,
    errors: OnError = "raise",
    choose_executor: Callable[[Sequence[str]], Executor | None] = lambda paths: None,
    on_progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> MapData:
    """Adds the verdict of `sne.check` on each network, and its findings in short. All values are read.

    Args:
        data: The networks, whose names are paths of checkpoints and of networks of zoos.
        errors: What to do with a network that cannot be read, see `sne.report.map_sources.read_map_data`; it has no
            health then. Networks of a table whose files are gone keep the health that it has.
        choose_executor: As for `read_map_data`.
        on_progress: Called with the number of networks that are checked, and their number.
        say: Called with one line if networks whose files are gone keep the health that the table has.

    Raises:
        sne.CheckpointError: A checkpoint cannot be read, and errors is "raise".
    """
    found: dict[str, tuple[str | None, str | None]] = {}
    known = {column.name: column.values for column in data.columns if not column.is_number}
    nothing = [None] * len(data)
    before = dict(
        zip(data.names, zip(known.get(HEALTH, nothing), known.get(FINDINGS, nothing), strict=True), strict=True)
    )
    kept_as_known = {name for name in gone(data.names) if before[name][0] is not None}
    if kept_as_known:
        say(_line_on_gone(len(kept_as_known)))
    names = [name for name in data.names if name not in kept_as_known]
    executor = choose_executor(names) or InThisProcess()
    for name, verdict, findings in spread(check_entries, names, executor, part_size=PART, errors=errors):
        found[name] = verdict, findings
        if on_progress is not None:
            on_progress(len(found), len(names))
    found |= {name: before[name] for name in kept_as_known}
    rows = [found.get(name, (None, None)) for name in data.names]
    added = [Column.of(name, [row[at] for row in rows]) for at, name in enumerate((HEALTH, FINDINGS))]
    kept = [column for column in data.columns if column.name not in (HEALTH, FINDINGS)]
    return replace(data, columns=known_columns([*kept, *added]))


def _line_on_gone(count: int) -> str:
    if count == 1:
        return "the file of 1 network is gone; its health is taken from the table"
    return f"the files of {counted(count, 'network')} are gone; their health is taken from the table"


def check_entries(
    paths: Sequence[str], *, errors: OnError, tell: Callable[[str, list[str]], None] | None
) -> Iterator[Checked]:
    """Checks networks.

    Args:
        paths: Entries, see `sne.provenance.entries.entries`.
        errors: As for `with_health`.
        tell: Not called: what is read in doubt is told by those who make the map.

    Yields:
        Name, verdict and findings of each network that can be read.
    """
    for network, _ in read_entries(paths, errors=errors, tell=lambda name, reasons: None):
        try:
            report = check(network)
        except (ValueError, OSError) as error:
            if errors == "raise":
                raise
            handle_error(errors, network.name, error)
            continue
        yield network.name, report.verdict.value, in_short(report)


def in_short(report: HealthReport) -> str | None:
    """Names the findings that the verdict rests on, the worst ones first; None if there are none.

    Example:
        >>> import torch
        >>> in_short(check({"a.weight": torch.zeros(4, 4), "b.weight": torch.full((4, 4), torch.nan)}))
        'zero: a.weight; nonfinite: b.weight'
    """
    named = [f"{one.code}: {one.location}" for one in report.findings if one.severity is not Severity.INFO]
    more = f"; and {len(named) - MOST_FINDINGS} more" if len(named) > MOST_FINDINGS else ""
    return "; ".join(named[:MOST_FINDINGS]) + more or None
