"""`sne check`: what is broken or doubtful in checkpoints."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sne.cli.files import Failures, expand
from sne.cli.options import Files, Select
from sne.cli.progress import file_progress
from sne.cli.tables import say, warn
from sne.errors import SneError, counted

if TYPE_CHECKING:
    from sne.health import HealthReport

BROKEN = 1
"""Exit status if a network is broken; 2, as in all commands, if a file cannot be read."""


def check(
    files: Files,
    least: Annotated[
        str,
        typer.Option(
            "--severity", metavar="LEVEL", help="Least severity of the findings to print: info, warning, error."
        ),
    ] = "info",
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with status 1 also if a network is doubtful, that is, has warnings.")
    ] = False,
    junit: Annotated[
        Path | None,
        typer.Option(
            "--junit",
            metavar="FILE",
            show_default=False,
            help="Also write the results as JUnit XML, for continuous integration: one test case per file.",
        ),
    ] = None,
    select: Select = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line per file, with what was measured of each tensor.")
    ] = False,
) -> None:
    """Say what is broken or doubtful in checkpoints.

    Prints one line per finding and a verdict per file: good; doubtful if there are warnings; broken if there are
    errors. Files are read to the end, and NaN are counted per tensor. No data and no code of the network are needed.
    An adapter (LoRA, PEFT) is judged alone, without its base.

    The exit status is 1 if a network is broken, otherwise 2 if a file cannot be read, otherwise 0.
    """
    from sne.health import Severity
    from sne.health import check as check_network

    if least not in list(Severity):
        raise SneError(f"--severity is {least!r}, expected one of {', '.join(Severity)}")
    shown = list(Severity)[list(Severity).index(Severity(least)) :]
    sources, failures = expand(files), Failures()
    reports: dict[str, HealthReport] = {}
    reasons: dict[str, str] = {}
    with file_progress() as progress:
        for number, path in enumerate(sources):
            try:
                report = reports[path] = check_network(path, select=select)
            except (SneError, OSError) as error:
                failures(path, error)
                continue
            finally:
                progress(number + 1, len(sources))
            if as_json:
                print(json.dumps(report.to_json() | {"file": path}, allow_nan=False))
                continue
            found = [finding for finding in report.findings if finding.severity in shown]
            reasons |= {finding.code: finding.why for finding in found}
            for finding in found:
                say(f"{path}: {finding.severity}: {finding.location}: {finding.message} [{finding.code}]")
            subject = ", as an adapter without its base" if report.is_adapter else ""
            say(f"{path}: {report.verdict}{subject} ({report.summary})")
    if not as_json:
        _say_why(reasons)
    if junit is not None:
        from sne.health.junit import write_junit

        write_junit(junit, reports, failures)
    _finish(Counter(report.verdict for report in reports.values()), strict, failures, len(sources))


def _say_why(reasons: dict[str, str]) -> None:
    """Says once per kind of finding why it matters."""
    if reasons:
        say()
        say("Why it matters")
        for code, why in sorted(reasons.items()):
            say(f"  {code}: {why}")


def _finish(verdicts: Counter[str], strict: bool, failures: Failures, num_files: int) -> None:
    """Counts the verdicts on stderr if there are several files, and ends the command with its status."""
    if num_files > 1:
        warn(", ".join(f"{counted(count, 'file')} {verdict}" for verdict, count in sorted(verdicts.items())) or "-")
    bad = verdicts["broken"] + (verdicts["doubtful"] if strict else 0)
    try:
        failures.report(num_files)
    except typer.Exit:
        if not bad:
            raise
    if bad:
        raise typer.Exit(BROKEN)
