"""Leaves each family of a zoo out, and counts how many of its networks are outside the known domain of the others.

    python benchmarks/known_families.py ZOO [--runs 30,15,8]

ZOO has several families, such as that of `sne zoo make ZOO --family mlp,small_cnn,cnn_s,gru,residual_cnn,vit --images
mnist.npz --networks 40`; the results are of the zoo of the study `mixed`. A fifth of the runs of the other families is
held out, too: these are networks that should be inside. `--runs` keeps so many runs per family. Writes
benchmarks/results/known_families.md.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sne import Zoo
from sne.predictors.domain import LEAST_P
from sne.training import preset_settings
from sne.training.known_domain import relearn_domain
from sne.training.plan import make_plan
from sne.zoo import Split

TARGET = "test_accuracy"
RESULT = Path(__file__).parent / "results" / "known_families.md"
HELD_OUT = 5
"""One of so many runs of the known families is held out."""


def leave_out(zoo: Zoo, left_out: str, most_runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns which networks of the family, and of held-out runs of the others, are outside the known domain."""
    families, runs = np.array(zoo.families), np.array(zoo.runs)
    train, val, held_out = [], [], []
    for family in sorted(set(families.tolist()) - {left_out}):
        own = np.random.default_rng(0).permutation(sorted(set(runs[families == family].tolist()))).tolist()
        held_out += own[::HELD_OUT]
        kept = [run for run in own if run not in own[::HELD_OUT]][:most_runs]
        val, train = [*val, *kept[::HELD_OUT]], [*train, *(run for run in kept if run not in kept[::HELD_OUT])]
    strangers = np.flatnonzero(families == left_out)
    split = Split(tuple(train), tuple(val), tuple(sorted({*held_out, *runs[strangers].tolist()})))
    plan = make_plan(zoo, [TARGET], split=split, encoder="default", settings=preset_settings("default"))
    reader = plan.make_encoder()
    domain = relearn_domain(plan, reader)
    assert domain is not None, "there are enough runs"

    def is_outside(rows: np.ndarray) -> np.ndarray:
        description = reader.summarize(reader.prepare(zoo.networks(rows)))
        assert description is not None, "the encoder describes networks"
        return domain.p_values(description) < LEAST_P

    return is_outside(strangers), is_outside(np.flatnonzero(np.isin(runs, held_out)))


def write(zoo: Zoo, counts: Sequence[int]) -> None:
    """Measures, prints and writes the table."""
    lines = [
        "# Families that are not in the training data: are they recognised?",
        "",
        f"Each family of a zoo of {len(zoo):,} networks is left out. The table has the shares of its networks, and of",
        "those of held-out runs of the other families, that are outside the known domain that the other runs give.",
        "",
        "| runs per family | left out | outside, of it | outside, of the others | numbers of networks |",
        "|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for most_runs in counts:
        for family in sorted(set(zoo.families)):
            strangers, known = leave_out(zoo, family, most_runs)
            shares, sizes = f"{strangers.mean():.1%} | {known.mean():.1%}", f"{len(strangers)}, {len(known)}"
            lines.append(f"| {most_runs} | {family} | {shares} | {sizes} |")
            print(lines[-1], flush=True)
    lines += ["", "Made by `python benchmarks/known_families.py ZOO`; its docstring says how the zoo is made."]
    RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("--runs", default="30,15,8", help="largest numbers of runs per family (default: %(default)s)")
    arguments = parser.parse_args()
    write(Zoo.open(arguments.zoo), [int(count) for count in arguments.runs.split(",")])
