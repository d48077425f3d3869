"""Compares tree ensembles next to the heads, for classes: extremely randomised trees and boosting, on two inputs.

    python benchmarks/forest_learners.py ZOOS --out FILE.md

The inputs are the summary of the default encoder and weight statistics. ZOOS is the folder of zoos that
`sne study labels --scale cpu --zoos ZOOS` has made. Only training and validation runs of its four zoos are read, never
test runs. Accuracies are cross-validated, with runs of equal number in one fold, for three partitions into folds.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

from sne.baselines.estimators import boosting
from sne.baselines.statistics import per_tensor
from sne.encoders import TensorSetEncoder
from sne.lab.studies.declared.labels import LABELS, TARGETS
from sne.lab.studies.zoos import ZooShelf
from sne.predictors import TrainingSettings

FOLDS, CUTS = 5, 3
DEFAULTS = TrainingSettings()


def learner(kind: str, seed: int) -> Any:
    """Returns the trees next to the heads of `default`, or the boosting of the baselines."""
    if kind == "boosting":
        return boosting("class", seed)
    settings: dict[str, Any] = {"min_samples_leaf": DEFAULTS.least_in_leaf, "max_features": DEFAULTS.share_of_features}
    return ExtraTreesClassifier(DEFAULTS.trees, random_state=seed, **settings)


def out_of_fold(features: NDArray[Any], labels: NDArray[Any], groups: NDArray[Any], kind: str) -> list[float]:
    """Returns the accuracy on held-out networks, for each partition into folds."""
    names, place = np.unique(groups, return_inverse=True)
    scores = []
    for cut in range(CUTS):
        fold = np.random.default_rng(cut).permutation(len(names))[place] % FOLDS
        predicted = np.empty_like(labels)
        for held in range(FOLDS):
            model = learner(kind, cut).fit(features[fold != held], labels[fold != held])
            predicted[fold == held] = model.predict(features[fold == held])
        scores.append(float(np.mean(predicted == labels)))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoos", type=Path, help="folder of zoos")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    given = parser.parse_args()
    task = LABELS.designs["cpu"].tasks[0]
    shelved = ZooShelf(given.zoos).open(task.train)
    zoo, learned = shelved.zoo, {*shelved.split.train, *shelved.split.val}
    rows = np.array([row for row, run in enumerate(zoo.runs) if run in learned])
    networks, groups = zoo.networks(rows), np.array(zoo.groups)[rows]
    encoder = TensorSetEncoder()
    inputs = {
        "summary": encoder.summarize(encoder.prepare(networks)).numpy(),
        "statistics": per_tensor(networks),
    }
    ways = [(features, kind) for features in inputs for kind in ("trees", "boosting")]
    lines = [
        "# Trees next to the heads",
        "",
        f"Accuracy on {len(rows)} networks: {len(set(groups))} runs on each of four image sets; "
        f"{DEFAULTS.trees} trees. "
        f"Means over {CUTS} partitions into {FOLDS} folds, with the standard deviation over partitions.",
        "",
        "| predicted | " + " | ".join(f"{kind} on {features}" for features, kind in ways) + " |",
        "|---|" + "---|" * len(ways),
    ]
    for name, (target, metric) in TARGETS.items():
        if metric != "accuracy":
            continue
        labels = zoo.column(target)[rows].astype(str)
        scores = [out_of_fold(inputs[features], labels, groups, kind) for features, kind in ways]
        cells = [f"{np.mean(some):.3f} ({np.std(some, ddof=1):.3f})" for some in scores]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
