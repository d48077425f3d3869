"""The known domain of a predictor, learned from its training networks and shuffled copies of them."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.encoders import NetworkEncoder
from sne.networks.shuffled import shuffled
from sne.predictors.domain import (
    LEAST_AXES,
    LEAST_CALIBRATION,
    RESIDUAL_WEIGHT,
    Domain,
    Neighbours,
    Region,
    most_axes,
)
from sne.predictors.experts import Examples
from sne.predictors.experts.contract import spaced
from sne.predictors.experts.state import derive_seed
from sne.training.discriminating import train_discriminator
from sne.training.plan import Plan

MOST_NETWORKS = 4000
"""Number of networks that a domain is learned from; of more, so many are taken at equal distances."""

LEAST_TO_CALIBRATE = 70
"""Least number of training runs of a family with its own calibration; with fewer, one odd run would hide all others."""

LEAST_FOR_AXES = 8
"""Least number of training runs of a family with its own axes, where families are calibrated together."""

RESIDUAL_WEIGHT_OF_FEW = 1.0
"""Weight of the distance to the space of the axes where families are calibrated together: the axes of few networks fit
these better than new ones."""

SMALLEST_UNIT = 1e-6
"""Least unit of distance of a part, whose networks may all be the same."""

LEAST_UNIT = 0.05
"""Least unit as a share of the largest distance within a part, most of whose networks may be the same."""

BLOCK = 64
"""Number of copies that are described at a time."""


def learn_domain(
    plan: Plan, reader: NetworkEncoder, examples: Examples, on_progress: Callable[[int, int, str], None]
) -> Domain | None:
    """Learns the domain of the training networks.

    Args:
        plan: The training run.
        reader: Describes the shuffled copies.
        examples: The networks of the run.
        on_progress: Called with steps done, number of steps, and what was done.

    Returns:
        The domain; None where no expert reads descriptions, there are no folds to calibrate it, or the training runs
        are so few that no p-value could be below `sne.predictors.domain.LEAST_P`. Networks of one run are much alike,
        and count once.
    """
    description = examples.prepared.description
    places = _places(plan)
    if description is None or len(places) == 0:
        return None
    return _learn(plan, reader, places, description[torch.from_numpy(places)].float(), on_progress)


def relearn_domain(
    plan: Plan, reader: NetworkEncoder, on_progress: Callable[[int, int, str], None] = lambda *_: None
) -> Domain | None:
    """Learns the domain of a predictor that is trained already, with the plan of its training.

    Args:
        plan: The training run.
        reader: Describes networks and shuffled copies.
        on_progress: As for `learn_domain`.

    Returns:
        What `learn_domain` returned if it had been called in that training.
    """
    places = _places(plan)
    if len(places) == 0:
        return None
    return _learn(plan, reader, places, torch.cat(list(_describe(plan, reader, places, shuffle=False))), on_progress)


def _places(plan: Plan) -> np.ndarray:
    """Returns the places of the networks that the domain is learned from; none where it cannot be calibrated."""
    num_runs = len({plan.zoo.runs[row] for row in plan.rows})
    if len(plan.folds) < 2 or num_runs < LEAST_CALIBRATION:
        return np.zeros(0, dtype=np.int64)
    return spaced(len(plan.rows), MOST_NETWORKS)


def _learn(
    plan: Plan,
    reader: NetworkEncoder,
    places: np.ndarray,
    rows: Float[Tensor, "networks features"],
    on_progress: Callable[[int, int, str], None],
) -> Domain:
    described = math.ceil(len(places) / BLOCK)
    steps = described + len(plan.folds) + 1
    blocks = []
    for block in _describe(plan, reader, places, shuffle=True):
        blocks.append(block)
        on_progress(len(blocks), steps, "shuffled copies")
    copies = torch.cat(blocks)
    logits = []
    for number, fold in enumerate(plan.folds):
        held_out = torch.from_numpy(np.isin(places, fold.held_out))
        if bool(held_out.any()) and not bool(held_out.all()):
            seed = derive_seed(plan.settings.seed, "domain", number)
            logits.append(train_discriminator(rows[~held_out], copies[~held_out], seed).logits(rows[held_out]))
        on_progress(described + number + 1, steps, "folds")
    discriminator = train_discriminator(rows, copies, derive_seed(plan.settings.seed, "domain"))
    on_progress(steps, steps, "folds")
    return Domain(_regions(plan, rows, places), discriminator, _ascending(logits))


def _ascending(parts: Sequence[np.ndarray]) -> Float[Tensor, " networks"]:
    return torch.from_numpy(np.sort(np.concatenate(parts))).float()


def _regions(plan: Plan, rows: Float[Tensor, "networks features"], places: np.ndarray) -> list[Region]:
    """Makes the regions of all families; families with few runs are calibrated together."""
    families = np.array([plan.zoo.families[row] for row in plan.rows[places]])
    runs = np.array([plan.zoo.runs[row] for row in plan.rows[places]])
    fold_of = np.array([next(n for n, fold in enumerate(plan.folds) if place in fold.held_out) for place in places])

    def stands_alone(group: Sequence[str]) -> bool:
        mine = np.isin(families, group)
        return len(set(runs[mine])) >= LEAST_TO_CALIBRATE and len(set(fold_of[mine])) > 1

    names = sorted(set(families.tolist()))
    groups = [[name] for name in names if stands_alone([name])]
    if rest := [name for name in names if not stands_alone([name])]:
        groups = [*groups, rest] if not groups or stands_alone(rest) else [*groups[:-1], [*groups[-1], *rest]]
    axes = most_axes(len(groups))
    regions = []
    for group in groups:
        mine = np.isin(families, group)
        parts = number_families(families[mine], runs[mine], fold_of[mine])
        group_rows, group_folds = rows[torch.from_numpy(mine)], fold_of[mine]
        if len(set(parts.tolist())) == 1:
            regions += calibrate_together(group_rows, parts, group_folds, axes)
        else:
            regions += calibrate_together(group_rows, parts, group_folds, LEAST_AXES, RESIDUAL_WEIGHT_OF_FEW)
    return regions


def number_families(families: np.ndarray, runs: np.ndarray, folds: np.ndarray) -> Int[np.ndarray, " networks"]:
    """Numbers families, the largest one first.

    Families with fewer than `LEAST_FOR_AXES` runs, or with all runs in one fold, share one number. If they have fewer
    runs together, or are in one fold together, they share the number of the smallest other family.

    Args:
        families: Family of each network.
        runs: Run of each network.
        folds: Fold of each network.
    """
    names, numbers = np.unique(families, return_inverse=True)

    def stands_alone(mine: np.ndarray) -> bool:
        return len(set(runs[mine])) >= LEAST_FOR_AXES and len(set(folds[mine])) > 1

    sizes = np.array([len(set(runs[numbers == number])) for number in range(len(names))])
    is_large = np.array([stands_alone(numbers == number) for number in range(len(names))])
    order = np.lexsort((-sizes, ~is_large))
    large = int(is_large.sum())
    part_of = np.empty(len(names), dtype=np.int64)
    part_of[order] = np.minimum(np.arange(len(names)), large)
    if large and not stands_alone(part_of[numbers] == large):
        part_of = np.minimum(part_of, large - 1)
    return part_of[numbers]


def calibrate_together(
    rows: Float[Tensor, "networks features"],
    parts: Int[np.ndarray, " networks"],
    folds: Int[np.ndarray, " networks"],
    axes: int,
    residual_weight: float = RESIDUAL_WEIGHT,
) -> list[Region]:
    """Makes one region per part: a family, or several with a handful of runs each.

    The distance of a network is the least one over all parts, each in its own unit: the median distance of its networks
    to those of other folds, or a twentieth of the largest one if that is more. The calibration of every region holds
    these distances in the unit of its part, so that the largest p-value over the regions is that of the least distance.
    A part of 8 runs thus has its own axes and its own unit, although its p-values alone could not be small.

    Args:
        rows: Descriptions of training networks.
        parts: Number of the part of each network (`number_families`); no part has all its networks in one fold.
        folds: Number of the fold of each network; networks of one run are in the same fold.
        axes: Largest number of principal axes of each part.
        residual_weight: See `sne.predictors.domain.Neighbours.fit`.
    """
    names = sorted(set(parts.tolist()))
    units, scaled = [], []
    for name in names:
        distances = np.zeros(len(rows))
        for fold in sorted(set(folds.tolist())):
            known, held_out = (torch.from_numpy(mine) for mine in ((parts == name) & (folds != fold), folds == fold))
            distances[held_out] = Neighbours.fit(rows[known], axes, residual_weight).distances(rows[held_out])
        own = distances[parts == name]
        units.append(max(float(np.median(own)), LEAST_UNIT * float(own.max()), SMALLEST_UNIT))
        scaled.append(distances / units[-1])
    scores = np.sort(np.min(scaled, axis=0))
    return [
        Region(
            Neighbours.fit(rows[torch.from_numpy(parts == name)], axes, residual_weight),
            torch.from_numpy(scores * unit).float(),
        )
        for name, unit in zip(names, units, strict=True)
    ]


def _describe(
    plan: Plan, reader: NetworkEncoder, places: np.ndarray, *, shuffle: bool
) -> Iterator[Float[Tensor, "networks features"]]:
    """Describes each network, or one shuffled copy of each, in blocks."""
    for start in range(0, len(places), BLOCK):
        some = plan.rows[places[start : start + BLOCK]]
        networks = plan.zoo.networks(some)
        if shuffle:
            networks = [
                shuffled(network, (plan.settings.seed << 20) + int(row))
                for row, network in zip(some, networks, strict=True)
            ]
        description = reader.summarize(reader.prepare(networks))
        assert description is not None, "the encoder describes networks"
        yield description.float()
