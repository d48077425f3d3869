"""Compares ways to train `default`, out of fold across data sets and architectures, on runs that no study judges.

    python benchmarks/training_across_zoos.py ZOOS --work WORK [--only default,protocol]

ZOOS is the folder of zoos that `sne study cross-architecture --scale cpu --zoos ZOOS` has made. The training and
validation runs of each zoo of small CNNs are divided into six folds by number, in the same way for all data sets, so
that no network is judged by a predictor that learned from the run of equal number on other images. Each predictor
learns from one data set without one fold. It ranks that fold of all data sets, and all training and validation runs of
CNN-s of its own data set. WORK keeps the figures of each way; existing ones are not computed again. Prints a table of
Kendall tau for seed 0.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from sne import Zoo, fit
from sne.lab.studies.methods import PROTOCOL
from sne.lab.studies.zoos import ZooShelf
from sne.metrics import kendall_tau
from sne.training import PRESET_SETTINGS, TrainingSettings, preset_settings
from sne.zoo import Split

TARGET = "test_accuracy"
DATASETS = ("mnist", "fashion_mnist", "cifar10_gs", "svhn_crops_gs")
FOLDS, VALIDATION = 6, 0.18
FROM_SVHN, FROM_OTHERS = "of them from SVHN", "from the others"
KINDS = ("same data set", "another data set", FROM_SVHN, FROM_OTHERS, "CNN-s")

ONE = {"folds": 1, "experts": ("neural",)}
PLAIN = {**{name: getattr(TrainingSettings(), name) for name in PRESET_SETTINGS["default"]}, **PROTOCOL}
FULL = {**PLAIN, "folds": 5, "experts": ("neural", "forest")}
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "protocol": FULL,
    "protocol with rank weight .2": {**FULL, "rank_weight": 0.2},
    "one member": ONE,
    "one member by protocol": PLAIN,
    "one member by protocol with rank weight .5": {**PLAIN, "rank_weight": 0.5},
    "one member by protocol with learning rate 2e-3": {**PLAIN, "learning_rate": 2e-3},
}


def without_fold(shelf: ZooShelf, name: str, fold: int) -> Split:
    """Splits the training and validation runs of a zoo so that one fold of them is the test."""
    given = shelf.split(name)
    runs = sorted([*given.train, *given.val])
    judged = tuple(run for number, run in enumerate(runs) if number % FOLDS == fold)
    rest = [run for number, run in enumerate(runs) if number % FOLDS != fold]
    order = [str(run) for run in np.random.default_rng(7).permutation(rest)]
    cut = round(VALIDATION * len(rest))
    return Split(tuple(sorted(order[cut:])), tuple(sorted(order[:cut])), judged)


def measure(shelf: ZooShelf, settings: TrainingSettings) -> dict[str, list[float]]:
    """Returns tau of every predictor on everything that it ranks, by kind."""
    taus: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for source in DATASETS:
        name = f"cpu-small_cnn-{source}"
        for fold in range(FOLDS):
            split = without_fold(shelf, name, fold)
            zoo = Zoo.open(shelf.folder / name)
            predictor = fit(
                zoo, [TARGET], split=split, encoder="default", settings=settings, start=None, progress=False
            )

            def tau(judged: str, runs: tuple[str, ...]) -> float:
                other = Zoo.open(shelf.folder / judged)
                rows = np.flatnonzero(np.isin(other.runs, runs))
                predicted = predictor.values(other.networks(rows))[TARGET]  # noqa: B023 (used before the next)
                return kendall_tau(other.column(TARGET)[rows], predicted)

            for target in DATASETS:
                other = f"cpu-small_cnn-{target}"
                found = tau(other, without_fold(shelf, other, fold).test)
                if source == target:
                    taus["same data set"].append(found)
                    continue
                taus["another data set"].append(found)
                taus[FROM_SVHN if source == DATASETS[-1] else FROM_OTHERS].append(found)
            if (shelf.folder / (cnn_s := f"cpu-cnn_s-{source}")).is_dir():
                given = shelf.split(cnn_s)
                taus["CNN-s"].append(tau(cnn_s, (*given.train, *given.val)))
    return taus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoos", type=Path, help="folder of zoos")
    parser.add_argument("--work", type=Path, required=True, help="folder in which figures are kept")
    parser.add_argument("--only", default=",".join(WAYS), help="ways to train, separated by commas (default all)")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    shelf = ZooShelf(options.zoos)
    print(f"| trained as | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}")
    for way in options.only.split(","):
        kept = options.work / f"{way}.json"
        if not kept.is_file():
            kept.write_text(json.dumps(measure(shelf, preset_settings("default", **WAYS[way]))))
        taus = json.loads(kept.read_text())
        print(f"| {way} | {' | '.join(f'{np.mean(taus[kind]):.3f}' for kind in KINDS)} |", flush=True)


if __name__ == "__main__":
    main()
