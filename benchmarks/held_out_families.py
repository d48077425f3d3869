"""Train on some families of a mixed zoo, rank the networks of families never seen: SNE beside the baselines.

    python benchmarks/held_out_families.py ZOO --work WORK [--held-out residual_cnn,vit] [--seeds 0,1,2]

ZOO comes from `sne zoo make ZOO --family mlp,small_cnn,cnn_s,gru,residual_cnn,vit --images mnist.npz --networks 90
--steps 700 --keep 50,200,700 --seed 0`. WORK keeps the predictors; a run that was stopped goes on. Writes
benchmarks/results/held_out_families.json and .md.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from sne import Predictor, Zoo, fit
from sne.baselines import BASELINES
from sne.metrics import kendall_tau, tau_ceiling
from sne.training import is_finished, preset_settings
from sne.zoo import Split, split_by_run

TARGET = "test_accuracy"
RESULTS = Path(__file__).parent / "results"


def family_split(zoo: Zoo, held_out: list[str]) -> Split:
    """All runs of the held-out families are for testing; the others train (85 %) and validate (15 %)."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--held-out", default="residual_cnn,vit")
    parser.add_argument("--seeds", default="0,1,2")
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
            fit(zoo, [TARGET], split=split, encoder="default", settings=settings, out=out, resume=True)
        predicted = Predictor.load(out).values(zoo.networks(test))[TARGET]
        rows.append({"model": "sne default", "seed": seed, **figures(zoo, test, predicted, held_out)})
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
    text = f"""# Families never seen in training

Kendall tau on {len(test)} networks of {" and ".join(held_out)}; trained on {len(train)} networks of {", ".join(seen)}
(one zoo, MNIST). Mean ± standard deviation over training seeds; the ceiling that ties allow is {ceiling:.3f}.
Statistics are pooled by layer type and role here; hyper-parameters are what the recipes of the families share, and a
folder of checkpoints without notes has none.

{chr(10).join(lines)}

Made by `python benchmarks/held_out_families.py ZOO --work WORK`; its head says how the zoo is made.
"""
    (RESULTS / "held_out_families.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
