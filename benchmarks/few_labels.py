"""Measures what few labels are worth to a predictor that starts from another one, which saw nothing of the kind.

    python benchmarks/few_labels.py LABELLED ZOO... --family small_cnn --images fashion_mnist --work WORK [--draws 10]

LABELLED is a zoo, or the published layout of the Small CNN Zoo, with a split by runs. The start is trained on the ZOOs
without the networks of the family and without those of the image set. Labels are drawn from training and validation
runs of LABELLED, whole runs at a time; all methods learn from the same networks and are judged on the test runs. An
interrupted run continues. Writes few_labels.json and .md in benchmarks/results, or in --results.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sne import Predictor, Zoo
from sne.baselines import HyperparameterBaseline, StatisticsBaseline
from sne.baselines.statistics import per_tensor
from sne.encoders import TensorSetEncoder
from sne.metrics import kendall_tau
from sne.predictors import EXPERTS, Property, TrainingSettings
from sne.predictors.experts import Examples, FitContext, Fold, ForestExpert, Prepared, Start
from sne.predictors.experts.state import StateStore
from sne.training.plan import cut_folds
from sne.training.weighing import lean, weigh
from sne.zoo import Split, import_zoo

TARGET = "test_accuracy"
BLOCK = 64
TREES = 30
"""Number of trees as in a predictor of at most 10 MB; twice as many learn from all networks."""
FOLDS = 5
LEAST_IN_A_LEAF = 3
KINDS = ["forest", "kernel", "adapted"]
"""What `sne train` trains with a start and up to 300 networks."""


def described(zoo: Zoo, rows: np.ndarray) -> torch.Tensor:
    """Describes networks of a zoo."""
    encoder, found = TensorSetEncoder(), []
    for first in range(0, len(rows), BLOCK):
        found.append(encoder.summarize(encoder.prepare(zoo.networks(rows[first : first + BLOCK]))))
    return torch.cat(found)


def examples_of(description: torch.Tensor, labels: np.ndarray) -> Examples:
    """Makes examples without items, which no expert here reads."""
    targets = torch.tensor(labels[:, None], dtype=torch.float32)
    return Examples(Prepared([None] * len(labels), description), targets, list(range(len(labels))))


def context(seed: int, start: Start | None = None) -> FitContext:
    """The context of one fit."""
    return FitContext(name="few", seed=(seed,), device=torch.device("cpu"), store=StateStore(None, {}), start=start)


def trained_start(folders: list[Path], family: str, images: str, work: Path) -> tuple[Predictor, dict]:
    """Trains the start, or loads it: the forest as `sne.fit` grows it from all networks, without folds."""
    folder, note = work / "start", work / "start.json"
    if note.exists():
        return Predictor.load(folder), json.loads(note.read_text())
    parts, labels, counts = [], [], {}
    for path in folders:
        zoo = Zoo.open(path)
        is_inside = (np.array(zoo.families) != family) & (zoo.column("dataset") != images)
        rows = np.flatnonzero(is_inside & ~np.isnan(zoo.column(TARGET)))
        if len(rows):
            parts.append(described(zoo, rows))
            labels.append(zoo.column(TARGET)[rows])
            counts[path.name] = len(rows)
            print(path.name, len(rows), flush=True)
    values = np.concatenate(labels)
    prop = Property.infer(TARGET, values)
    forest = ForestExpert.create(TensorSetEncoder, [prop], TrainingSettings(trees=TREES))
    forest.fit(examples_of(torch.cat(parts), values), Fold(np.arange(len(values)), np.arange(0)), context(0))
    Predictor(TensorSetEncoder(), [prop], [forest], np.ones((1, 1))).save(folder)
    note.write_text(json.dumps({"networks": counts, "family": family, "images": images}))
    return Predictor.load(folder), json.loads(note.read_text())


def draw(zoo: Zoo, count: int, seed: int) -> np.ndarray:
    """Draws rows of whole training and validation runs; of the last run only as many as are needed."""
    pool = np.concatenate([zoo.split.rows(zoo.runs, piece) for piece in ("train", "val")])
    runs = sorted({zoo.runs[row] for row in pool})
    drawn = []
    for run in np.random.default_rng(seed).permutation(runs):
        drawn += [row for row in np.sort(pool) if zoo.runs[row] == run]
        if len(drawn) >= count:
            break
    return np.sort(drawn[:count])


@dataclass(frozen=True)
class Trained:
    """Predictions of one kind of expert: out of fold for the labelled networks, and for the test networks."""

    out_of_fold: np.ndarray
    final: np.ndarray


def trained(examples: Examples, zoo: Zoo, rows: np.ndarray, test: np.ndarray, start: Start, seed: int):
    """Trains experts as `sne.fit` does: once per fold, and once on all labelled networks.

    Returns:
        By kind; the property; the labels in the order of the predictions out of fold.
    """
    labels = examples.targets[rows, 0].double().numpy()
    prop = Property.infer(TARGET, labels)
    runs = [zoo.runs[row] for row in rows]
    split = Split(train=sorted(set(runs)), val=[], test=[])
    folds = cut_folds(runs, [zoo.families[row] for row in rows], split, folds=FOLDS, seed=seed)
    own, judged = examples.take(rows), examples.take(test).prepared
    found = {}
    for kind in KINDS:
        learned = []
        for number, fold in enumerate([*folds, Fold(np.arange(len(rows)), np.arange(0))]):
            expert = EXPERTS[kind].create(TensorSetEncoder, [prop], TrainingSettings())
            expert.fit(own, fold, context(seed * 100 + number, start))
            learned.append(expert)
        pairs = zip(learned, folds, strict=False)
        held_out = [e.predict(own.take(f.held_out).prepared).values.double().numpy() for e, f in pairs]
        found[kind] = Trained(np.concatenate(held_out), learned[-1].predict(judged).values[:, 0].double().numpy())
    return found, prop, labels[np.concatenate([fold.held_out for fold in folds])]


def weighted(found: dict[str, Trained], prop: Property, labels: np.ndarray, kinds: list[str]) -> tuple:
    """Returns the weighted mean of some kinds of experts for the test networks, and the weights."""
    weights = weigh([prop], labels[:, None], [found[kind].out_of_fold for kind in kinds])
    weights = lean(kinds, weights, labels[:, None]) if "adapted" in kinds else weights
    mean = sum(weight * found[kind].final for kind, weight in zip(kinds, weights[:, 0], strict=True))
    return mean, dict(zip(kinds, weights[:, 0].tolist(), strict=True))


def baselines(zoo: Zoo, rows: np.ndarray, test: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Boosts trees with leaves that suit few labels; scikit-learn's default of 20 would not split 25 networks."""
    by_parameters, by_weights = HyperparameterBaseline(), StatisticsBaseline(model="boosting")
    for model in (by_parameters, by_weights):
        model.fit(zoo, rows, labels[rows], target=TARGET, kind="fraction", seed=seed)
        model.model.set_params(min_samples_leaf=LEAST_IN_A_LEAF)
    by_parameters.model.fit(by_parameters._features(zoo, rows)[:, by_parameters.used], labels[rows])
    by_weights.model.fit(per_tensor(zoo.networks(rows), by_weights.width), labels[rows])
    return {
        "hyper-parameters": by_parameters.predict(zoo, test),
        "boosting on statistics": by_weights.predict(zoo, test),
    }


