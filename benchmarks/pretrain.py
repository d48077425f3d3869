"""Trains the packaged predictor, and measures what it would be worth without one image set.

    python benchmarks/pretrain.py ZOOS --work WORK [--left-out fashion_mnist] [--out sne/pretrained/default]
        [--domain-only]

ZOOS is the folder that benchmarks/pretraining_zoos.py fills; every finished zoo in it takes part. WORK keeps the joined
zoo and both predictors; an interrupted run continues. First a predictor is trained without the left-out image set and
without a tenth of the other runs, and judged on these. Then one is trained on everything, and written to OUT in half
precision with its model card. With --domain-only, both are taken from WORK as they are, and only their known domain is
learned again. Writes benchmarks/results/pretrained.json and .md.
"""

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from known_domain import HEAD, copies_by_accuracy, flagged, line, strangers

from sne import Predictor, Split, Zoo, fit
from sne.metrics import kendall_tau, mae
from sne.predictors import TrainingSettings
from sne.predictors.folder import DOMAIN, PredictorFiles
from sne.training import preset_settings
from sne.training.known_domain import relearn_domain
from sne.training.plan import make_plan
from sne.zoo import merge, split_by_run

TARGETS = (
    "test_accuracy",
    "generalization_gap",
    "progress",
    "dataset",
    "config.optimizer",
    "config.activation",
    "config.learning_rate",
)
MOST_BYTES = 10_000_000
"""Size of the packaged predictor at most."""

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def settings() -> TrainingSettings:
    """Returns how the predictor is trained.

    Three members and trees with large leaves keep it below 10 MB; on image sets that are left out, large leaves are a
    little better, too, and a tenth of the features per split is as good as three tenths.
    """
    return preset_settings(
        "default", experts=("neural", "forest"), folds=3, epochs=30, trees=35, least_in_leaf=16, share_of_features=0.1
    )


