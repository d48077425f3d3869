"""Learned invariance: what the logit-invariance term does to error and ranking, by zoo size, against its absence.

    python benchmarks/symmetry.py ZOO --name small_cnn --work WORK [--sizes 50,100,200,400,800] [--seeds 0,1,2]
        [--weights 0,10] [--epochs 25]

ZOO is a zoo that `sne zoo make` made, so that it knows the symmetry of each network:

    sne zoo make small_cnn --family small_cnn --images mnist.npz --networks 400
    sne zoo make mixed --family mlp,small_cnn,cnn_s,gru,residual_cnn,vit --images mnist.npz --networks 80

One fifth of the runs tests, one tenth selects; of the others as many checkpoints train as a size says, whole runs drawn
by the training seed. Every predictor is kept in WORK, and a benchmark that was stopped goes on. Writes
results/symmetry_NAME.json and results/symmetry_NAME.md beside this file.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sne import Predictor, Zoo, fit
from sne.networks import Network
from sne.training import evaluate, is_finished, preset_settings
from sne.zoo import Split, split_by_run

TARGET = "test_accuracy"
RESULTS = Path(__file__).parent / "results"
DRAWS = 4


def part_of(zoo: Zoo, split: Split, size: int, seed: int) -> Split:
    """The split with as many training checkpoints as asked for, in whole runs."""
    counts: dict[str, int] = {}
    for run in zoo.runs:
        counts[run] = counts.get(run, 0) + 1
    chosen, total = [], 0
    for run in np.random.default_rng(seed).permutation(sorted(split.train)):
        if total + counts[run] > size:
            break
        chosen.append(str(run))
        total += counts[run]
    return Split(tuple(chosen), split.val, split.test)


def variants(weights: list[float]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, preset and settings of everything that is compared."""
    for weight in weights:
        yield f"paper, lambda {weight:g}", "paper", {"invariance": weight}
    yield "paper, augmented", "paper", {"augment": True}
    yield "default", "default", {}


def train(zoo: Zoo, split: Split, preset: str, changes: dict[str, Any], out: Path) -> Predictor:
    if not is_finished(out):
        settings = preset_settings(preset, **changes)
        fit(zoo, [TARGET], split=split, encoder=preset, settings=settings, out=out, resume=True)
    return Predictor.load(out)


def shuffled_chunks(zoo: Zoo, rows: np.ndarray, size: int) -> list[Network]:
    """Networks whose matrices have their entries shuffled inside pieces of `size` of a row: other functions."""
    generator = torch.Generator().manual_seed(0)
    vectors = {}
    for row in rows.tolist():
        vector = zoo.weights(row).clone()
        for slot in zoo.layout(row).slots:
            if len(slot.shape) < 2:
                continue
            matrix = vector[slot.offset : slot.offset + slot.num_entries].view(slot.shape[0], -1)
            for start in range(0, matrix.shape[1], size):
                piece = matrix[:, start : start + size]
                order = torch.rand(piece.shape, generator=generator).argsort(1)
                matrix[:, start : start + size] = piece.gather(1, order)
        vectors[row] = vector
    return zoo.with_weights(vectors).networks(rows)


def over_invariance(zoo: Zoo, rows: np.ndarray, predictor: Predictor, size: int) -> float:
    """How far embeddings move, against how far they lie apart, when weights are shuffled inside chunks."""
    embeddings = predictor.embed(zoo.networks(rows))
    moved = predictor.embed(shuffled_chunks(zoo, rows, size))
    apart = np.linalg.norm(embeddings - embeddings.mean(0), axis=1).mean()
    return float(np.linalg.norm(moved - embeddings, axis=1).mean() / apart)


def summary(rows: list[dict[str, Any]], names: list[str], sizes: list[int], key: str, form: str) -> str:
    lines = ["| | " + " | ".join(f"{size} networks" for size in sizes) + " |", "|" + "---|" * (1 + len(sizes))]
    for name in names:
        cells = []
        for size in sizes:
            values = [row[key] for row in rows if row["name"] == name and row["size"] == size and row[key] is not None]
            spread = f" ± {format(np.std(values, ddof=1), form)}" if len(values) > 1 else ""
            cells.append(f"{format(np.mean(values), form)}{spread}" if values else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", default="50,100,200,400,800")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--weights", default="0,10")
    parser.add_argument("--epochs", type=int, default=25)
    options = parser.parse_args()
    zoo = Zoo.open(options.zoo)
    split = split_by_run(zoo.runs, val=0.1, test=0.2, seed=0, families=zoo.families)
    test = split.rows(zoo.runs, "test")
    sizes, seeds = ([int(n) for n in text.split(",")] for text in (options.sizes, options.seeds))
    compared = list(variants([float(weight) for weight in options.weights.split(",")]))
    rows = []
    for size in sizes:
        for seed in seeds:
            for name, preset, changes in compared:
                out = options.work / f"{options.name}-{name.replace(', ', '-').replace(' ', '-')}-{size}-{seed}"
                changes = {**changes, "seed": seed} | ({"epochs": options.epochs} if preset == "paper" else {})
                predictor = train(zoo, part_of(zoo, split, size, seed), preset, changes, out)
                found = evaluate(predictor, zoo, test, invariance_draws=DRAWS)[0].figures()["sne"]
                rows.append({"name": name, "size": size, "seed": seed, "seconds": predictor.record["seconds"], **found})
                if size == sizes[-1]:
                    rows[-1]["shuffled"] = over_invariance(zoo, test[:100], predictor, 32)
                print(json.dumps(rows[-1]), flush=True)
    report = {
        "networks": len(zoo),
        "families": sorted(set(zoo.families)),
        "test": len(test),
        "draws": DRAWS,
        "rows": rows,
    }
    (RESULTS / f"symmetry_{options.name}.json").write_text(json.dumps(report, indent=1) + "\n")
    names = [name for name, _, _ in compared]
    tables = [
        ("Kendall tau on the test runs", "kendall_tau", ".3f"),
        ("Invariance error E_g[1/2 (f(W) - f(gW))^2] of the logit, permutations", "invariance_error", ".2e"),
        ("Mean absolute change of the predicted accuracy under permutations", "value_change", ".5f"),
    ]
    text = f"# Learned invariance: {options.name}\n\n"
    text += f"{len(test)} test networks, mean ± deviation over {len(seeds)} seeds.\n"
    for title, key, form in tables:
        text += f"\n## {title}\n\n{summary(rows, names, sizes, key, form)}\n"
    text += "\n## Over-invariance: weights shuffled inside chunks of 32, which changes what a network computes\n\n"
    text += "Movement of the embedding, as a share of how far embeddings lie apart; 0 is blind.\n\n"
    shuffled = [row for row in rows if "shuffled" in row]
    text += summary(shuffled, names, sizes[-1:], "shuffled", ".4f") + "\n"
    (RESULTS / f"symmetry_{options.name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