def point(zoo: Zoo, examples: Examples, start: Start, count: int, seed: int) -> dict:
    """Measures every method on one draw of labels."""
    rows, test = draw(zoo, count, seed), zoo.split.rows(zoo.runs, "test")
    labels = zoo.column(TARGET)
    values = baselines(zoo, rows, test, labels, seed)
    found, prop, out_of_fold_labels = trained(examples, zoo, rows, test, start, seed)
    values["forest, from nothing"] = found["forest"].final
    values["forest and kernel, from nothing"], _ = weighted(found, prop, out_of_fold_labels, ["forest", "kernel"])
    ranks = start.forests[TARGET].leaf_outputs(examples.prepared.description[test])
    values["start alone"] = ranks.mean(1)[:, 0].numpy()
    values["adapted alone"] = found["adapted"].final
    values["sne train"], weights = weighted(found, prop, out_of_fold_labels, KINDS)
    taus = {name: kendall_tau(labels[test], own) for name, own in values.items()}
    error = float(np.abs(labels[test] - values["sne train"]).mean())
    return {"labels": count, "draw": seed, "tau": taus, "mae": error, "weights": weights}


def summary(points: list[dict]) -> Iterator[str]:
    """Yields the lines of the table: mean tau over draws, and how far `sne train` is ahead."""
    counts = sorted({one["labels"] for one in points})
    yield "| method | " + " | ".join(f"{count} labels" for count in counts) + " |"
    yield "|---" * (1 + len(counts)) + "|"
    for name in points[0]["tau"]:
        cells = []
        for count in counts:
            some = [one["tau"] for one in points if one["labels"] == count]
            own, ours = (np.array([one[key] for one in some]) for key in (name, "sne train"))
            cell = f"{own.mean():.3f}"
            if name != "sne train" and len(some) > 1:
                ahead = ours - own
                cell += f" ({ahead.mean():+.3f} ± {2 * ahead.std(ddof=1) / len(some) ** 0.5:.3f})"
            cells.append(cell)
        yield f"| {name} | " + " | ".join(cells) + " |"


