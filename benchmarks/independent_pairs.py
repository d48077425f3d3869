"""Measures the p-values of `sne compare` on pairs of independently trained networks, and on descendants.

    python benchmarks/independent_pairs.py ZOO... --work WORK [--pairs 100000] [--plain 20000] [--workers 2]

ZOO are zoos made by `benchmarks/pretraining_zoos.py` or `sne zoo make`. Pairs are networks of one layout at the end of
different training runs of different numbers (zoos of one recipe start the run of a number from the same weights), drawn
at random, the same number from each family as far as there are so many. They are judged
by the symmetry that the zoo stores. Plain pairs are judged as state dicts of unknown origin: by the symmetry that names
and shapes make certain, and by the one that has to be assumed. Descendants are the last checkpoint of a run compared
with an earlier one, as it is and with permuted units. WORK keeps the pairs that are done; the same command continues.
Writes benchmarks/results/independent_pairs.json and .md.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kstest
from torch import Tensor

from sne import Zoo, read_network
from sne.provenance.fixed_points import Agreement, fixed_points_distribution
from sne.provenance.hypotheses import assumed_hypothesis
from sne.provenance.independence import judge_independence
from sne.provenance.units import Units
from sne.symmetry import Symmetry, apply, sample, symmetry_by_name
from sne.work import ProcessPool

RESULTS = Path(__file__).parent / "results"
CHUNK = 200
RUNS = 40


@dataclass(frozen=True)
class Task:
    """Pairs of networks of one layout: path of the zoo and row of each, and whether they are judged as state dicts."""

    family: str
    pairs: tuple[tuple[tuple[str, int], tuple[str, int]], ...]
    is_plain: bool = False

    @property
    def key(self) -> str:
        """Name of the task in the file of those that are done."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


def randomised(agreements: Sequence[Agreement], uniform: float) -> float:
    """Returns a p-value that is uniform for independent networks: ties are broken at random."""
    distribution = fixed_points_distribution([found.units for found in agreements])
    fixed = sum(found.fixed for found in agreements)
    return float(distribution[fixed + 1 :].sum() + uniform * distribution[fixed])


def state_of(zoo: Zoo, row: int) -> tuple[dict[str, Tensor], Units, Symmetry]:
    network, symmetry = zoo.network(row), zoo.symmetry(row)
    assert symmetry is not None
    state = {name: network.source.load(name) for name in network.source.infos}
    return state, Units(symmetry, network, state), symmetry


def plain_units(state: dict[str, Tensor]) -> tuple[Units, Units | None]:
    """Returns the hidden units that `sne compare` tests where no symmetry is stored: certain ones, and assumed ones."""
    network = read_network(state)
    certain, assumed = symmetry_by_name(network), assumed_hypothesis(network).symmetry
    is_new = assumed.groups != certain.groups
    return Units(certain, network, state), Units(assumed, network, state) if is_new else None


def judge(task: Task) -> list[list[float]]:
    """Returns, for each pair, the randomised p-values of three tests and the p-value that is reported.

    The tests are that of the stored order, the first one in any order, and the last one in any order.
    """
    torch.set_num_threads(1)
    zoos: dict[str, Zoo] = {}
    states: dict[tuple[str, int], tuple[dict[str, Tensor], Units, Symmetry]] = {}
    plain: dict[str, tuple[Units, Units | None]] = {}
    found = []
    for pair in task.pairs:
        for path, row in pair:
            if path not in zoos:
                zoos[path] = Zoo.open(path)
            zoo = zoos[path]
            if (path, row) not in states:
                states[path, row] = state_of(zoo, row)
        one, other = (states[place] for place in pair)
        units, assumed = one[1], None
        if task.is_plain:
            layout = zoos[pair[0][0]].layout(pair[0][1]).id
            if layout not in plain:
                plain[layout] = plain_units(one[0])
            units, assumed = plain[layout]
        seed = (pair[0][1] * 100_003 + pair[1][1]) % 2**31
        result = judge_independence(one[0], other[0], units, seed=seed, assumed=assumed)
        random = np.random.default_rng(seed)
        if result.p_value is not None:
            tests = (result.stored, result.twice, result.others[-1] if result.others else ())
            values = [randomised(test, random.random()) if test else random.random() for test in tests]
            found.append([*values, result.p_value])
    return found


