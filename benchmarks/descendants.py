"""Makes descendants of the networks of zoos, names their relation to the parent, and finds the parent among all.

    python benchmarks/descendants.py ZOO... --work WORK [--parents 20] [--kinds permuted half]

ZOO are zoos made by `benchmarks/pretraining_zoos.py` or `sne zoo make`; parents are networks at the end of a training
run, from all families. WORK keeps the index of all such networks. Descendants are state dicts without any knowledge of
the zoo. Fine-tunes are real: the network at the end of a run is the child of the same run's network at a third of the
steps. Writes benchmarks/results/descendants.json and .md.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sne import Predictor, Relation, Zoo, compare, read_network
from sne.making.descent.changes import pruned, quantised
from sne.provenance.entries import ROW
from sne.provenance.index import Index
from sne.provenance.search import search
from sne.symmetry import Symmetry, apply, sample

State = dict[str, Tensor]
RESULTS = Path(__file__).parent / "results"
NOBODY = "none"


def with_adapter(rank: int) -> Callable[[State, Symmetry], State]:
    def change(state: State, symmetry: Symmetry) -> State:
        made = dict(state)
        for name, values in state.items():
            if values.ndim > 1 and min(values.flatten(1).shape) >= 4 * rank and min(values.flatten(1).shape) >= 8:
                rows = values.flatten(1)
                update = torch.randn(len(rows), rank) @ torch.randn(rank, rows.shape[1])
                made[name] = values + (rows.norm() / update.norm() * 0.3 * update).view_as(values)
        return made

    return change


def with_new_head(state: State, symmetry: Symmetry) -> State:
    last = [name for name, values in state.items() if values.ndim > 1][-1].rpartition(".")[0]
    return {
        name: values + 0.3 * values.std().nan_to_num(0.1) * torch.randn_like(values)
        if name.startswith(last)
        else values
        for name, values in state.items()
    }


def moved(kinds: tuple[str, ...]) -> Callable[[State, Symmetry], State]:
    return lambda state, symmetry: apply(sample(symmetry, seed=1, kinds=kinds), state)


CHANGES: dict[str, tuple[Callable[[State, Symmetry], State], Relation]] = {
    "renamed": (lambda state, symmetry: {f"net.{name}": values for name, values in state.items()}, Relation.IDENTICAL),
    "half": (lambda state, symmetry: {name: values.half() for name, values in state.items()}, Relation.PRECISION),
    "bfloat16": (lambda state, symmetry: {name: v.bfloat16() for name, v in state.items()}, Relation.PRECISION),
    "int8": (lambda state, symmetry: quantised(state, 8), Relation.PRECISION),
    "int4": (lambda state, symmetry: quantised(state, 4), Relation.PRECISION),
    "pruned 30%": (lambda state, symmetry: pruned(state, 0.3), Relation.PRUNED),
    "pruned 90%": (lambda state, symmetry: pruned(state, 0.9), Relation.PRUNED),
    "adapter of rank 1": (with_adapter(1), Relation.LOW_RANK),
    "adapter of rank 2": (with_adapter(2), Relation.LOW_RANK),
    "new head": (with_new_head, Relation.PARTIAL),
    "permuted": (moved(("permutation",)), Relation.SAME_FUNCTION),
    "permuted, rescaled, flipped": (moved(("permutation", "scaling", "sign")), Relation.SAME_FUNCTION),
    "trained three times longer": (lambda state, symmetry: state, Relation.FINE_TUNE),
    "trained longer and permuted": (moved(("permutation",)), Relation.FINE_TUNE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoos", nargs="+", type=Path, help="folders of zoos")
    parser.add_argument("--work", type=Path, required=True, help="folder of the index")
    parser.add_argument("--parents", type=int, default=20, help="number of parents per family")
    parser.add_argument("--kinds", nargs="*", default=list(CHANGES), choices=list(CHANGES), help="kinds of descendants")
    options = parser.parse_args()
    torch.manual_seed(0)
    zoos = [Zoo.open(path) for path in options.zoos]
    ends = {(number, run): rows for number, zoo in enumerate(zoos) for run, rows in runs_of(zoo).items()}
    index = indexed(zoos, options.work)
    by_family: dict[str, list[tuple[int, str]]] = {}
    for number, run in ends:
        by_family.setdefault(zoos[number].families[ends[number, run][-1]], []).append((number, run))
    rows = []
    for family, runs in by_family.items():
        some = runs[:: max(1, len(runs) // options.parents)][: options.parents]
        for kind in options.kinds:
            change, expected = CHANGES[kind]
            started, named, first, relatives = time.perf_counter(), Counter(), 0, 0
            for number, run in some:
                zoo, mine = zoos[number], ends[number, run]
                is_trained = expected is Relation.FINE_TUNE
                symmetry = zoo.symmetry(mine[-1])
                assert symmetry is not None
                last = zoo.network(mine[-1])
                state = {name: last.source.load(name) for name in last.source.infos}
                if is_trained:  # the earlier network is the query, the one in the index the trained one
                    early = zoo.network(mine[-2])
                    state = {name: early.source.load(name) for name in early.source.infos}
                child = read_network(change(state, symmetry))
                found = compare(last, child)
                named[found.relation.value if found.related else NOBODY] += 1
                hits = search(child, index, warn=print)
                want = f"{zoo.path.absolute()}{ROW}{zoo.ids[mine[-1]]}"
                first += bool(hits) and hits[0].path == want
                relatives += any(hit.path == want for hit in hits)
            rows.append({
                "family": family, "kind": kind, "expected": expected.value, "n": len(some), "named": dict(named),
                "first": first / len(some), "among ten": relatives / len(some),
                "seconds": (time.perf_counter() - started) / len(some),
            })  # fmt: skip
            print(rows[-1], flush=True)
    write(rows, len(index), [path.name for path in options.zoos])


def runs_of(zoo: Zoo) -> dict[str, list[int]]:
    """Returns the rows of each run of known symmetry, in the order of their steps."""
    steps = zoo.column("step")
    found: dict[str, list[int]] = {}
    for row in np.argsort(steps, kind="stable"):
        if zoo.symmetry(int(row)) is not None:
            found.setdefault(zoo.runs[row], []).append(int(row))
    return {run: rows for run, rows in found.items() if len(rows) > 1}


def indexed(zoos: list[Zoo], work: Path) -> Index:
    """Indexes the last network of each run."""
    predictor = Predictor.from_pretrained()
    index = Index.open_or_create(work / "index", predictor)
    wanted = [f"{zoo.path.absolute()}{ROW}{zoo.ids[rows[-1]]}" for zoo in zoos for rows in runs_of(zoo).values()]
    index.add(wanted, predictor, errors=lambda path, error: print(path, error))
    return index


def write(rows: list[dict], networks: int, zoos: list[str]) -> None:
    (RESULTS / "descendants.json").write_text(
        json.dumps({"zoos": zoos, "networks": networks, "rows": rows}, indent=1) + "\n"
    )
    families = list(dict.fromkeys(row["family"] for row in rows))
    lines = [f"| descendant | relation expected | {' | '.join(families)} |", "|" + "---|" * (2 + len(families))]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        mine = {row["family"]: row for row in rows if row["kind"] == kind}
        cells = [
            f"{row['named'].get(row['expected'], 0) / row['n']:.0%}; {row['first']:.0%}, {row['among ten']:.0%}"
            for row in mine.values()
        ]
        lines.append(f"| {kind} | {next(iter(mine.values()))['expected']} | {' | '.join(cells)} |")
    wrong = Counter()
    for row in rows:
        for name, count in row["named"].items():
            if name != row["expected"]:
                wrong[f"{row['kind']} named {name}"] += count
    text = f"""# Descendants of networks of zoos

Relation named right; parent found first, and among the first ten, in an index of {networks:,} networks.

{chr(10).join(lines)}

Named otherwise, most frequent first: {"; ".join(f"{name} ({count})" for name, count in wrong.most_common(12))}.

Zoos: {", ".join(zoos)}. Made by `python benchmarks/descendants.py ZOO... --work WORK`.
"""
    (RESULTS / "descendants.md").write_text(text)


if __name__ == "__main__":
    main()