def main() -> None:
    """Joins the zoos, trains both predictors, and writes figures and model card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoos", type=Path, help="folder of the zoos")
    parser.add_argument("--work", type=Path, required=True, help="folder in which zoo and predictors are kept")
    parser.add_argument("--left-out", default="fashion_mnist", help="image set that the first predictor never sees")
    parser.add_argument("--domain-only", action="store_true", help="learn only the known domain of both again")
    parser.add_argument("--out", type=Path, default=ROOT / "sne" / "pretrained" / "default", help="folder to ship")
    options = parser.parse_args()
    zoo = with_progress(joined(options.zoos, options.work / "zoo"))
    print(zoo, flush=True)

    trial = options.work / f"without-{options.left_out}"
    split = without(zoo, options.left_out)
    judged = trained(zoo, split, trial, domain_only=options.domain_only)
    figures = {"left_out": options.left_out, **judge(judged, zoo, split, options.left_out)}
    figures["strangers"] = judge_strangers(judged, zoo, split, options.left_out)

    whole = options.work / "whole"
    everything = split_by_run(zoo.runs, val=0.1, test=0, families=zoo.families, groups=zoo.groups)
    predictor = trained(zoo, everything, whole, domain_only=options.domain_only)
    figures |= {"trained_on": counts(zoo), "out_of_fold": predictor.metrics["validation"]}
    predictor.record["zoo"] = zoo.path.name  # without the folders of this machine
    predictor.save(options.out, half=True)
    (options.out / "split.json").unlink()  # names every run of the zoo, and no run is held out
    size = sum(path.stat().st_size for path in options.out.iterdir())
    if size > MOST_BYTES:
        raise SystemExit(f"{options.out} has {size:,} bytes, expected at most {MOST_BYTES:,}")
    figures["bytes"] = size
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pretrained.json").write_text(json.dumps(figures, indent=1) + "\n")
    (RESULTS / "pretrained.md").write_text(tables(figures))
    (options.out / "README.md").write_text(card(figures))
    print(tables(figures))


def trained(zoo: Zoo, split: Split, out: Path, *, domain_only: bool) -> Predictor:
    """Trains a predictor, or continues; with `domain_only`, learns the domain of a finished one again."""
    if not domain_only:
        return fit(zoo, TARGETS, split=split, settings=settings(), out=out, resume=out.is_dir())
    files = PredictorFiles.read(out)  # whatever its domain is
    replace(files, tensors={k: t for k, t in files.tensors.items() if not k.startswith(f"{DOMAIN}.")}).write(out)
    predictor = Predictor.load(out)
    if predictor.split != split:
        raise SystemExit(f"{out}: trained on other runs")
    plan = make_plan(zoo, TARGETS, split=split, encoder="default", settings=settings())
    predictor.domain = relearn_domain(plan, predictor.encoder)
    predictor.save(out)
    return Predictor.load(out)


def joined(zoos: Path, out: Path) -> Zoo:
    """Joins all finished zoos of a folder; an earlier result is used again if it has the same zoos."""
    found = sorted(path.parent for path in zoos.glob("*/networks.parquet"))
    names, stamp = [path.name for path in found], out.with_suffix(".json")
    if not (out.is_dir() and stamp.is_file() and json.loads(stamp.read_text()) == names):
        if out.is_dir() and stamp.is_file():
            raise SystemExit(f"{out} was joined from other zoos: remove it and the predictors beside it")
        shutil.rmtree(out, ignore_errors=True)  # of an interrupted run
        merge(out, found, prefix=True)
        stamp.write_text(json.dumps(names))
    return Zoo.open(out)


def with_progress(zoo: Zoo) -> Zoo:
    """Adds a column: the share of the accuracy at the end of the run that a network has reached, at most 1."""
    accuracy, steps, runs = zoo.column("test_accuracy"), zoo.column("step"), np.array(zoo.runs)
    last: dict[str, tuple[float, float]] = {}
    for run, step, value in zip(runs, steps, accuracy, strict=True):
        last[run] = max(last.get(run, (-1.0, 0.0)), (step, value))
    final = np.array([last[run][1] for run in runs])
    share = np.clip(accuracy / np.maximum(final, 1e-9), 0, 1)
    return Zoo(zoo.path, zoo.table.append_column("progress", pa.array(share)), zoo.layouts, None, zoo.symmetries)


def without(zoo: Zoo, images: str) -> Split:
    """Returns a split whose test runs are those of an image set and a tenth of the others, family by family."""
    runs, is_left_out = np.array(zoo.runs), np.array([name == images for name in zoo.column("dataset")])
    strata = [f"{family} {data}" for family, data in zip(zoo.families, zoo.column("dataset"), strict=True)]
    kept = np.flatnonzero(~is_left_out)
    cut = split_by_run(
        runs[kept].tolist(), val=0.1, test=0.1, families=[strata[row] for row in kept],
        groups=[zoo.groups[row] for row in kept],
    )  # fmt: skip
    return Split(cut.train, cut.val, tuple(sorted({*cut.test, *runs[is_left_out].tolist()})))


def judge(predictor: Predictor, zoo: Zoo, split: Split, left_out: str) -> dict[str, Any]:
    """Measures a predictor on the runs of the left-out image set and on those held out of the others."""
    rows = split.rows(zoo.runs, "test")
    predictions = predictor.predict(zoo.networks(rows))
    count = len(predictor.properties)
    found = [predictions[start : start + count] for start in range(0, len(predictions), count)]
    is_left_out = np.array([name == left_out for name in zoo.column("dataset")[rows]])
    families = np.array(zoo.families)[rows]
    result: dict[str, Any] = {}
    for piece, places in (("known", np.flatnonzero(~is_left_out)), ("unseen", np.flatnonzero(is_left_out))):
        groups = {"all": places, **{name: places[families[places] == name] for name in sorted(set(families[places]))}}
        result[piece] = {
            name: figures_of(zoo, rows[some], [found[place] for place in some]) for name, some in groups.items()
        }
    return result


def judge_strangers(predictor: Predictor, zoo: Zoo, split: Split, left_out: str) -> dict[str, dict[str, Any]]:
    """Measures how many networks are outside the known domain: held-out ones, shuffled copies, other tasks."""
    rows = split.rows(zoo.runs, "test")
    rows = rows[[name != left_out for name in zoo.column("dataset")[rows]]]
    networks, accuracy = zoo.networks(rows), zoo.column(TARGETS[0])[rows]
    found = {"held-out runs of known families": flagged(predictor, networks, accuracy)}
    for name, copies in copies_by_accuracy(networks, accuracy).items():
        found[name] = flagged(predictor, copies, at_chance=True)
    return {**found, **{name: flagged(predictor, some) for name, some in strangers().items()}}


def figures_of(zoo: Zoo, rows: np.ndarray, found: list[list[Any]]) -> dict[str, Any]:
    """Returns the figures of all properties for some networks."""
    result: dict[str, Any] = {"n": len(rows), "runs": len({zoo.runs[row] for row in rows})}
    result["outside"] = float(np.mean([predictions[0].in_domain is False for predictions in found]))
    for place, name in enumerate(TARGETS):
        labels, own = zoo.column(name)[rows], [predictions[place] for predictions in found]
        if own[0].probabilities is not None:
            is_known = [label in own[0].probabilities for label in labels]
            hits = [p.value == label for p, label, known in zip(own, labels, is_known, strict=True) if known]
            result[name] = {"accuracy": float(np.mean(hits)) if hits else None, "n": len(hits)}
            continue
        values, known = np.array([p.value for p in own], dtype=float), ~np.isnan(labels.astype(float))
        labels, values = labels[known].astype(float), values[known]
        if len(labels) < 2:
            continue
        inside = [
            p.low is None or p.low <= label <= p.high
            for p, label in zip(np.array(own, dtype=object)[known], labels, strict=True)
        ]
        result[name] = {"tau": kendall_tau(labels, values), "mae": mae(labels, values), "coverage": np.mean(inside)}
    return result


def counts(zoo: Zoo) -> dict[str, Any]:
    """Counts networks and runs, by image set and family."""
    families, data = np.array(zoo.families), np.array(zoo.column("dataset"))
    table = {
        str(name): {str(family): int(((data == name) & (families == family)).sum()) for family in sorted(set(families))}
        for name in sorted(set(data))
    }
    return {"networks": len(zoo), "runs": len(set(zoo.runs)), "by_image_set": table}


def tables(figures: Mapping[str, Any]) -> str:
    """Returns the figures as Markdown tables."""
    trained = figures["trained_on"]
    families = list(next(iter(trained["by_image_set"].values())))
    lines = [
        f"`python benchmarks/pretrain.py ZOOS --work WORK --left-out {figures['left_out']}`: "
        f"{trained['networks']:,} networks of {trained['runs']:,} runs, {figures['bytes'] / 1e6:.1f} MB.",
        "",
        "Networks that it was trained on:",
        "",
        "| image set | " + " | ".join(families) + " |",
        "|---|" + "---|" * len(families),
    ]
    for name, row in trained["by_image_set"].items():
        lines.append(f"| {name} | " + " | ".join(str(row[family]) for family in families) + " |")
    titles = {
        "unseen": f"Trained without {figures['left_out']}, judged on all networks of {figures['left_out']}",
        "known": "Trained without a tenth of the runs of the other image sets, judged on these",
    }
    for piece, title in titles.items():
        lines += ["", f"{title}:", "", *_rows(figures[piece])]
    lines += ["", "Networks of other kinds, by the same predictor:", ""]
    lines += [*HEAD, *(line(name, row) for name, row in figures["strangers"].items())]
    return "\n".join(lines) + "\n"


def _rows(groups: Mapping[str, Any]) -> list[str]:
    numbers = [name for name in TARGETS if "tau" in groups["all"].get(name, {})]
    classes = [name for name in TARGETS if "accuracy" in groups["all"].get(name, {})]
    heads = [
        "family", "networks", "runs", "outside the known domain",
        *(f"{name.removeprefix('config.')} {what}" for name in numbers for what in ("tau", "MAE", "coverage")),
        *(f"{name.removeprefix('config.')} accuracy" for name in classes),
    ]  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---|" * (len(heads) - 1)]
    for family, row in groups.items():
        cells = [family, str(row["n"]), str(row["runs"]), f"{row['outside']:.1%}"]
        cells += [_cell(row.get(name, {}).get(what)) for name in numbers for what in ("tau", "mae", "coverage")]
        cells += [_cell(row.get(name, {}).get("accuracy")) for name in classes]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.3f}"


def card(figures: Mapping[str, Any]) -> str:
    """Returns the model card of the packaged predictor."""
    trained = figures["trained_on"]
    return CARD.format(
        tables=tables(figures),
        networks=f"{trained['networks']:,}",
        runs=f"{trained['runs']:,}",
        image_sets=len(trained["by_image_set"]),
    )


CARD = """# The packaged predictor