def layouts(zoos: Sequence[Zoo]) -> dict[tuple[str, str], list[tuple[Zoo, int]]]:
    """Returns the last network of each run, by family and layout."""
    groups: dict[tuple[str, str], list[tuple[Zoo, int]]] = {}
    for zoo in zoos:
        last: dict[str, int] = {}
        steps = zoo.column("step")
        for row, run in enumerate(zoo.runs):
            if run not in last or steps[row] > steps[last[run]]:
                last[run] = row
        for row in last.values():
            if zoo.symmetry(row) is not None:
                groups.setdefault((zoo.families[row], zoo.layout(row).id), []).append((zoo, row))
    return groups


def tasks(zoos: Sequence[Zoo], pairs: int, *, is_plain: bool = False) -> list[Task]:
    random = np.random.default_rng(int(is_plain))
    found: dict[str, list[tuple[tuple[str, int], tuple[str, int]]]] = {}
    for (family, _), places in layouts(zoos).items():
        names = [zoo.runs[row] for zoo, row in places]
        some = [(i, j) for i, j in combinations(range(len(places)), 2) if names[i] != names[j]]
        kept = random.permutation(len(some))[:pairs]
        for i, j in (some[number] for number in kept):
            one, other = places[i], places[j]
            found.setdefault(family, []).append(((str(one[0].path), one[1]), (str(other[0].path), other[1])))
    result, left = [], pairs
    for number, (family, some) in enumerate(sorted(found.items(), key=lambda one: len(one[1]))):
        share = left // (len(found) - number)  # what small families do not have goes to the larger ones
        kept = [some[place] for place in random.permutation(len(some))[:share]]
        left -= len(kept)
        pieces = [tuple(kept[start : start + CHUNK]) for start in range(0, len(kept), CHUNK)]
        result += [Task(family, piece, is_plain) for piece in pieces]
    return [result[place] for place in random.permutation(len(result))]  # what is done first is a fair sample


def judged(todo: Sequence[Task], work: Path, workers: int, minutes: float) -> dict[str, list[list[float]]]:
    """Judges as many pairs as fit in the time, and returns the values by family. Those that are done are kept."""
    work.mkdir(parents=True, exist_ok=True)
    kept = work / "pairs.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    done = {line["key"]: line["values"] for line in map(json.loads, lines)}
    waiting = [task for task in todo if task.key not in done]
    started = time.monotonic()
    executor = ProcessPool(workers)
    for number, answer in enumerate(executor.run(judge, waiting)):
        assert answer.failure is None, answer.failure
        done[answer.item.key] = answer.result
        with kept.open("a") as file:
            file.write(json.dumps({"key": answer.item.key, "values": answer.result}) + "\n")
        if number % 20 == 0:
            print(f"{number + 1} of {len(waiting)}", flush=True)
        if time.monotonic() - started > 60 * minutes:
            break
    values: dict[str, list[list[float]]] = {}
    for task in todo:
        if task.key in done:
            values.setdefault(task.family + ", plain" * task.is_plain, []).extend(done[task.key])
    return dict(sorted(values.items(), key=lambda one: (", plain" in one[0], len(one[1]))))


def summary(family: str, values: Sequence[Sequence[float]]) -> dict[str, object]:
    stored, twice, last, reported = np.array(values).T
    row: dict[str, object] = {
        "family": family, "pairs": len(values), "reported below .01": float((reported < 0.01).mean()),
        "least": float(reported.min()), "below 1e-6": int((reported < 1e-6).sum()),
    }  # fmt: skip
    for name, some in (("stored", stored), ("twice", twice), ("last", last)):
        test = kstest(some, "uniform")
        row |= {f"KS {name}": float(test.statistic), f"KS {name} p": float(test.pvalue)}
    print(row, flush=True)
    return row


