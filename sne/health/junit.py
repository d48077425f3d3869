"""Reports as JUnit XML, which continuous integration shows as tests: one test case per checkpoint."""

import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from sne.health.finding import Severity, Verdict
from sne.health.report import HealthReport
from sne.work import write_atomically

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: Path, reports: Mapping[str, HealthReport], unread: Mapping[str, str]) -> None:
    """Writes reports as JUnit XML.

    A broken network is a failure, a file that could not be read is an error. Warnings and remarks are the output of
    their test case.

    Args:
        path: The file to write.
        reports: Report of each checkpoint that was read, by path.
        unread: Reason why the others could not be read, by path.

    Raises:
        WriteError: If the file cannot be written.
    """
    write_atomically(path, to_junit(reports, unread))


def to_junit(reports: Mapping[str, HealthReport], unread: Mapping[str, str]) -> str:
    """Returns reports as JUnit XML; see `write_junit`.

    Example:
        >>> print(to_junit({}, {"a.pt": "no such file"}).splitlines()[3])
            <testcase classname="sne.check" name="a.pt">
    """
    broken = [one for one in reports.values() if one.verdict is Verdict.BROKEN]
    counts = {
        "tests": str(len(reports) + len(unread)),
        "failures": str(len(broken)),
        "errors": str(len(unread)),
    }
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "sne check", **counts})
    for name, report in reports.items():
        case = ElementTree.SubElement(suite, "testcase", {"classname": "sne.check", "name": _clean(name)})
        lines = {
            severity: [
                f"{found.severity}: {found.location}: {found.message} [{found.code}] {found.why}"
                for found in report.findings
                if found.severity is severity
            ]
            for severity in Severity
        }
        if errors := lines[Severity.ERROR]:
            failure = ElementTree.SubElement(case, "failure", {"message": _clean(report.summary), "type": "broken"})
            failure.text = _clean("\n".join(errors))
        if rest := lines[Severity.WARNING] + lines[Severity.INFO]:
            ElementTree.SubElement(case, "system-out").text = _clean("\n".join(rest))
    for name, reason in unread.items():
        case = ElementTree.SubElement(suite, "testcase", {"classname": "sne.check", "name": _clean(name)})
        ElementTree.SubElement(case, "error", {"message": _clean(reason), "type": "unreadable"})
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """Replaces characters that XML cannot hold; the others are escaped when the tree is written."""
    return _NOT_XML.sub("\ufffd", text)
