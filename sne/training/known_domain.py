"""The known domain of a predictor, learned from its training networks and shuffled copies of them."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor

from sne.encoders import NetworkEncoder
from sne.networks.shuffled import shuffled
from sne.predictors.domain import LEAST_CALIBRATION, Domain, Neighbours, shuffled_chances
from sne.predictors.experts import Examples
from sne.predictors.experts.contract import spaced
from sne.predictors.experts.forest import grow_forest, tree_nodes
from sne.predictors.experts.state import derive_seed
from sne.predictors.experts.trees import Trees, join_trees
from sne.predictors.intervals import Interval, conformal_half_width
from sne.predictors.properties import Property
from sne.training.plan import Plan

MOST_NETWORKS = 2000
"""Number of networks that a domain is learned from; of more, so many are taken at equal distances."""

TREES = 60
"""Number of trees that tell networks from shuffled copies."""

SHARE_OF_FEATURES = 0.1
"""Share of the features that these trees try per split."""

LEAST_IN_A_LEAF = 3
"""Smallest number of networks in a leaf of these trees."""

LEAST_IN_A_FAMILY = 20
"""Number of labels from which on a family is left out to see what is lost on unseen families."""

FAMILY_TREES = 60
"""Number of trees that judge a family that is left out."""

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
    distances, chances = [], []
    for number, fold in enumerate(plan.folds):
        held_out = torch.from_numpy(np.isin(places, fold.held_out))
        if bool(held_out.any()) and not bool(held_out.all()):
            distances.append(Neighbours.fit(rows[~held_out]).distances(rows[held_out]))
            trees = _grow(rows[~held_out], copies[~held_out], derive_seed(plan.settings.seed, "domain", number))
            chances.append(shuffled_chances(trees, rows[held_out]))
        on_progress(described + number + 1, steps, "folds")
    trees = _grow(rows, copies, derive_seed(plan.settings.seed, "domain"))
    on_progress(steps, steps, "folds")
    as_large = [torch.from_numpy(np.sort(np.concatenate(scores))).float() for scores in (distances, chances)]
    return Domain(Neighbours.fit(rows), as_large[0], trees, as_large[1])


def intervals_outside(
    plan: Plan, examples: Examples, on_progress: Callable[[int, int, str], None]
) -> dict[str, Interval | None]:
    """Measures how far predictions are off on families that were left out of training.

    Args:
        plan: The training run.
        examples: The networks of the run, with descriptions.
        on_progress: Called with the number of families that were left out, of all, and the property.

    Returns:
        Intervals of one width that hold 90% of the labels of left-out families, for each property that is a number, by
        trees on the description. None where the zoo has fewer than two families with enough labels.
    """
    families = np.array([plan.zoo.families[row] for row in plan.rows])
    description = examples.prepared.description
    found: dict[str, Interval | None] = {}
    for column, prop in enumerate(plan.properties):
        if prop.kind == "class" or description is None:
            continue
        labels = examples.targets[:, column].double().numpy()
        known = ~np.isnan(labels)
        names = [
            name
            for name in sorted(set(families[known].tolist()))
            if (families[known] == name).sum() >= LEAST_IN_A_FAMILY
        ]
        found[prop.name] = None
        if len(names) < 2:
            continue
        measured, predicted = [], []
        for number, name in enumerate(names):
            inside, left_out = known & (families != name), known & (families == name)
            known_there = Property.infer(prop.name, labels[inside])  # ranks without the labels of the family
            forest = grow_forest(
                known_there, description[inside].numpy(), labels[inside], trees=FAMILY_TREES,
                seed=derive_seed(plan.settings.seed, "left out", name),
            )  # fmt: skip
            ranks = forest.leaf_outputs(description[left_out]).mean(1)
            measured.append(labels[left_out])
            predicted.append(known_there.at_ranks(ranks).double().numpy()[:, 0])
            on_progress(number + 1, len(names), prop.name)
        half_width = conformal_half_width(np.concatenate(measured), np.concatenate(predicted))
        found[prop.name] = None if half_width is None else Interval(0.0, 0.0, half_width)
    return found


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
        "n_estimators": TREES,
        "max_features": SHARE_OF_FEATURES,
        "min_samples_leaf": LEAST_IN_A_LEAF,
        "random_state": seed % 2**32,
        "n_jobs": torch.get_num_threads(),
    }
    model: Any = ExtraTreesClassifier(**settings)
    model.fit(torch.cat([rows, copies]).numpy(), np.repeat([0, 1], [len(rows), len(copies)]))
    return join_trees([tree_nodes(tree.tree_, [0, 1], 2) for tree in model.estimators_])
