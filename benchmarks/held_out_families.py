"""Trains on some families of a mixed zoo and ranks the networks of other families: SNE and the baselines.

    python benchmarks/held_out_families.py ZOO --work WORK [--held-out residual_cnn,vit] [--seeds 0,1,2]

ZOO is made by `sne zoo make ZOO --family mlp,small_cnn,cnn_s,gru,residual_cnn,vit --images mnist.npz --networks 90
--steps 700 --keep 50,200,700 --seed 0`. WORK keeps the predictors; an interrupted run continues. Writes
benchmarks/results/held_out_families.json and .md.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from sne import Predictor, Zoo, fit
from sne.baselines import BASELINES
from sne.metrics import coverage, kendall_tau, tau_ceiling
from sne.training import is_finished, preset_settings
from sne.zoo import Split, split_by_run

TARGET = "test_accuracy"
RESULTS = Path(__file__).parent / "results"


def family_split(zoo: Zoo, held_out: list[str]) -> Split:
    """Returns a split in which all runs of the held-out families test; the others train (85 %) and validate (15 %)."""
    runs, families = np.array(zoo.runs), np.array(zoo.families)
    seen = ~np.isin(families, held_out)
    cut = split_by_run(list(runs[seen]), val=0.15, test=0.05, seed=0, families=list(families[seen]))
    return Split((*cut.train, *cut.test), cut.val, tuple(sorted(set(runs[~seen]))))


def figures(zoo: Zoo, test: np.ndarray, predicted: np.ndarray, held_out: list[str]) -> dict:
    labels, families = zoo.column(TARGET)[test], np.array(zoo.families)[test]
    row = {"all": kendall_tau(labels, predicted)}
    for family in held_out:
        mine = families == family
        row[family] = kendall_tau(labels[mine], predicted[mine])
    return row


def doubts(predictor: Predictor, zoo: Zoo, test: np.ndarray, held_out: list[str]) -> tuple[np.ndarray, dict]:
    """Predicts, and returns the coverage of the intervals and the share outside the known domain by family."""
    predictions = predictor.predict(zoo.networks(test))
    predictions = [found for found in predictions if found.property == TARGET]
    low, high, values = (np.array([getattr(p, name) for p in predictions]) for name in ("low", "high", "value"))
    labels, families = zoo.column(TARGET)[test], np.array(zoo.families)[test]
    outside = np.array([p.in_domain is False for p in predictions])
    found = {}
    for family in ["all", *held_out]:
        mine = np.ones(len(test), dtype=bool) if family == "all" else families == family
        found[family] = {
            "coverage": coverage(labels[mine], low[mine], high[mine]),
            "mean width": float((high - low)[mine].mean()),
            "outside the known domain": float(outside[mine].mean()),
        }
    return values, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path, help="folder of the zoo")
    parser.add_argument("--work", type=Path, required=True, help="folder in which predictors are kept")
    parser.add_argument("--held-out", default="residual_cnn,vit", help="families, separated by commas")
    parser.add_argument("--seeds", default="0,1,2", help="training seeds, separated by commas")
    options = parser.parse_args()
    held_out, seeds = options.held_out.split(","), [int(seed) for seed in options.seeds.split(",")]
    zoo = Zoo.open(options.zoo)
    split = family_split(zoo, held_out)
    train = np.concatenate([split.rows(zoo.runs, piece) for piece in ("train", "val")])
    test = split.rows(zoo.runs, "test")
    labels = zoo.column(TARGET)
    rows = []
    for name, make in BASELINES.items():
        for seed in seeds:
            model = make()
            model.fit(zoo, train, labels[train], kind="fraction", seed=seed, target=TARGET)
            rows.append({"model": name, "seed": seed, **figures(zoo, test, model.predict(zoo, test), held_out)})
            print(rows[-1], flush=True)
    for seed in seeds:
        out = options.work / f"held-out-{seed}"
        if not is_finished(out):
            settings = preset_settings("default", seed=seed)
            fit(zoo, [TARGET], split=split, encoder="default", settings=settings, start=None, out=out, resume=True)
        predictor = Predictor.load(out)
        predicted, intervals = doubts(predictor, zoo, test, held_out)
        weights = {kind: found["weights_outside"][TARGET] for kind, found in predictor.metrics["experts"].items()}
        row = {"model": "sne default", "seed": seed, **figures(zoo, test, predicted, held_out)}
        rows.append({**row, "intervals": intervals, "weights outside": weights})
        print(rows[-1], flush=True)
    ceiling = tau_ceiling(labels[test])
    seen = sorted(set(zoo.families) - set(held_out))
    (RESULTS / "held_out_families.json").write_text(
        json.dumps({"trained on": seen, "held out": held_out, "ceiling": ceiling, "rows": rows}, indent=1) + "\n"
    )
    columns = ["all", *held_out]
    lines = [f"| model | seeds | {' | '.join(columns)} |", "|" + "---|" * (2 + len(columns))]
    for name in dict.fromkeys(row["model"] for row in rows):
        some = [[row[column] for column in columns] for row in rows if row["model"] == name]
        mean, spread = np.mean(some, 0), np.std(some, 0, ddof=1) if len(some) > 1 else np.zeros(len(columns))
        cells = [f"{m:.3f}" + (f" ± {s:.3f}" if s > 5e-4 else "") for m, s in zip(mean, spread, strict=True)]
        lines.append(f"| {name} | {len(some)} | {' | '.join(cells)} |")
    doubtful = [row["intervals"] for row in rows if "intervals" in row]
    table = [f"| 90% intervals | {' | '.join(columns)} |", "|" + "---|" * (1 + len(columns))]
    for name in doubtful[0]["all"]:
        cells = [f"{np.mean([one[column][name] for one in doubtful]):.3f}" for column in columns]
        table.append(f"| {name} | {' | '.join(cells)} |")
    text = f"""# Families that are not in the training data

Kendall tau on {len(test)} networks of {" and ".join(held_out)}, after training on {len(train)} networks of
{", ".join(seen)} (one zoo, MNIST). Mean ± standard deviation over training seeds. Ties among the labels limit tau to
{ceiling:.3f}. Weight statistics are pooled by layer type and role. The hyper-parameters are those that the recipes of
the families share; a folder of checkpoints without such records has none.

{chr(10).join(lines)}

The intervals of `sne default`, mean over seeds:

{chr(10).join(table)}

Made by `python benchmarks/held_out_families.py ZOO --work WORK`; its docstring says how the zoo is made.
"""
    (RESULTS / "held_out_families.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
