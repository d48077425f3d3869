"""The known domain of a predictor, learned from its training networks and shuffled copies of them."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor

from sne.encoders import NetworkEncoder
from sne.networks.shuffled import shuffled
from sne.predictors.domain import LEAST_CALIBRATION, Domain, Neighbours, Region, most_axes, shuffled_chances
from sne.predictors.experts import Examples
from sne.predictors.experts.contract import spaced
from sne.predictors.experts.forest import tree_nodes
from sne.predictors.experts.state import derive_seed
from sne.predictors.experts.trees import Trees, join_trees
from sne.training.plan import Plan

MOST_NETWORKS = 2000
"""Number of networks that a domain is learned from; of more, so many are taken at equal distances."""

LEAST_IN_A_REGION = 140
"""Least number of networks of a family with its own region; with fewer, one odd network would hide all others."""

SHUFFLE_TREES = 60
"""Number of trees that tell networks from shuffled copies."""

SHARE_OF_FEATURES = 0.1
"""Share of the features that these trees try per split."""

LEAST_IN_A_LEAF = 3
"""Smallest number of networks in a leaf of these trees."""

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
        The domain; None where no expert reads descriptions, there are no folds to calibrate it, or the networks are so
        few that no p-value could be below `sne.predictors.domain.LEAST_P`.
    """
    description = examples.prepared.description
    places = spaced(len(plan.rows), MOST_NETWORKS)
    if description is None or len(plan.folds) < 2 or len(places) < LEAST_CALIBRATION:
        return None
    rows = description[torch.from_numpy(places)].float()
    described = math.ceil(len(places) / BLOCK)
    steps = described + len(plan.folds) + 1
    blocks = []
    for block in _describe_copies(plan, reader, places):
        blocks.append(block)
        on_progress(len(blocks), steps, "shuffled copies")
    copies = torch.cat(blocks)
    chances = []
    for number, fold in enumerate(plan.folds):
        held_out = torch.from_numpy(np.isin(places, fold.held_out))
        if bool(held_out.any()) and not bool(held_out.all()):
            trees = _grow(rows[~held_out], copies[~held_out], derive_seed(plan.settings.seed, "domain", number))
            chances.append(shuffled_chances(trees, rows[held_out]))
        on_progress(described + number + 1, steps, "folds")
    trees = _grow(rows, copies, derive_seed(plan.settings.seed, "domain"))
    on_progress(steps, steps, "folds")
    return Domain(_regions(plan, rows, places), trees, _ascending(chances))


def _ascending(parts: Sequence[np.ndarray]) -> Float[Tensor, " networks"]:
    return torch.from_numpy(np.sort(np.concatenate(parts))).float()


def _regions(plan: Plan, rows: Float[Tensor, "networks features"], places: np.ndarray) -> list[Region]:
    """Makes one region per family; families with few networks share one."""
    families = np.array([plan.zoo.families[row] for row in plan.rows[places]])
    fold_of = np.array([next(n for n, fold in enumerate(plan.folds) if place in fold.held_out) for place in places])

    def stands_alone(group: Sequence[str]) -> bool:
        mine = np.isin(families, group)
        return bool(mine.sum() >= LEAST_IN_A_REGION) and len(set(fold_of[mine])) > 1

    names = sorted(set(families.tolist()))
    groups = [[name] for name in names if stands_alone([name])]
    if rest := [name for name in names if not stands_alone([name])]:
        groups = [*groups, rest] if not groups or stands_alone(rest) else [*groups[:-1], [*groups[-1], *rest]]
    axes = most_axes(len(groups))
    regions = []
    for group in groups:
        mine, scores = np.isin(families, group), []
        for fold in sorted(set(fold_of[mine])):
            held_out = mine & (fold_of == fold)
            if (mine & ~held_out).any():
                known = Neighbours.fit(rows[torch.from_numpy(mine & ~held_out)], axes)
                scores.append(known.distances(rows[torch.from_numpy(held_out)]))
        regions.append(Region(Neighbours.fit(rows[torch.from_numpy(mine)], axes), _ascending(scores)))
    return regions


def _describe_copies(
    plan: Plan, reader: NetworkEncoder, places: np.ndarray
) -> Iterator[Float[Tensor, "networks features"]]:
    """Describes one shuffled copy of each network, in blocks."""
    for start in range(0, len(places), BLOCK):
        some = plan.rows[places[start : start + BLOCK]]
        networks = [
            shuffled(network, derive_seed(plan.settings.seed, "shuffled", int(row)) % 2**31)
            for row, network in zip(some, plan.zoo.networks(some), strict=True)
        ]
        description = reader.summarize(reader.prepare(networks))
        assert description is not None, "the encoder describes networks"
        yield description.float()


def _grow(rows: Float[Tensor, "n features"], copies: Float[Tensor, "n features"], seed: int) -> Trees:
    """Grows trees that tell networks from shuffled copies."""
    settings: dict[str, Any] = {
        "n_estimators": SHUFFLE_TREES,
        "max_features": SHARE_OF_FEATURES,
        "min_samples_leaf": LEAST_IN_A_LEAF,
        "random_state": seed % 2**32,
        "n_jobs": torch.get_num_threads(),
    }
    model: Any = ExtraTreesClassifier(**settings)
    model.fit(torch.cat([rows, copies]).numpy(), np.repeat([0, 1], [len(rows), len(copies)]))
    return join_trees([tree_nodes(tree.tree_, [0, 1], 2) for tree in model.estimators_])
