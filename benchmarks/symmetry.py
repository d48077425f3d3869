"""Measures what the logit-invariance term does to the invariance error and to ranking, by size of the zoo.

    python benchmarks/symmetry.py ZOO --name small_cnn --work WORK [--sizes 50,100,200,400,800]
        [--epochs 60,40,25,15,10] [--seeds 0,1,2] [--weights 0,3] [--kinds permutation,scaling,sign] [--largest N]

ZOO is a zoo made by `sne zoo make`, which stores the symmetry of each network:

    sne zoo make small_cnn --family small_cnn --images mnist.npz --networks 400
    sne zoo make mixed --family mlp,small_cnn,cnn_s,gru,residual_cnn,vit --images mnist.npz --networks 70

One fifth of the runs are test runs. Of the others, as many checkpoints as --sizes states are trained on, and up to a
quarter as many are used to choose the epoch; whole runs are drawn with the training seed. `paper` is trained for the
number of epochs that --epochs states for each size, so that the number of steps grows more slowly than the zoo. Every
predictor is kept in WORK, and an interrupted benchmark continues. Writes results/learned_invariance_NAME.json and, for
all zoos, results/symmetry.md next to this file.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sne import Predictor, Zoo, fit
from sne.making.families import FAMILIES
from sne.metrics import kendall_tau
from sne.networks import TensorSource
from sne.training import evaluate_rows, is_finished, preset_settings
from sne.zoo import Split, split_by_run

TARGET = "test_accuracy"
RESULTS = Path(__file__).parent / "results"
DRAWS = 2
CHUNK = 32
SHAPE = (1, 28, 28)
CHANGES = {
    "chunks": "Entries shuffled inside chunks of 32 weights, or inside kernels",
    "rows": "Rows of each matrix permuted, without the matching changes elsewhere",
}


def part_of(zoo: Zoo, split: Split, size: int, seed: int) -> Split:
    """Returns a split with whole runs: up to `size` training checkpoints, and a quarter as many for validation."""
    counts: dict[str, int] = {}
    for run in zoo.runs:
        counts[run] = counts.get(run, 0) + 1
    generator = np.random.default_rng(seed)

    def some(runs: tuple[str, ...], most: int) -> tuple[str, ...]:
        chosen, total = [], 0
        for run in generator.permutation(sorted(runs)):
            if total + counts[run] > most:
                break
            chosen.append(str(run))
            total += counts[run]
        return tuple(chosen)

    return Split(some(split.train, size), some(split.val, size // 4), split.test)


def without_large(zoo: Zoo, split: Split, largest: int) -> Split:
    """Returns the split without runs whose networks have more weights than `largest`."""
    large = {run for row, run in enumerate(zoo.runs) if zoo.num_weights(row) > largest}
    return Split(*(tuple(run for run in part if run not in large) for part in (split.train, split.val, split.test)))


def variants(
    weights: list[float], kinds: tuple[str, ...], epochs: int, is_augmented: bool
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields name, preset and settings of everything that is compared at one size."""
    longer = {"epochs": epochs, "patience": 0, "invariance_kinds": kinds}
    for weight in weights:
        yield f"paper, lambda {weight:g}", "paper", {"invariance": weight, **longer}
    yield "paper, canonical", "paper-canonical", {"epochs": epochs, "patience": 0, "invariance_kinds": kinds}
    yield "default", "default", {}
    yield "default, canonical", "default-canonical", {"invariance_kinds": kinds}
    if is_augmented:
        yield "paper, augmented", "paper", {"augment": True, **longer}
        yield "default, augmented", "default", {"augment": True, "invariance_kinds": kinds}
        for weight in weights:
            if weight:
                both = {"invariance": weight, "augment": True, "invariance_kinds": kinds}
                yield f"paper, lambda {weight:g}, augmented", "paper", {**longer, **both}
                yield f"default, lambda {weight:g}, augmented", "default", both


def train(zoo: Zoo, split: Split, preset: str, changes: dict[str, Any], out: Path) -> Predictor:
    if not is_finished(out):
        settings = preset_settings(preset, **{"experts": ("neural",), **changes})  # only encoders are measured here
        fit(zoo, [TARGET], split=split, encoder=preset, settings=settings, start=None, out=out, resume=True)
    return Predictor.load(out)


