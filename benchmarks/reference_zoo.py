"""Trains SNE and the baselines on the fixed reference zoo, on its own split, with several training seeds.

    python benchmarks/reference_zoo.py FOLDER --work WORK [--presets paper,default] [--seeds 0,1,2]

FOLDER contains the zoo in the published layout of the Small CNN Zoo (weights.npy, layout.csv, metrics.csv.gz,
split.json). WORK keeps the imported zoo and the predictors; an interrupted run continues. Writes reference_zoo.json and
.md in benchmarks/results.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from sne import Predictor, Zoo, fit
from sne.baselines import BASELINES
from sne.encoders import PRESETS
from sne.predictors import Property, scores
from sne.training import is_finished, preset_settings
from sne.zoo import import_zoo

TARGET = "test_accuracy"
RESULTS = Path(__file__).parent / "results"
FIGURES = ("kendall_tau", "tau_ceiling", "r2", "mae")


def baseline_rows(zoo: Zoo, seeds: list[int]) -> list[dict]:
    train = np.concatenate([zoo.split.rows(zoo.runs, piece) for piece in ("train", "val")])
    test = zoo.split.rows(zoo.runs, "test")
    labels = zoo.column(TARGET)
    rows = []
    for name, make in BASELINES.items():
        for seed in seeds:
            model, started = make(), time.monotonic()
            model.fit(zoo, train, labels[train], kind="fraction", seed=seed, target=TARGET)
            seconds = time.monotonic() - started
            figures = scores(Property.infer(TARGET, labels[train]), labels[test], model.predict(zoo, test))
            rows.append({"model": name, "seed": seed, "seconds": seconds, **figures})
            print(rows[-1], flush=True)
    return rows


def preset_row(zoo: Zoo, preset: str, seed: int, work: Path) -> dict:
    out = work / f"{preset}-{seed}"
    if is_finished(out):
        predictor = Predictor.load(out)
    else:
        fit(
            zoo,
            [TARGET],
            split=zoo.split,
            encoder=preset,
            settings=preset_settings(preset, seed=seed),
            start=None,
            out=out,
            resume=True,
        )
        predictor = Predictor.load(out)
    test = zoo.split.rows(zoo.runs, "test")
    networks = zoo.networks(test)
    started = time.monotonic()
    found = predictor.arrays(networks)
    milliseconds = 1000 * (time.monotonic() - started) / len(test)
    prop = predictor.find_property(TARGET)
    figures = scores(prop, zoo.column(TARGET)[test], found.values[TARGET], found.ends[TARGET])
    row = {"model": f"sne {preset}", "seed": seed, "seconds": sum(predictor.record["seconds"].values()), **figures}
    row |= {"experts": predictor.expert_weights(), "ms a network": milliseconds}
    row["validation tau"] = predictor.metrics["validation"][TARGET]["kendall_tau"]
    print(row, flush=True)
    return row


def summary(rows: list[dict]) -> str:
    lines = [
        "| model | seeds | Kendall tau | ceiling | R2 | MAE | coverage of 90 % | mean width | training seconds |",
        "|" + "---|" * 9,
    ]
    for model in dict.fromkeys(row["model"] for row in rows):
        some = [row for row in rows if row["model"] == model]

        def cell(name: str, some: list[dict] = some) -> str:
            values = [row[name] for row in some if row.get(name) is not None]
            if not values:
                return "-"
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 and np.ptp(values) > 0 else ""
            return f"{np.mean(values):.3f}{spread}"

        seconds = f"{np.mean([row['seconds'] for row in some]):.0f}"
        cells = [model, str(len(some)), *(cell(name) for name in (*FIGURES, "coverage", "mean_width")), seconds]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the zoo in its published layout")
    parser.add_argument("--work", type=Path, required=True, help="folder for the imported zoo and predictors")
    parser.add_argument("--presets", default=",".join(PRESETS), help="presets, separated by commas (default all)")
    parser.add_argument("--seeds", default="0,1,2", help="training seeds, separated by commas")
    parser.add_argument("--no-baselines", action="store_true", help="train only the presets")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    where = options.work / "zoo"
    if not where.exists():
        import_zoo("small-cnn-zoo", options.folder, where, dataset="fashion_mnist")
    zoo = Zoo.open(where)
    path = RESULTS / "reference_zoo.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    new = [] if options.no_baselines else baseline_rows(zoo, seeds)
    new += [
        preset_row(zoo, preset, seed, options.work) for preset in options.presets.split(",") if preset for seed in seeds
    ]
    replaced = {(row["model"], row["seed"]) for row in new}
    rows = [row for row in rows if (row["model"], row["seed"]) not in replaced] + new
    order = [*BASELINES, *(f"sne {preset}" for preset in PRESETS)]
    rows.sort(key=lambda row: (order.index(row["model"]), row["seed"]))
    path.write_text(
        json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "rows": rows}, indent=1)
    )
    text = f"""# The fixed reference zoo

The zoo has 500 runs of the small CNN on Fashion-MNIST with 1,500 checkpoints, split by run into 300 / 50 / 150
(`split.json`). Figures are those on the 450 test checkpoints: mean ± standard deviation over training seeds. Baselines
are trained on training and validation runs. `paper` is trained on the training runs and chooses its epoch on the
validation runs. The experts of `default` are trained in five folds, each on four fifths of both; the remaining fifth
chooses the epoch and the weights. The ceiling is the largest tau that ties among the labels allow.

{summary(rows)}

Made by `python benchmarks/reference_zoo.py FOLDER --work WORK`; `reference_zoo.json` contains every seed.
"""
    (RESULTS / "reference_zoo.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
