"""Runs the study of lineages: makes the zoos of trees, measures each, and writes the report."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sne.errors import StudyError
from sne.lab.lineage.design import DESIGNS, FamilyPlan, LineageDesign
from sne.lab.lineage.measuring import measure_family
from sne.lab.lineage.report import NAME, report
from sne.lab.studies.zoos import find_images
from sne.making.descent import make_trees
from sne.work import Executor, ProcessPool, RayCluster, write_atomically

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