def descendants(zoos: Sequence[Zoo]) -> list[dict[str, object]]:
    """Compares the last network of some runs with the earlier ones."""
    rows = []
    by_family: dict[str, list[tuple[Zoo, str]]] = {}
    for zoo in zoos:
        for family, run in dict.fromkeys(zip(zoo.families, zoo.runs, strict=True)):
            by_family.setdefault(family, []).append((zoo, run))
    for family, runs in by_family.items():
        found: dict[float, list[tuple[float, float]]] = {}
        for zoo, run in runs[:: max(1, len(runs) // RUNS)][:RUNS]:
            steps = zoo.column("step")
            mine = sorted(np.flatnonzero(np.array(zoo.runs) == run), key=lambda row: steps[row])
            last, _, symmetry = state_of(zoo, int(mine[-1]))
            moved = apply(sample(symmetry, seed=1, kinds=("permutation",)), last) if symmetry.groups else last
            for row in mine[:-1]:
                first, units, _ = state_of(zoo, int(row))
                stored, permuted = (judge_independence(first, state, units).p_value for state in (last, moved))
                if stored is not None and permuted is not None:
                    found.setdefault(round(steps[row] / steps[mine[-1]], 2), []).append((stored, permuted))
        for share, values in sorted(found.items()):
            below = (np.array(values) < 1e-6).mean(0)
            rows.append({"family": family, "from": share, "n": len(values), "stored": below[0], "permuted": below[1]})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoos", nargs="+", type=Path, help="folders of zoos")
    parser.add_argument("--work", type=Path, required=True, help="folder for the pairs that are done")
    parser.add_argument("--pairs", type=int, default=100_000, help="number of pairs of all families together")
    parser.add_argument("--plain", type=int, default=20_000, help="number of pairs that are judged as state dicts")
    parser.add_argument("--minutes", type=float, default=1e6, help="time after which no further pairs are judged")
    parser.add_argument("--workers", type=int, default=2, help="number of processes")
    options = parser.parse_args()
    zoos = [Zoo.open(path) for path in options.zoos]
    todo = [*tasks(zoos, options.plain, is_plain=True), *tasks(zoos, options.pairs)]
    values = judged(todo, options.work, options.workers, options.minutes)
    rows = [summary(family, some) for family, some in values.items() if some]
    for name, is_plain in (("all", False), ("all, plain", True)):
        some = [value for family, one in values.items() if family.endswith(", plain") == is_plain for value in one]
        rows += [summary(name, some)] if some else []
    kept = descendants(zoos)
    names = sorted(path.name for path in options.zoos)
    (RESULTS / "independent_pairs.json").write_text(
        json.dumps({"zoos": names, "independent": rows, "descendants": kept}, indent=1) + "\n"
    )
    lines = [
        "| family | pairs | p < .01 | least p | p < 1e-6 | stored order: KS (p) | any order, first test: KS (p) | "
        "last test: KS (p) |",
        "|" + "---|" * 8,
    ]
    lines += [
        f"| {row['family']} | {row['pairs']:,} | {row['reported below .01']:.2%} | {row['least']:.1e} | "
        f"{row['below 1e-6']} | {row['KS stored']:.4f} ({row['KS stored p']:.2g}) | {row['KS twice']:.4f} "
        f"({row['KS twice p']:.2g}) | {row['KS last']:.4f} ({row['KS last p']:.2g}) |"
        for row in rows
    ]
    table = [
        "| family | steps of the earlier network | pairs | p < 1e-6 | p < 1e-6, units permuted |",
        "|" + "---|" * 5,
    ]
    table += [
        f"| {row['family']} | {row['from']:.0%} | {row['n']} | {row['stored']:.0%} | {row['permuted']:.0%} |"
        for row in kept
    ]
    note = (
        "p < .01, least p, and p < 1e-6: the p-value that is reported. KS: distance of the p-values of one test from "
        'the uniform distribution.\n"plain": without the symmetry that zoos store; the last test is the one by the '
        "assumed symmetry, at the canonical point."
    )
    text = "# p-values of independent networks and of descendants\n\n" + "\n".join([*lines, "", note, "", *table])
    (RESULTS / "independent_pairs.md").write_text(
        text + f"\n\nZoos: {', '.join(names)}.\nMade by `python benchmarks/independent_pairs.py ZOO... --work WORK`.\n"
    )


if __name__ == "__main__":
    main()
