"""Keeps the reports of studies that were run, and sums them up in docs/results.md.

    python benchmarks/study_results.py OUT

OUT holds a folder for each study, as `sne study NAME --scale cpu --out OUT/NAME` makes them. Reports, figures and
pictures are copied to results/studies/NAME beside this file; what trainings predicted and the page stay in OUT. Between
the marks of docs/results.md one row a study and group is written anew; the words around it are ours.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "studies"
PAGE = HERE.parent / "docs" / "results.md"
START, END = "<!-- studies -->", "<!-- /studies -->"
KEPT = ("report.md", "results.json", "*.png")
COLUMNS = {"sne": "default", "sne_canonical": "canonical", "sne_paper": "paper", "probing": "probing"}


def keep(study: Path) -> Path:
    """Copies what is committed of a study's folder; returns where it lies."""
    where = RESULTS / study.name
    where.mkdir(parents=True, exist_ok=True)
    for old in where.iterdir():
        old.unlink()
    for pattern in KEPT:
        for path in study.glob(pattern):
            shutil.copy(path, where / path.name)
    return where


def figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3g}"


def rows_of(name: str, found: dict[str, Any]) -> list[str]:
    """The rows of one study: a group each."""
    rows = []
    for group in dict.fromkeys(total["group"] for total in found["totals"]):
        totals = {total["method"]: total for total in found["totals"] if total["group"] == group}
        whole = {m: t for m, t in totals.items() if t["held_out_sets"] == t["held_out_sets_asked"]}
        compared = next((c for c in found["comparisons"] if c["group"] == group and c["reads"] == "weights"), None)
        cells = [f"[{name}](../benchmarks/results/studies/{name}/report.md)", group]
        cells += [next(iter(totals.values()))["metric"].replace("kendall_tau", "tau")]
        cells += [figure(whole[method]["mean"]) if method in whole else "-" for method in COLUMNS]
        if compared is None:
            cells += ["-", "-"]
        else:
            best = compared["best_baseline"]
            low, high = compared["interval"]
            cells += [f"{figure(whole[best]['mean'])} ({best})"]
            gain = f"{compared['gain']:+.3f} [{low:+.3f}, {high:+.3f}]"
            cells += [f"**{gain}**" if low > 0 else gain]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def table(studies: list[Path]) -> str:
    heads = ["study", "held out", "metric", *COLUMNS.values(), "best other that reads weights", "gain of default [95%]"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for study in studies:
        lines += rows_of(study.name, json.loads((study / "results.json").read_text()))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    for study in sorted(path.parent for path in options.out.glob("*/results.json")):
        keep(study)
    text = PAGE.read_text()
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    studies = sorted(path.parent for path in RESULTS.glob("*/results.json"))
    PAGE.write_text(f"{before}{START}\n{table(studies)}\n{END}{after}")


if __name__ == "__main__":
    main()
