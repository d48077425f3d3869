"""Measures `sne card`: processor time, memory and size of the page per file.

    python benchmarks/cards.py FILE... --out benchmarks/results/people.md

Writes the section "Card" of the results, one row per file.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

HEADING = "## Card"


def measure(file: str, page: Path) -> list[str]:
    """Makes a card in a process of its own, and returns a row of the table."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "sne", "card", file, "--out", str(page)], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = done.stdout.strip().partition(".html: ")[2]
    size, kilobytes = Path(file).stat().st_size / 1e6, page.stat().st_size / 1e3
    return [Path(file).name, f"{size:.2f}", f"{busy:.1f}", f"{kilobytes:.0f}", said]


def section(rows: list[list[str]]) -> str:
    """Returns the section as Markdown."""
    columns = ["file", "size, MB", "busy, s", "page, kB", "verdict"]
    lines = [HEADING, "", "`python benchmarks/cards.py FILE...`: processor time of the whole command with its imports."]
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    lines += [f"Largest resident size of any of these processes: {largest:.0f} MB.", ""]
    lines += [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]
    return "\n".join(lines) + "\n"


def replace_section(text: str, new: str) -> str:
    """Replaces the section of that heading in a document, or adds it at the end."""
    before, found, rest = text.partition(f"{HEADING}\n")
    if not found:
        return f"{text.rstrip()}\n\n{new}" if text.strip() else f"# Figures: what people see\n\n{new}"
    after = rest.partition("\n## ")
    return f"{before}{new}" + (f"\n## {after[2]}" if after[1] else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(file, Path(folder) / "card.html") for file in arguments.files]
    new = section(rows)
    print(new)
    if arguments.out is not None:
        text = arguments.out.read_text() if arguments.out.exists() else ""
        arguments.out.write_text(replace_section(text, new))


if __name__ == "__main__":
    main()
