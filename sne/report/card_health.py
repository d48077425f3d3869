"""The part of a card about health: findings with their places and reasons, and what was measured of each tensor."""

import math
from itertools import groupby

from sne.errors import counted
from sne.health import Finding, HealthReport, Severity
from sne.report.judgement import plain
from sne.report.markup import Child, Markup, clean, element, name, table

SEVERITIES = {
    Severity.ERROR: ("error", "bad"),
    Severity.WARNING: ("warning", "doubt"),
    Severity.INFO: ("note", "unknown"),
}
"""Word and class of each severity, worst first."""

MOST_FINDINGS = 8
"""Largest number of findings of one kind that are shown."""

MOST_TENSORS = 200
"""Largest number of rows of the table of tensors."""


def health_section(health: HealthReport) -> Markup:
    """Writes the health of a network: findings by kind, and a table of what was measured.

    Args:
        health: The health of the network.
    """
    findings = health.findings
    title = element("h2", "Health")
    if not findings:
        said = f"Nothing found in {counted(len(health.tensors), 'tensor')}, which were read to the end."
        return element("section", title, element("p", said), _signals(health))
    groups = []
    ordered = sorted(findings, key=lambda found: list(SEVERITIES).index(found.severity))
    for _, some in groupby(ordered, key=lambda found: (found.severity, found.code)):
        groups.append(_finding(list(some)))
    return element("section", title, element("p", health.summary, class_="soft"), *groups, _signals(health))


def _finding(findings: list[Finding]) -> Markup:
    """Writes findings of one kind: where they are, and once why they matter."""
    word, colour = SEVERITIES[findings[0].severity]
    shown = [element("li", name(found.location), f": {clean(found.message)}") for found in findings[:MOST_FINDINGS]]
    if len(findings) > MOST_FINDINGS:
        shown.append(element("li", f"and {len(findings) - MOST_FINDINGS:,} more of this kind"))
    head = element("div", element("span", word, class_=f"badge {colour}"), " ", element("b", plain(findings[0].code)))
    return element(
        "div", head, element("ul", *shown), element("div", findings[0].why, class_="soft small"),
        class_=f"finding {colour}",
    )  # fmt: skip


def _signals(health: HealthReport) -> Markup:
    """Writes what was measured of each tensor, in a table that is folded away."""
    rows: list[list[Child]] = []
    for tensor in health.tensors[:MOST_TENSORS]:
        ends = f"{tensor.smallest:.3g} to {tensor.largest:.3g}" if tensor.num_finite else ""
        rows.append([
            name(tensor.place, 60),
            ends,
            f"{tensor.rms:.3g}",
            f"{tensor.share_of_zeros:.1%}" if tensor.num_zeros else "0",
            f"{tensor.kurtosis:.1f}" if math.isfinite(tensor.kurtosis) else "",
            f"{tensor.alpha:.1f}" if tensor.alpha is not None else "",
            tensor.initialiser,
        ])  # fmt: skip
    total = len(health.tensors)
    more = f" (the first {MOST_TENSORS} of {total:,})" if total > MOST_TENSORS else ""
    columns = ["tensor", "values", "rms", "zeros", "kurtosis", "alpha", "could be drawn by"]
    note = (
        "Kurtosis is 1.8 for uniform and 3 for normal values. Alpha is the exponent of the largest eigenvalues: by the "
        "rule of WeightWatcher, layers that have learned well have 2 to 6. The last column names an initialiser that "
        "the values agree with."
    )
    return element(
        "details",
        element("summary", f"What was measured of each tensor{more}"),
        table(columns, rows, numbers=frozenset({2, 3, 4, 5})),
        element("p", note, class_="soft small"),
    )