def changed_weights(zoo: Zoo, rows: np.ndarray, what: str) -> Zoo:
    """Returns the zoo with changed networks: entries shuffled inside chunks, or rows of each matrix permuted."""
    generator = torch.Generator().manual_seed(0)
    vectors = {}
    for row in rows.tolist():
        vector = zoo.weights(row).clone()
        for slot in zoo.layout(row).slots:
            if len(slot.shape) < 2:
                continue
            matrix = vector[slot.offset : slot.offset + slot.num_entries].view(slot.shape[0], -1)
            if what == "rows":
                matrix[:] = matrix[torch.randperm(len(matrix), generator=generator)]
                continue
            size = CHUNK if len(slot.shape) == 2 else matrix.shape[1] // slot.shape[1]  # each kernel is a chunk
            for start in range(0, matrix.shape[1], size):
                piece = matrix[:, start : start + size]
                order = torch.rand(piece.shape, generator=generator).argsort(1)
                matrix[:, start : start + size] = piece.gather(1, order)
        vectors[row] = vector
    return zoo.with_weights(vectors)


def outputs_moved(zoo: Zoo, other: Zoo, rows: np.ndarray) -> float:
    """Returns the share of random images to which networks of the two zoos assign different classes."""
    images = torch.randn(64, *SHAPE, generator=torch.Generator().manual_seed(0))
    shares = []
    for row in rows.tolist():
        family = FAMILIES[zoo.families[row]]
        drawn = {name.removeprefix("config."): zoo.column(name)[row] for name in zoo.hyperparameter_names}
        numbers = {n: v for n, v in drawn.items() if isinstance(v, float) and not np.isnan(v)}
        drawn.update({n: int(v) if v == round(v) else v for n, v in numbers.items()})
        module = family.module(drawn, SHAPE, 10).eval()
        answers = []
        for version in (zoo, other):
            layout, vector = version.layout(row), version.weights(row)
            state = {s.name: vector[s.offset : s.offset + s.num_entries].view(s.shape) for s in layout.slots}
            module.load_state_dict(state, strict=False)
            with torch.no_grad():
                answers.append(module(images).argmax(1))
        shares.append((answers[0] != answers[1]).float().mean().item())
    return float(np.mean(shares))


def over_invariance(zoo: Zoo, other: Zoo, rows: np.ndarray, predictor: Predictor) -> float:
    """Returns how far embeddings move when networks change, relative to the mean distance from their centre."""
    embeddings, moved = predictor.encode(zoo.networks(rows)), predictor.encode(other.networks(rows))
    apart = np.linalg.norm(embeddings - embeddings.mean(0), axis=1).mean()
    return float(np.linalg.norm(moved - embeddings, axis=1).mean() / apart)


