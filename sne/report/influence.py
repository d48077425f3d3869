"""Which layers a prediction rests on: how far it moves when the weights of a layer change places, and attention."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from sne.encoders import TensorSetEncoder
from sne.networks import Layer, Network
from sne.networks.shuffled import shuffled
from sne.predictors import Predictor
from sne.predictors.experts import NeuralExpert

MOST_GROUPS = 24
"""Largest number of groups of layers whose influence is measured."""

MOST_READ = 120_000_000
"""Largest number of weights that are read for all copies of a network together, which bounds the time."""

MOST_DRAWS = 8
"""Largest number of copies per group; small networks have so many."""

LEAST_GROUPS = 6
"""Number of groups down to which those of a large network are joined; a larger network has none."""


@dataclass(frozen=True)
class GroupInfluence:
    """What a group of neighbouring layers contributes to predictions.

    Args:
        layers: Names of the layers.
        num_weights: Number of their weights.
        attention: Share of the attention of the encoders that goes to their tensors; None without such encoders.
        changes: Mean change of each property when the weights change places: of a number, or of the probability of
            the class that was predicted.
        movements: Mean magnitude of that change.
    """

    layers: tuple[str, ...]
    num_weights: int
    attention: float | None
    changes: Mapping[str, float]
    movements: Mapping[str, float]

    @property
    def label(self) -> str:
        """The name of the only layer, or the first and the last one."""
        return self.layers[0] if len(self.layers) == 1 else f"{self.layers[0]} … {self.layers[-1]}"


@dataclass(frozen=True)
class Influence:
    """What the layers of a network contribute to predictions.

    Args:
        groups: Groups of neighbouring layers, in the order of layers.
        draws: Number of copies per group.
        attention_to_outputs: Share of the attention that goes to the outputs, the answers of the last layer to signals;
            None without encoders that attend.
    """

    groups: tuple[GroupInfluence, ...]
    draws: int
    attention_to_outputs: float | None

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain values."""
        return asdict(self) | {"groups": [{**asdict(group), "layers": list(group.layers)} for group in self.groups]}


def find_influence(predictor: Predictor, network: Network, *, seed: int = 0) -> Influence | None:
    """Measures how far predictions move when the weights of some layers change places.

    The layers are divided into at most `MOST_GROUPS` groups of neighbours: a matrix, the layers beside it, and the
    norms after it. For each group, copies of the network are made in which the entries of every tensor of the group are
    shuffled within the tensor. Its distribution and its scale stay; which neuron is connected with which is lost. The
    copies are predicted by the same experts with the same weights as the network, also where a copy would be outside
    the known domain. This is permutation importance of tensors.

    Args:
        predictor: The predictor.
        network: A network that is not outside the known domain, whose values are finite.
        seed: Random seed of the copies.

    Returns:
        The influence of each group; None for a network so large that `LEAST_GROUPS` copies exceed `MOST_READ`.

    Source: Breiman, "Random Forests", Machine Learning 45, 2001, section 10, permutation importance.
    Differs: what is shuffled is one tensor within one network, not one feature among networks.
    """
    most = min(MOST_GROUPS, MOST_READ // max(network.num_weights, 1))
    groups = _group(network.layers, most)
    if most < LEAST_GROUPS or not groups:
        return None
    draws = max(1, min(MOST_DRAWS, MOST_READ // (20 * len(groups) * network.num_weights)))
    known = Predictor(predictor.encoder, predictor.properties, predictor.experts, predictor.weights)
    copies = [shuffled(network, seed + draw, group) for group in groups for draw in range(draws)]
    found = known.values([network, *copies])
    attention = _attention(known, network)
    result = []
    for place, group in enumerate(groups):
        moved = {}
        for name, values in found.items():
            column = values if values.ndim == 1 else values[:, int(np.argmax(values[0]))]
            moved[name] = column[1 + place * draws : 1 + (place + 1) * draws] - column[0]
        result.append(
            GroupInfluence(
                tuple(layer.name for layer in group),
                sum(part.num_entries for layer in group for part in layer.parts),
                None if attention is None else sum(attention.get(layer.name, 0.0) for layer in group),
                {name: float(change.mean()) for name, change in moved.items()},
                {name: float(np.abs(change).mean()) for name, change in moved.items()},
            )
        )
    outputs = None if attention is None else max(0.0, 1 - sum(attention.values()))
    return Influence(tuple(result), draws, outputs)


def _group(layers: Sequence[Layer], most: int) -> list[tuple[Layer, ...]]:
    """Divides layers into groups of neighbours; each begins with a matrix at a new level, but for the first one."""
    groups: list[list[Layer]] = []
    for layer in layers:
        has_matrix = any(part.in_axis is not None for part in layer.parts)
        last = groups[-1] if groups else None
        is_new = last is None or (
            has_matrix
            and layer.level != last[-1].level
            and any(p.in_axis is not None for one in last for p in one.parts)
        )
        if is_new or last is None:
            groups.append([layer])
        else:
            last.append(layer)
    if most < 1 or not groups:
        return []
    size = math.ceil(len(groups) / most)
    return [
        tuple(layer for group in groups[start : start + size] for layer in group)
        for start in range(0, len(groups), size)
    ]


def _attention(predictor: Predictor, network: Network) -> dict[str, float] | None:
    """Returns the share of attention that the tensors of each layer have, as a mean over experts by their weight."""
    totals: dict[str, float] = {}
    whole = 0.0
    items: list[Any] | None = None
    for expert, row in zip(predictor.experts, predictor.weights, strict=True):
        weight = float(row.mean())
        if not isinstance(expert, NeuralExpert) or not isinstance(expert.model.encoder, TensorSetEncoder) or not weight:
            continue
        encoder = expert.model.encoder
        items = predictor.encoder.prepare([network]) if items is None else items
        with torch.inference_mode():
            (shares,) = encoder.attention(encoder.collate(items).to(expert.model.device))
        names = [layer.name for layer, part in network.parts() if part.num_entries]
        for name, share in zip(names, shares.tolist(), strict=False):
            totals[name] = totals.get(name, 0.0) + weight * share
        whole += weight
    return {name: total / whole for name, total in totals.items()} if whole else None
