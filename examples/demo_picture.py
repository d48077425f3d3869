"""Draws a picture of docs/predictions.md: predicted and measured test accuracy of networks that `make demo` held out.

sne evaluate demo/predictor demo/zoo --split test --table --json > table.jsonl
python examples/demo_picture.py table.jsonl docs/images/demo.png
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

# Okabe and Ito's colours, which colour-blind readers can tell apart
FAMILIES = {"small_cnn": ("#0072b2", "small CNN"), "mlp": ("#d55e00", "perceptron")}


def main() -> None:
    """Reads the table and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="Output of sne evaluate --table --json.")
    parser.add_argument("picture", type=Path, help="PNG file to write.")
    given = parser.parse_args()
    *rows, summary = (json.loads(line) for line in given.table.read_text().splitlines())
    draw(rows, summary["properties"]["test_accuracy"], given.picture)


def draw(rows: list[dict], figures: dict[str, dict[str, float]], picture: Path) -> None:
    """Draws one point with its 90% interval per network, on a white background that dark pages show as well."""
    figure, axes = plt.subplots(figsize=(5.6, 4.6), dpi=150, facecolor="white")
    axes.plot([0, 1], [0, 1], ":", color="#6b7280", linewidth=1.2)
    for family, (colour, label) in FAMILIES.items():
        drawn = [row for row in rows if row["id"].startswith(family)]
        measured, predicted = ([row[name] for row in drawn] for name in ("measured", "predicted"))
        ends = [[row["predicted"] - row["low"] for row in drawn], [row["high"] - row["predicted"] for row in drawn]]
        axes.errorbar(measured, predicted, ends, fmt="none", ecolor=colour, alpha=0.2, linewidth=1)
        axes.scatter(measured, predicted, s=34, color=colour, edgecolor="white", linewidth=0.6, label=label, zorder=3)
    best = max(values["kendall_tau"] for name, values in figures.items() if name != "sne")
    axes.set_title(
        f"{figures['sne']['n']} networks that were held out from training\n"
        f"Kendall tau: sne {figures['sne']['kendall_tau']:.2f}, "
        f"best baseline {best:.2f}",
        fontsize=10,
        loc="left",
    )
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes.set_xlabel("measured test accuracy")
    axes.set_ylabel("predicted from the weights")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="upper left")
    figure.tight_layout()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, facecolor="white")


if __name__ == "__main__":
    main()