def summary(rows: list[dict[str, Any]], names: list[str], sizes: list[int], key: str, form: str) -> str:
    lines = ["| | " + " | ".join(f"{size} networks" for size in sizes) + " |", "|" + "---|" * (1 + len(sizes))]
    for name in names:
        cells = []
        for size in sizes:
            found = [row.get(key) for row in rows if row["name"] == name and row["size"] == size]
            values = [value for value in found if value is not None]
            spread = f" ± {format(np.std(values, ddof=1), form)}" if len(values) > 1 else ""
            cells.append(f"{format(np.mean(values), form)}{spread}" if values else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(zoo: Zoo, test: np.ndarray, predictor: Predictor, kinds: tuple[str, ...], is_largest: bool) -> dict:
    """Measures ranking and invariance on the test networks; at the largest size also permutations and sensitivity."""
    found = evaluate_rows(predictor, zoo, test, invariance_kinds=kinds, invariance_draws=DRAWS)[0].figures()["sne"]
    row = {name: found[name] for name in ("kendall_tau", "tau_ceiling", "invariance_error", "value_change")}
    if is_largest:
        alone = evaluate_rows(predictor, zoo, test, invariance_draws=1)[0].figures()["sne"]
        row["permutation_error"] = alone["invariance_error"]
        some = test[:: max(len(test) // 100, 1)]
        for what in CHANGES:
            row[what] = over_invariance(zoo, changed_weights(zoo, some, what), some, predictor)
    return row


def against_plain(rows: list[dict[str, Any]], names: list[str], sizes: list[int]) -> str:
    """By which factor each method's error is below that of its encoder without it, and what that does to tau."""
    lines = ["| | " + " | ".join(f"{size} networks" for size in sizes) + " |", "|" + "---|" * (1 + len(sizes))]
    found = {(row["name"], row["size"], row["seed"]): row for row in rows}
    for name in names:
        plain = "default" if name.startswith("default") else "paper, lambda 0"
        cells = []
        for size in sizes:
            pairs = [
                (found[plain, size, seed], row)
                for (other, count, seed), row in found.items()
                if other == name and count == size and (plain, size, seed) in found
            ]
            if not pairs or name == plain:
                cells.append("-")
                continue
            least = 1e-12  # below it, rounding alone is left
            ratios = [np.log(old["invariance_error"] / max(new["invariance_error"], least)) for old, new in pairs]
            tau = np.mean([new["kendall_tau"] - old["kendall_tau"] for old, new in pairs])
            factor = float(np.exp(np.mean(ratios)))
            cells.append(f"{f'{factor:.1f}' if factor < 1000 else f'{factor:.0e}'} x, {tau:+.3f}")
        if set(cells) != {"-"}:
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def section(name: str, report: dict[str, Any]) -> str:
    """The tables of one zoo."""
    rows = report["rows"]
    names, sizes = list(dict.fromkeys(row["name"] for row in rows)), sorted({row["size"] for row in rows})
    names.sort(key=lambda text: (text.startswith("default"), "augmented" in text))
    kinds = ", ".join(report["kinds"])
    tables = [
        ("Kendall tau on the test runs", summary(rows, names, sizes, "kendall_tau", ".3f")),
        (
            f"Invariance error E_g[1/2 (f(W) - f(gW))^2] of the logit ({kinds})",
            summary(rows, names, sizes, "invariance_error", ".2e"),
        ),
        (
            "Against the same encoder without it: the error falls by (geometric mean over seeds), tau changes by",
            against_plain(rows, names, sizes),
        ),
        (
            "Kendall tau of the canonical ones where files do not tell what may be scaled or flipped",
            summary(rows, [name for name in names if "canonical" in name], sizes, "tau_as_stored", ".3f"),
        ),
        ("The error for permutations alone", summary(rows, names, sizes[-1:], "permutation_error", ".2e")),
        (
            "Mean absolute change of the predicted accuracy",
            summary(rows, names, sizes, "value_change", ".4f"),
        ),
    ]
    seeds = len({row["seed"] for row in rows})
    text = f"## {name}\n\n{report['networks']} networks of {', '.join(report['families'])}"
    text += f", none above {report['weights at most']:,} weights" if report.get("weights at most") else ""
    text += f"; {report['test']} of them test. {seeds} seeds, mean ± standard deviation.\n"
    for title, table in tables:
        text += f"\n### {title}\n\n{table}\n"
    text += "\n### Over-invariance\n\nMovement of the embedding, as a share of how far embeddings lie apart, when a "
    text += "network becomes another function; 0 is blind.\n"
    for what, title in CHANGES.items():
        moved = f"{report['outputs moved'][what]:.0%} of random images get another class"
        text += f"\n{title}: {moved}\n\n{summary(rows, names, sizes[-1:], what, '.5f')}\n"
    return text


class AsStored:
    """The tensors of a row of a zoo as in a file, without information on activation functions."""

    def __init__(self, source: TensorSource) -> None:
        self.name, self.infos, self.load = source.name, source.infos, source.load


def tau_as_stored(zoo: Zoo, test: np.ndarray, predictor: Predictor) -> float:
    """Measures the ranking of the test networks if symmetries follow from names and shapes only."""
    networks = [replace(network, source=AsStored(network.source)) for network in zoo.networks(test)]
    values = np.asarray(predictor.values(networks)[TARGET], dtype=np.float64)
    return kendall_tau(zoo.column(TARGET)[test], values)


def write(name: str, head: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Writes the figures of one zoo so far as JSON, and the tables of all zoos."""
    (RESULTS / f"learned_invariance_{name}.json").write_text(json.dumps({**head, "rows": rows}, indent=1) + "\n")
    text = "# Invariance: learned, built in, and absent\n\n"
    text += (
        "`paper` and `default` without changes, with the logit-invariance term (lambda), with augmentation, and with "
    )
    text += "networks in canonical form under scalings and sign flips (docs/symmetry.md).\n"
    for path in sorted(RESULTS.glob("learned_invariance_*.json"), reverse=True):
        text += "\n" + section(path.stem.removeprefix("learned_invariance_"), json.loads(path.read_text()))
    (RESULTS / "symmetry.md").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path, help="folder of the zoo")
    parser.add_argument("--name", required=True, help="name of the zoo in results")
    parser.add_argument("--work", type=Path, required=True, help="folder in which predictors are kept")
    parser.add_argument(
        "--sizes",
        default="50,100,200,400,800",
        help="numbers of training checkpoints, separated by commas (default %(default)s)",
    )
    parser.add_argument(
        "--epochs", default="60,40,25,15,10", help="epochs of paper for each size (default %(default)s)"
    )
    parser.add_argument("--seeds", default="0,1,2", help="training seeds, separated by commas (default %(default)s)")
    parser.add_argument(
        "--weights", default="0,3", help="weights of the invariance term, separated by commas (default %(default)s)"
    )
    parser.add_argument(
        "--kinds",
        default="permutation,scaling,sign",
        help="kinds of transformations, separated by commas (default %(default)s)",
    )
    parser.add_argument(
        "--augmented",
        default="200",
        help="sizes at which augmentation is also tried, with and without the term (default 200)",
    )
    parser.add_argument(
        "--largest", type=int, help="maximum number of weights; larger networks are left out to save time"
    )
    options = parser.parse_args()
    zoo = Zoo.open(options.zoo)
    split = split_by_run(zoo.runs, val=0.1, test=0.2, seed=0, families=zoo.families)
    if options.largest:
        split = without_large(zoo, split, options.largest)
    test = split.rows(zoo.runs, "test")
    sizes, seeds, epochs = ([int(n) for n in t.split(",")] for t in (options.sizes, options.seeds, options.epochs))
    weights, kinds = [float(weight) for weight in options.weights.split(",")], tuple(options.kinds.split(","))
    some = test[:: max(len(test) // 100, 1)]
    head = {
        "networks": sum(len(split.rows(zoo.runs, part)) for part in ("train", "val", "test")),
        "weights at most": options.largest,
        "families": sorted(set(zoo.families)),
        "test": len(test),
        "draws": DRAWS,
        "kinds": kinds,
        "epochs of paper": dict(zip(sizes, epochs, strict=True)),
        "outputs moved": {what: outputs_moved(zoo, changed_weights(zoo, some, what), some) for what in CHANGES},
    }
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        for size, passes in zip(sizes, epochs, strict=True):
            for name, preset, changes in variants(weights, kinds, passes, str(size) in options.augmented.split(",")):
                out = options.work / f"{options.name}-{name.replace(', ', '-').replace(' ', '-')}-{size}-{seed}"
                part = part_of(zoo, split, size, seed)
                predictor = train(zoo, part, preset, {**changes, "seed": seed}, out)
                kept = out / "measured.json"
                if not kept.is_file():
                    kept.write_text(json.dumps(measure(zoo, test, predictor, kinds, size == sizes[-1])))
                measured, stored = json.loads(kept.read_text()), out / "as_stored.json"
                if predictor.is_canonical:
                    if not stored.is_file():
                        stored.write_text(json.dumps({"tau_as_stored": tau_as_stored(zoo, test, predictor)}))
                    measured |= json.loads(stored.read_text())
                about = {"name": name, "size": size, "seed": seed, "trained on": len(part.rows(zoo.runs, "train"))}
                rows.append({**about, "seconds": predictor.record["seconds"], **measured})
                print(json.dumps(rows[-1]), flush=True)
                write(options.name, head, rows)


if __name__ == "__main__":
    main()
