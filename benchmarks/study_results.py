"""Copies the reports of studies into the repository and summarises them in docs/results.md.

    python benchmarks/study_results.py OUT

OUT contains one folder per study, as written by `sne study NAME --scale cpu --out OUT/NAME`. Reports, figures and
pictures are copied to results/studies/NAME next to this file; predictions and the HTML page stay in OUT. The table
between the marks in docs/results.md is written anew, with one row per study and group; the text around it is written
by hand. A study of variants, without any method of COLUMNS, has no row.
"""

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Any

from sne.lab.studies.study import LOWER_IS_BETTER

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "studies"
PAGE = HERE.parent / "docs" / "results.md"
START, END = "<!-- studies -->", "<!-- /studies -->"
KEPT = ("report.md", "*.png")
DIGITS = 5
COLUMNS = {
    "sne": "default",
    "sne_plain": "one, as baselines",
    "sne_canonical": "canonical",
    "sne_paper": "paper",
    "probing": "probing",
    "sne_probing": "default and probing",
}


def keep(study: Path) -> Path:
    """Copies the part of a study's folder that is committed, with rounded figures, and returns the new folder."""
    where = RESULTS / study.name
    where.mkdir(parents=True, exist_ok=True)
    for old in where.iterdir():
        old.unlink()
    for pattern in KEPT:
        for path in study.glob(pattern):
            shutil.copy(path, where / path.name)
    found = json.loads((study / "results.json").read_text())
    lines = [f"{json.dumps(key)}: {lines_of(rounded(value))}" for key, value in found.items()]
    (where / "results.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return where


def rounded(value: Any) -> Any:
    """Rounds all floats to DIGITS significant digits, which is more than the width of any interval."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def lines_of(value: Any) -> str:
    """Writes JSON, with each record of a list on a line of its own."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"
    return json.dumps(value)


def figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3g}"


def rows_of(name: str, found: dict[str, Any]) -> list[str]:
    """Returns the rows of one study, one per group."""
    rows = []
    for group in dict.fromkeys(total["group"] for total in found["totals"]):
        totals = {total["method"]: total for total in found["totals"] if total["group"] == group}
        whole = {m: t for m, t in totals.items() if t["held_out_sets"] == t["held_out_sets_asked"]}
        compared = next((c for c in found["comparisons"] if c["group"] == group and c["reads"] == "weights"), None)
        cells = [f"[{name}](../benchmarks/results/studies/{name}/report.md)", group]
        cells += [next(iter(totals.values()))["metric"].replace("kendall_tau", "tau")]
        cells += [figure(whole[method]["mean"]) if method in whole else "-" for method in COLUMNS]
        if compared is None:
            cells += ["-", "-", "-"]
        else:
            best = compared["best_baseline"]
            low, high = compared["interval"]
            cells += [f"{figure(whole[best]['mean'])} ({best})"]
            gain = f"{compared['gain']:+.3f} [{low:+.3f}, {high:+.3f}]"
            cells += [f"**{gain}**" if low > 0 or high < 0 else gain]
            cells += [firsts(found, group, compared["method"])]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def firsts(found: dict[str, Any], group: str, ours: str) -> str:
    """Counts the held-out sets on which our mean is better than that of every baseline that reads only weights."""
    weights_alone = [method for method in found["methods"] if method["reads"] == "weights"]
    others = [method["name"] for method in weights_alone if method["kind"] != "preset"]
    sets: dict[tuple[str, str], dict[str, float]] = {}
    for outcome in found["outcomes"]:
        if outcome["group"] == group and outcome["status"] == "done" and outcome["method"] in (ours, *others):
            sign = -1 if outcome["metric"] in LOWER_IS_BETTER else 1
            sets.setdefault((outcome["task"], outcome["held_out"]), {})[outcome["method"]] = sign * outcome["mean"]
    first = sum(means.get(ours, -math.inf) == max(means.values()) for means in sets.values())
    return f"{first} of {len(sets)}"


def table(studies: list[Path]) -> str:
    heads = ["study", "held out", "metric", *COLUMNS.values()]
    heads += ["best other that reads weights", "gain of default [95%]", "sets where first"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for study in studies:
        found = json.loads((study / "results.json").read_text())
        if any(method["name"] in COLUMNS for method in found["methods"]):
            lines += rows_of(study.name, found)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder with one folder per study")
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