`sne predict FILE...` and `sne.Predictor.from_pretrained()` use it. It was trained on {networks} networks of {runs} runs
of image classifiers, and predicts from the weights alone:

- `test_accuracy`: share of test images that are classified correctly;
- `generalization_gap`: training accuracy less test accuracy;
- `progress`: share of the test accuracy at the end of its training run that a network has reached;
- `dataset`: the image set that it was trained on, one of the {image_sets} below;
- `config.optimizer`, `config.activation`, `config.learning_rate`: how it was trained.

## What it is for

Ranking checkpoints of small image classifiers by quality, and guessing how they were trained, where nothing else is
known; as a start for `sne train` where there are few labels. Networks that are unlike those it was trained on are
marked "outside the known domain": language models, audio models, agents, other architectures, other sizes, and many
networks with random weights.

## What it does not know

- Image sets other than these. A network of another image set is often not recognised as such: `dataset` names the
  most similar one, its accuracy is ranked about as well as in the first table below, and its interval holds less often.
- Random weights with the sizes of a network that it knows look like the start of a training run, of which it was
  trained on many. Where they are not marked as outside, most are predicted to be near chance, but not all: the last
  table says how many are not.
- Networks with more than about a million weights, and networks trained much further than those of the table.
- The accuracy refers to the test images of the image set. The data are not read.

## Figures

{tables}
Made by `benchmarks/pretraining_zoos.py` and `benchmarks/pretrain.py`.
"""


if __name__ == "__main__":
    main()
