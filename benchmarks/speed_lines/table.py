"""The table of results, written from its JSON file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speed_lines.line import Floor, Reading

HEAD = """# Speed

Each line compares two things that were measured in turns in one run, warm, as medians of wall time unless the line says
otherwise; the ratio is in bold where it reaches the target. The ratio in CPU time depends less on what else the
machine does. The floor is the least time of the counted work on the same machine and threads: bytes at the rate of a
copy in memory, multiply-adds at the rate of a matrix product of 1,024 x 1,024, exponentials at the rate of `torch.exp`.

    python benchmarks/speed.py --work WORK
"""


def table(record: Mapping[str, Any]) -> str:
    """Returns the page for the record that `benchmarks/speed.py` keeps in speed.json.

    Args:
        record: "lines" by name, each with "readings", the reason why it has none or not all, or both; optionally
            "before", of the same form, measured on an older version; "remarks" on what was tried, by name of the line.
    """
    before = _ratios(record.get("before", {}).get("lines", {}))
    rows = [
        "| line | what | opponent | target | before, CPU | ratio | ratio, CPU | ours | opponent's | threads | peak |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    floors = ["| line | what | floor | of | times the floor |", "|---|---|---|---|---|"]
    notes = []
    for name, line in record["lines"].items():
        for number, reading in enumerate(map(Reading.from_json, line.get("readings", ()))):
            rows.append(_row(name, reading, before.get((name, number), "")))
            floors += _floor_row(name, reading)
            notes += [f"- {name}: {reading.what}: {note}." for note in reading.notes]
        if "reason" in line:
            rest = "the rest was " if "readings" in line else ""
            rows.append(f"| {name} | {rest}not measured: {line['reason']} | | | | | | | | | |")
    remarks = [f"- {name}: {text}" for name, text in record.get("remarks", {}).items()]
    parts = [HEAD, *_machines(record), "\n".join(rows), "## Floors", "\n".join(floors)]
    parts += ["## Details", "\n".join(notes)] if notes else []
    parts += ["## Tried, and limits", "\n".join(remarks)] if remarks else []
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _machines(record: Mapping[str, Any]) -> list[str]:
    machines = {line["machine"] for line in record["lines"].values() if "machine" in line}
    shown = ["; ".join(sorted(machines)) + "."] if machines else []
    if record.get("before"):
        shown.append(f"Before: {record['before']['of']}.")
    return shown


def _ratios(lines: Mapping[str, Any]) -> dict[tuple[str, int], str]:
    return {
        (name, number): f"{reading['cpu_ratio'] or reading['ratio']:.3g}"
        for name, line in lines.items()
        for number, reading in enumerate(line.get("readings", ()))
    }


def _row(name: str, reading: Reading, before: str) -> str:
    sign = ">=" if reading.at_least else "<="
    target = "" if reading.target is None else f"{sign} {reading.target:g}"
    ratio = f"{reading.ratio:.3g}"
    peak = ""
    if reading.peak:
        most = f" (< {_bytes(reading.most_peak)})" if reading.most_peak else ""
        peak = f"{_bytes(reading.peak)}{most}"
    cells = [
        name, reading.what, reading.opponent, target, before, f"**{ratio}**" if reading.is_met else ratio,
        "" if reading.cpu_ratio is None else f"{reading.cpu_ratio:.3g}", _amount(reading.ours, reading.unit),
        _amount(reading.theirs, reading.unit), str(reading.threads), peak,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _floor_row(name: str, reading: Reading) -> Sequence[str]:
    floor: Floor = reading.floor
    counted = [
        f"{_number(value)} {word}"
        for value, word in (
            (floor.bytes, "bytes"),
            (floor.multiply_adds, "multiply-adds"),
            (floor.exponentials, "exponentials"),
        )
        if value
    ]
    if not counted or not floor.seconds:
        return []
    own = reading.ours * {"s": 1.0, "us": 1e-6, "ns": 1e-9}[reading.unit]
    work = f"{', '.join(counted)}: {_amount(floor.seconds, 's')}"
    return [f"| {name} | {reading.what} | {work} | {floor.of} | {own / floor.seconds:.3g} |"]


def _amount(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:.3g} {unit}"
    scale, name = next(((s, n) for s, n in ((1, "s"), (1e-3, "ms"), (1e-6, "us")) if value >= s), (1e-9, "ns"))
    return f"{value / scale:.3g} {name}"


def _number(value: float) -> str:
    scale, name = next(
        ((s, n) for s, n in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")) if value >= s), (1, "")
    )
    return f"{value / scale:.3g}{name}"


def _bytes(value: float) -> str:
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def write(record: Mapping[str, Any], path: Path) -> None:
    """Writes the record and the page next to it, with the ending .md."""
    path.write_text(json.dumps(record, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(record))
