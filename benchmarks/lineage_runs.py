"""Measures whether `sne lineage` puts the checkpoints of one training run in the order in which they were saved.

    python benchmarks/lineage_runs.py --images IMAGES --work WORK --trees ZOO...

IMAGES is a folder with mnist.npz and fashion_mnist.npz. WORK keeps the zoos, which are made if they are missing: runs
of six families, with hyper-parameters drawn from their spaces, so that optimisers and learning rates differ.
Constants of the forest were chosen on the families of `CHOSEN` and are confirmed on the others, which learn other
images. Of each run, several lists of checkpoints are taken, as people keep them. The networks of a list come in random
order. ZOO are zoos of trees of descent, such as those of `benchmarks/direction.py` and of `sne study lineage`: what is
better for runs should not be worse for descendants. The pairs of checkpoints are counted that `sne compare` does not
take for parent and child. Writes benchmarks/results/lineage_runs.json and .md.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

from sne import Zoo
from sne.making import make
from sne.provenance.comparison import relative
from sne.provenance.entries import ROW, read_entry
from sne.provenance.forest import ancestors, forest, parents_of
from sne.provenance.lineage import lineage
from sne.provenance.relation import Relation
from sne.provenance.steps import Kinship, Names

RESULTS = Path(__file__).parent / "results"
CHOSEN = ("mlp", "small_cnn", "gru", "vit")
CONFIRMED = ("residual_cnn", "cnn_s")
RUNS = 6
KEEP = (0, 10, 20, 40, 50, 80, 100, 150, 160, 200, 250, 300, 320)
LISTS = {
    "each 50 steps": (50, 100, 150, 200, 250, 300),
    "the same, and before training": (0, 50, 100, 150, 200, 250, 300),
    "each 50 steps, late ones": (150, 200, 250, 300),
    "after 10, 20, 40, ... steps": (10, 20, 40, 80, 160, 320),
    "at irregular steps": (10, 50, 80, 100, 160, 300, 320),
}


def zoo_of(family: str, images: Path, work: Path) -> Zoo:
    is_chosen = family in CHOSEN
    return make(
        work / f"{'train' if is_chosen else 'test'}-{family}", families=[family], networks=RUNS, steps=KEEP[-1],
        images=images / ("mnist.npz" if is_chosen else "fashion_mnist.npz"), keep=KEEP, workers=1,
        seed=11 if is_chosen else 12, eval_images=100,
    )  # fmt: skip


def measured(names: Sequence[str], found: dict[Names, Kinship]) -> dict[str, float]:
    """Compares the forest of some checkpoints, given in the order of their steps, with the chain."""
    shuffled = list(names)
    random.Random(0).shuffle(shuffled)
    among = {pair: one for pair, one in found.items() if set(pair) <= set(names)}
    parents = parents_of(forest(shuffled, among, read_entry))
    chain = list(pairwise(names))
    return {
        "first is the root of all": float(all(names[0] in ancestors(name, parents) for name in names)),
        "edges": float(np.mean([parents.get(child) == [parent] for parent, child in chain])),
        "earlier": float(
            np.mean([parents.get(child, [child])[0] in names[: names.index(child)] for _, child in chain])
        ),
    }


def of_zoo(zoo: Zoo) -> tuple[list[dict[str, object]], Counter[str]]:
    """Measures the lists of each run, and counts the pairs of checkpoints that are `same initialisation`, by reason."""
    paths = {(run, int(step)): f"{zoo.path.absolute()}{ROW}{name}"
             for run, step, name in zip(zoo.runs, zoo.column("step"), zoo.ids, strict=True)}  # fmt: skip
    rows, counts = [], Counter[str]()
    for run in dict.fromkeys(zoo.runs):
        networks = {paths[run, step]: read_entry(paths[run, step]) for step in KEEP}
        lists = {kind: [paths[run, step] for step in steps] for kind, steps in LISTS.items()}
        pairs = sorted({tuple(sorted(pair)) for names in lists.values() for pair in combinations(names, 2)})
        compared = {pair: relative(networks[pair[0]], networks[pair[1]]) for pair in pairs}
        found = {pair: Kinship.of(one) for pair, one in compared.items() if one is not None}
        twins = [one for one in compared.values() if one is not None and one.relation is Relation.SAME_START]
        counts.update(pairs=len(pairs), unlike=sum(one.why.startswith("only") for one in twins), twins=len(twins))
        family = zoo.families[zoo.runs.index(run)]
        rows += [
            {"family": family, "run": run, "list": kind, **measured(names, found)} for kind, names in lists.items()
        ]
        print(run, flush=True)
    return rows, counts


def of_trees(zoo: Zoo) -> list[dict[str, object]]:
    """Compares the forest of each tree with what its networks were made from."""
    paths = {name: f"{zoo.path.absolute()}{ROW}{name}" for name in zoo.ids}
    columns = [zoo.column(column) for column in ("kind", "parent", "other_parent")]
    rows = []
    for run in dict.fromkeys(zoo.runs):
        some = [row for row, other in enumerate(zoo.runs) if other == run]
        found = lineage([paths[zoo.ids[row]] for row in some], errors=report)
        parents = {edge.child: edge.parent for edge in found.edges}
        right: dict[str, list[bool]] = {"root": [], "twin": [], "edge": []}
        for row in some:
            kind, wanted = columns[0][row], {paths[column[row]] for column in columns[1:] if column[row]}
            is_right = parents.get(paths[zoo.ids[row]]) in (wanted or {None})
            if kind != "distilled":
                right[kind if kind in right else "edge"].append(is_right)
        means = {kind: float(np.mean(some)) for kind, some in right.items()}
        rows.append({"family": zoo.families[some[0]], "zoo": zoo.path.name, "tree": run, **means})
        print(zoo.path.name, run, flush=True)
    return rows


def report(path: str, error: Exception) -> None:
    print(path, error)


def table(
    header: str, rows: Sequence[dict[str, object]], groups: dict[str, tuple[str, Sequence[str]]], columns: Sequence[str]
) -> str:
    """Makes a table with one line per group: its name, the number of rows with one of its values, and their means."""
    lines = [f"| {header} |", "|" + "---|" * (header.count("|") + 1)]
    for name, (column, values) in groups.items():
        if some := [row for row in rows if row[column] in values]:
            means = [f"{np.mean([row[what] for row in some]):.0%}" for what in columns]
            lines.append(f"| {name} | {len(some)} | {' | '.join(means)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of image sets")
    parser.add_argument("--work", type=Path, required=True, help="folder of the zoos")
    parser.add_argument("--trees", type=Path, nargs="*", default=[], help="zoos of trees of descent")
    options = parser.parse_args()
    found = [of_zoo(zoo_of(family, options.images, options.work)) for family in (*CHOSEN, *CONFIRMED)]
    counts = sum((some for _, some in found), Counter[str]())
    write(
        [row for rows, _ in found for row in rows],
        counts,
        [r for path in options.trees for r in of_trees(Zoo.open(path))],
    )


def write(runs: Sequence[dict[str, object]], counts: Counter[str], trees: Sequence[dict[str, object]]) -> None:
    record = {"runs": runs, "pairs": dict(counts), "trees": trees}
    (RESULTS / "lineage_runs.json").write_text(json.dumps(record, indent=1) + "\n")
    groups: dict[str, tuple[str, Sequence[str]]] = {
        "families on which constants were chosen": ("family", CHOSEN),
        "other families": ("family", CONFIRMED),
        **{kind: ("list", (kind,)) for kind in LISTS},
        **{family: ("family", (family,)) for family in (*CHOSEN, *CONFIRMED)},
    }
    header = "checkpoints | lists | first one is the root of all | edge to the one before | edge to an earlier one"
    of_runs = table(header, runs, groups, ("first is the root of all", "edges", "earlier"))
    zoos: dict[str, tuple[str, Sequence[str]]] = {str(row["zoo"]): ("zoo", (str(row["zoo"]),)) for row in trees}
    header = "zoo | trees | root right | edges right | twin has no parent"
    descendants = table(header, trees, zoos, ("root", "edge", "twin"))
    even, pairs = counts["twins"] - counts["unlike"], f"{counts['pairs']:,}"
    text = TEXT.format(runs=of_runs, trees=descendants, pairs=pairs, unlike=counts["unlike"], even=even)
    (RESULTS / "lineage_runs.md").write_text(text)


TEXT = """# Checkpoints of one training run in a lineage

Of each run, `sne lineage` is given several lists of checkpoints in random order. It should make a chain of them.
Constants of the forest were chosen on runs of perceptrons, small CNNs, recurrent networks and vision transformers that
learn MNIST, and on the zoos `dev-*` below. The other families learn Fashion-MNIST. Optimisers, learning rates and other
hyper-parameters are drawn for each run.

{runs}

{unlike} of {pairs} pairs of checkpoints of one run are named `same initialisation` because one network has few learned
directions of the other, and {even} more because neither looks trained further.

## Descendants

Trees of descent: fine-tunes, pruned, rounded, quantised, adapted, permuted, rescaled and merged networks, and a twin of
the root, which starts from the same weights and learns the same images in another order. Trees of `dev-*` have
hyper-parameters that were drawn, those of `test-*` are trees of `sne study lineage --scale cpu` with another seed.

{trees}

Made by `python benchmarks/lineage_runs.py --images IMAGES --work WORK --trees ZOO...`.
"""

if __name__ == "__main__":
    main()
