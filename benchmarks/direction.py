"""Fits the weights by which `sne compare` tells the direction of a fine-tune, and measures how often it is right.

    python benchmarks/direction.py --images IMAGES --work WORK --zoos ZOO...

IMAGES is a folder with cifar10_gs.npz and svhn_crops_gs.npz. WORK keeps zoos of trees of descent, which are made if
they are missing, with hyper-parameters drawn from the spaces of their families. ZOO are zoos with several checkpoints
per run, such as those of `benchmarks/pretraining_zoos.py`: the last checkpoint of a run is the child of the one before.
Each family is judged by weights that were fitted to the others. Writes benchmarks/results/direction.json and .md.
"""

import argparse
import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from sne import Zoo
from sne.making.descent import make_trees
from sne.networks import Network
from sne.provenance.direction import LEAST_CONFIDENCE, departures
from sne.provenance.evidence import compare_pair
from sne.provenance.matching import match
from sne.work import ProcessPool

RESULTS = Path(__file__).parent / "results"
LONGER = "last checkpoint of a run"
PAIRS = (
    ("root", "tuned lightly"), ("root", "tuned long"), ("root", "other"), ("root", "head"), ("other", "back"),
    ("permuted", "permuted and tuned"),
)  # fmt: skip


def features(parent: Network, child: Network) -> tuple[float, float]:
    return departures([compare_pair(parent, child, pair) for pair in match(parent, child).pairs])


def of_trees(zoo: Zoo) -> Iterator[tuple[str, str, tuple[float, float]]]:
    nodes: dict[str, dict[str, int]] = {}
    for row, run in enumerate(zoo.runs):
        nodes.setdefault(run, {})[zoo.column("node")[row]] = row
    for rows in nodes.values():
        for parent, child in PAIRS:
            if parent in rows and child in rows:
                found = features(zoo.network(rows[parent]), zoo.network(rows[child]))
                yield zoo.families[rows[parent]], f"{parent} to {child}", found


def of_runs(zoo: Zoo, most: int = 120) -> Iterator[tuple[str, str, tuple[float, float]]]:
    rows: dict[str, list[int]] = {}
    for row in np.argsort(zoo.column("step"), kind="stable"):
        rows.setdefault(zoo.runs[row], []).append(int(row))
    some = random.Random(0).sample(sorted(rows), min(most, len(rows)))
    for run in some:
        if len(rows[run]) > 1:
            found = features(zoo.network(rows[run][-2]), zoo.network(rows[run][-1]))
            yield zoo.families[rows[run][0]], LONGER, found


def fit(found: np.ndarray, weights: np.ndarray) -> LogisticRegression:
    both = np.concatenate([found, -found])
    labels = np.repeat([1, 0], len(found))
    return LogisticRegression(fit_intercept=False).fit(both, labels, sample_weight=np.tile(weights, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of image sets")
    parser.add_argument("--work", type=Path, required=True, help="folder of the zoos of trees")
    parser.add_argument("--zoos", type=Path, nargs="+", required=True, help="zoos with several checkpoints per run")
    parser.add_argument("--families", default="mlp,small_cnn,gru,residual_cnn", help="families of trees")
    options = parser.parse_args()
    rows = []
    for family in options.families.split(","):
        zoo = make_trees(
            options.work / f"dev-{family}", families=[family], spaces={}, images=options.images / "cifar10_gs.npz",
            other_images=options.images / "svhn_crops_gs.npz", trees=16, steps=150, seed=7, eval_images=200,
            executor=ProcessPool(1),
        )  # fmt: skip
        rows += of_trees(zoo)
    for path in options.zoos:
        rows += of_runs(Zoo.open(path))
    families, kinds = (np.array([row[number] for row in rows]) for number in (0, 1))
    found = np.array([row[2] for row in rows])
    weights = np.where(kinds == LONGER, 0.5, 1.0)
    odds = np.zeros(len(rows))
    for family in set(families):
        odds[families == family] = fit(found[families != family], weights[families != family]).decision_function(
            found[families == family]
        )
    probability = 1 / (1 + np.exp(-np.abs(odds)))
    stated = probability >= LEAST_CONFIDENCE
    write(kinds, odds > 0, stated, probability, fit(found, weights).coef_[0])


def write(
    kinds: np.ndarray, right: np.ndarray, stated: np.ndarray, probability: np.ndarray, weights: np.ndarray
) -> None:
    groups = [("all", np.ones(len(kinds), bool)), ("fine-tunes", kinds != LONGER)]
    groups += [(kind, kinds == kind) for kind in dict.fromkeys(kinds)]
    rows = [
        {"kind": name, "n": int(some.sum()), "stated": float(stated[some].mean()),
         "right if stated": float(right[some & stated].mean()), "right": float(right[some].mean())}
        for name, some in groups
    ]  # fmt: skip
    bins = [0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 1.01]
    levels = [
        {"probability": f"{low:.2f} - {min(high, 1):.2f}", "n": int(some.sum()), "right": float(right[some].mean())}
        for low, high in pairwise(bins)
        if (some := (probability >= low) & (probability < high)).any()
    ]
    result = {"weights": weights.tolist(), "kinds": rows, "probabilities": levels}
    (RESULTS / "direction.json").write_text(json.dumps(result, indent=1) + "\n")
    lines = [
        "| pairs | n | direction stated | right if stated | right, if it had to be stated |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['kind']} | {row['n']} | {row['stated']:.0%} | {row['right if stated']:.0%} | {row['right']:.0%} |"
        for row in rows
    ]
    lines += ["", "| probability stated | n | right |", "|---|---|---|"]
    lines += [f"| {row['probability']} | {row['n']} | {row['right']:.0%} |" for row in levels]
    shown = ", ".join(f"{value:.2f}" for value in weights)
    text = f"""# The direction of fine-tunes

Two features: the logarithms of the ratios of the squared distances of biases from zero, and of scales of norms from
one. Weights of the features in the logarithm of the odds: {shown}. Each family is judged by weights fitted to the
others.

{chr(10).join(lines)}

Made by `python benchmarks/direction.py --images IMAGES --work WORK --zoos ZOO...`.
"""
    (RESULTS / "direction.md").write_text(text)


if __name__ == "__main__":
    main()