def write(points: list[dict], note: dict, labelled: str, results: Path) -> None:
    """Writes both result files."""
    draws = len({one["draw"] for one in points})
    networks = ",\n".join(f"{name} {count}" for name, count in note["networks"].items())
    text = f"""# Few labels

Kendall's tau on the test runs of `{labelled}`, by number of labelled checkpoints: mean of {draws} draws of whole runs.
In brackets: how far `sne train` is ahead of the method on the same draws, mean ± two standard errors over draws. The
start is a forest of {2 * TREES} trees on {sum(note["networks"].values())} networks, which are of other families than
{note["family"]} and other image sets than {note["images"]}: {networks}. All methods learn from the same networks.

{chr(10).join(summary(points))}

Made by `python benchmarks/few_labels.py LABELLED ZOO... --family {note["family"]} --images {note["images"]}
--work WORK`; `few_labels.json` contains every draw, with the weights of the experts.
"""
    (results / "few_labels.json").write_text(json.dumps({"start": note, "points": points}, indent=1))
    (results / "few_labels.md").write_text(text)
    print(text)


def opened(folder: Path, images: str, work: Path) -> Zoo:
    """Opens a zoo, after importing it where it is in the published layout."""
    if not (folder / "metrics.csv.gz").exists():
        return Zoo.open(folder)
    if not (work / "labelled").exists():
        import_zoo("small-cnn-zoo", folder, work / "labelled", dataset=images)
    return Zoo.open(work / "labelled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelled", type=Path, help="zoo that labels are drawn from, with a split")
    parser.add_argument("zoos", type=Path, nargs="+", help="zoos that the start is trained on")
    parser.add_argument("--family", required=True, help="family that the start does not see")
    parser.add_argument("--images", required=True, help="image set that the start does not see")
    parser.add_argument("--work", type=Path, required=True, help="folder for the start and for finished draws")
    parser.add_argument("--draws", type=int, default=10, help="number of draws per number of labels")
    parser.add_argument("--labels", default="25,50,100,200", help="numbers of labels, separated by commas")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    predictor, note = trained_start(options.zoos, options.family, options.images, options.work)
    start = Start.of(predictor.properties, predictor.experts, "benchmark")
    zoo = opened(options.labelled, options.images, options.work)
    examples = examples_of(described(zoo, np.arange(len(zoo))), zoo.column(TARGET))
    path = options.work / "points.json"
    points = json.loads(path.read_text()) if path.exists() else []
    done = {(one["labels"], one["draw"]) for one in points}
    for seed in range(options.draws):
        for count in map(int, filter(None, options.labels.split(","))):
            if (count, seed) not in done:
                points.append(point(zoo, examples, start, count, seed))
                path.write_text(json.dumps(points))
                print(points[-1], flush=True)
    if points:
        write(points, note, options.labelled.name, options.results)


if __name__ == "__main__":
    main()
