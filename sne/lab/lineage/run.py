"""Runs the study of lineages and writes its report."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sne.errors import StudyError
from sne.lab.lineage.design import DESIGNS, FamilyPlan, LineageDesign
from sne.lab.lineage.measuring import EMBEDDING, EXACT, EXPECTED, SNE, TRAINED, auc, measure_family
from sne.lab.lineage.opponents import OPPONENTS
from sne.lab.studies.zoos import find_images
from sne.making.descent import ROOTS, make_trees
from sne.provenance.relation import Relation
from sne.work import Executor, ProcessPool, RayCluster, write_atomically

NAME = "lineage"
TITLE = "Where does a network come from"

Progress = Callable[[str, int, int], None]


def run_lineage(
    scale: str,
    out: Path,
    *,
    zoos: Path,
    images: Path | None = None,
    workers: int = 2,
    ray: str | None = None,
    progress: Progress,
) -> Path:
    """Makes the zoos of trees, measures everything, and writes report.md and results.json.

    If it is interrupted, the same call continues: finished trees and families are not done again.

    Args:
        scale: "ci" or "cpu".
        out: Folder of the report.
        zoos: Folder of the zoos.
        images: Folder of .npz files; the value of the environment variable SNE_IMAGES if None.
        workers: Number of processes that train.
        ray: Address of a Ray cluster that trains instead.
        progress: Called with the name of the stage, the number of items done, and their number.

    Returns:
        Path of the report.

    Raises:
        StudyError: There is no such scale, or images are missing.
        ZooError: A zoo cannot be made.
    """
    if scale not in DESIGNS:
        raise StudyError(f"scale {scale!r}, expected one of {', '.join(DESIGNS)} for the study {NAME}")
    design = DESIGNS[scale]
    executor: Executor = ProcessPool(max(1, workers)) if ray is None else RayCluster(ray, workers=workers)
    families = {}
    for plan in design.families:
        path = zoos / f"{scale}-{NAME}-{plan.family}"
        _make(path, plan, design, images, zoos, executor, progress)
        families[plan.family] = _measured(path, plan, design, out, progress)
    results = {"scale": scale, "families": families}
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "results.json", json.dumps(results, indent=1).encode())
    write_atomically(out / "report.md", report(results, design).encode())
    return out / "report.md"


def _make(
    path: Path,
    plan: FamilyPlan,
    design: LineageDesign,
    images: Path | None,
    zoos: Path,
    executor: Executor,
    progress: Progress,
) -> None:
    sources = (find_images(name, images, zoos / "images") for name in (design.images, design.other_images))
    own, other = sources
    make_trees(
        path,
        families=[plan.family],
        spaces={plan.family: plan.space},
        images=own,
        other_images=other,
        trees=plan.trees,
        steps=design.steps,
        executor=executor,
        progress=lambda done, total: progress(f"trees of {plan.family}", done, total),
    )


def _measured(path: Path, plan: FamilyPlan, design: LineageDesign, out: Path, progress: Progress) -> dict[str, Any]:
    """Measures a family, or reads what was measured."""
    done = out / "families" / f"{plan.family}.json"
    design_now = json.loads(json.dumps({**asdict(design), "families": asdict(plan)}))
    if done.exists():
        kept = json.loads(done.read_text())
        if kept.pop("design", None) == design_now:
            return kept
    work = out / "work" / plan.family
    work.mkdir(parents=True, exist_ok=True)
    found = measure_family(path, design, work, lambda done, total: progress(f"measures of {plan.family}", done, total))
    done.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(done, json.dumps({**found, "design": design_now}).encode())
    return found


def report(results: Mapping[str, Any], design: LineageDesign) -> str:
    """Returns the report as Markdown."""
    families = results["families"]
    methods = (SNE, *(opponent.name for opponent in OPPONENTS), EMBEDDING)
    first = [row for found in families.values() for row in found["first"]]
    named = [row for found in families.values() for row in found["named"]]
    scores = [row for found in families.values() for row in found["scores"]]
    edges = [row for found in families.values() for row in found["edges"]]
    sizes = ", ".join(f"{name} {found['networks']:,} ({found['weights']:,})" for name, found in families.items())
    kinds = [kind for kind in EXPECTED if any(row["kind"] == kind for row in named)]
    descendants = [kind for kind in kinds if kind not in ROOTS]
    lines = [
        f"# {TITLE}",
        "",
        "Zoos of trees of descent, one architecture and one set of hyper-parameters per family. Networks (weights of "
        f"one): {sizes}. Roots learn {design.images} for {design.steps} steps; some descendants learn "
        f"{design.other_images}. Candidates for a parent are all networks of the other trees, the parent, and the twin "
        "of the root, which starts from the same weights and learns the same images in another order. Where another "
        "method gives several candidates "
        "the same similarity, it is taken to be right. "
        f"Command: `sne study {NAME} --scale {results['scale']}`.",
        "",
        "## Summary",
        "",
        _table(["measure", *methods], _summary(first, named, scores, edges, methods)),
        "",
        "## Parent found first, by kind",
        "",
        _table(
            ["kind", "n", *methods],
            [
                [kind, len(some), *(_share(row["first"][method] for row in some) for method in methods)]
                for kind in descendants
                if (some := [row for row in first if row["kind"] == kind])
            ],
        ),
        "",
        "## Relation named, by kind",
        "",
        _confusion(named, kinds),
        "",
        "## Direction, and edges of the forest, by kind",
        "",
        _table(
            ["kind", "direction stated", "right if stated", "edge right", "n"],
            [[kind, *_directions(named, edges, kind)] for kind in kinds],
        ),
        "",
        "## By family",
        "",
        _table(
            ["family", "parent first", "relation right", "edges right", "AUC"],
            [
                [
                    name,
                    _share(row["first"][SNE] for row in found["first"]),
                    _share(row["relation"] == row["expected"] for row in found["named"]),
                    _share(row["right"] for row in found["edges"]),
                    f"{auc(found['scores'], SNE):.4f}",
                ]
                for name, found in families.items()
            ],
        ),
        "",
        "## The other methods",
        "",
        *(f"- {opponent.name}: {opponent.source}." for opponent in OPPONENTS),
        f"- {EMBEDDING}: cosine of the embeddings of the packaged predictor, which are made to ignore such changes.",
        "",
    ]
    return "\n".join(lines)


def _summary(
    first: Sequence[Mapping[str, Any]],
    named: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    edges: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
) -> list[list[str]]:
    rest = ["-"] * (len(methods) - 1)
    moved = [row for row in first if row["kind"] in ("permuted", "rescaled") or row["node"] == "permuted and tuned"]
    areas = [f"{auc(scores, method):.4f}" if scores and method in scores[0]["scores"] else "-" for method in methods]
    exact = [row for row in named if row["expected"] in {relation.value for relation in EXACT}]
    trained = [row for row in named if row["expected"] in {relation.value for relation in TRAINED}]
    mother = [_share(row["kurtosis"] < 0 for row in trained) if name == "MoTHer" else "-" for name in methods[1:]]
    drawn = [row for row in edges if row["kind"] not in ROOTS]
    roots = [row for row in edges if row["kind"] in ROOTS]
    return [
        ["parent found first", *(_share(row["first"][method] for row in first) for method in methods)],
        ["the same, permuted, rescaled, permuted and tuned", *(_share(r["first"][m] for r in moved) for m in methods)],
        ["relatives against strangers, AUC", *areas],
        ["strangers called relatives", f"{sum(row['false'] for row in scores)} of {len(scores)}", *rest],
        ["relation named right", _share(row["relation"] == row["expected"] for row in named), *rest],
        [
            "direction right, pruned and rounded",
            _share(row["direction"] == "second from first" for row in exact),
            *rest,
        ],
        ["direction right where stated, trained", _stated(trained), *mother],
        ["direction stated, trained", _share(row["direction"] is not None for row in trained), *rest],
        ["edges of the forest right", _share(row["right"] for row in drawn), *rest],
        ["roots, twins and distilled networks left without a parent", _share(row["right"] for row in roots), *rest],
    ]


def _stated(rows: Iterable[Mapping[str, Any]]) -> str:
    return _share(row["direction"] == "second from first" for row in rows if row["direction"] is not None)


def _directions(named: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    mine = [row for row in named if row["kind"] == kind]
    drawn = [row["right"] for row in edges if row["kind"] == kind]
    has_direction = EXPECTED[kind] not in (Relation.SAME_FUNCTION, Relation.SAME_START, Relation.INDEPENDENT)
    stated = _share(row["direction"] is not None for row in mine) if has_direction else "-"
    return [stated, _stated(mine) if has_direction else "-", _share(drawn), str(len(mine))]


def _confusion(named: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> str:
    relations = [relation.value for relation in Relation if any(row["relation"] == relation.value for row in named)]
    rows = []
    for kind in kinds:
        counts = Counter(row["relation"] for row in named if row["kind"] == kind)
        total = sum(counts.values())
        shown = [f"{counts[name] / total:.0%}" if counts[name] else "" for name in relations]
        rows.append([kind, EXPECTED[kind].value, *shown])
    return _table(["kind", "expected", *relations], rows)


def _share(values: Iterable[bool]) -> str:
    some = list(values)
    return f"{np.mean(some):.1%}" if some else "-"


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
