"""The weighted sum of experts: what a predictor computes of networks that have been read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sne.encoders import Limits, NetworkEncoder
from sne.errors import PredictorError
from sne.networks import Network
from sne.predictors.domain import LEAST_P, Domain
from sne.predictors.doubts import is_incomplete
from sne.predictors.experts import EXPERTS, Expert, MemberStack, Prepared, predict_together, prepare
from sne.predictors.prediction import Sample
from sne.predictors.properties import Property, num_outputs


@dataclass(frozen=True)
class Computed:
    """What experts and domain say about networks.

    Args:
        values: Weighted values of the experts.
        low: Weighted lower ends of their ranges, see `Outputs.low`.
        high: Weighted upper ends.
        logits: Logits of each expert that has some.
        embedding: Embeddings side by side.
        p_values: P-values of the domain; None without a domain.
    """

    values: Float[Tensor, "networks outputs"]
    low: Float[Tensor, "networks outputs"]
    high: Float[Tensor, "networks outputs"]
    logits: Float[Tensor, "experts networks outputs"]
    embedding: Float[Tensor, "networks dim"]
    p_values: Float[Tensor, " networks"] | None

    @property
    def is_outside(self) -> Bool[Tensor, " networks"]:
        """Whether each network is known to be outside the domain."""
        return _is_outside(self.p_values, len(self.values))

    def mean(self, other: "Computed") -> "Computed":
        """Joins two samples of a network: means, and the smaller p-value."""
        p_values = None
        if self.p_values is not None and other.p_values is not None:
            p_values = torch.minimum(self.p_values, other.p_values)
        return Computed(
            (self.values + other.values) / 2,
            (self.low + other.low) / 2,
            (self.high + other.high) / 2,
            (self.logits + other.logits) / 2,
            (self.embedding + other.embedding) / 2,
            p_values,
        )


@final
class ExpertSum:
    """Computes networks with weighted experts.

    Args:
        encoder: Reads networks for the experts.
        properties: The properties that they predict.
        experts: The experts.
        weights: Weight of each expert for each property.
        weights_outside: The same for networks outside the domain.
        domain: The networks that are known; None if that is not known.

    Raises:
        PredictorError: Weights and experts do not fit each other.
    """

    def __init__(
        self,
        encoder: NetworkEncoder,
        properties: Sequence[Property],
        experts: Sequence[Expert],
        weights: Float[np.ndarray, "experts properties"],
        weights_outside: Float[np.ndarray, "experts properties"],
        domain: Domain | None,
    ) -> None:
        if not experts or not properties:
            raise PredictorError(f"a predictor needs experts and properties, got {len(experts)} and {len(properties)}")
        for rows in (weights, weights_outside):
            if rows.shape != (len(experts), len(properties)):
                raise PredictorError(f"weights have shape {rows.shape}, expected {(len(experts), len(properties))}")
            if not ((rows >= 0).all() and np.allclose(rows.sum(axis=0), 1, atol=1e-6)):
                raise PredictorError("the weights of the experts are negative or do not add up to 1")
        self.properties = tuple(properties)
        self._encoder, self._experts = encoder, tuple(experts)
        self._domain = domain
        counts = [prop.num_outputs for prop in properties]
        self._weights, self._weights_outside = (
            torch.from_numpy(np.repeat(rows, counts, axis=1)) for rows in (weights, weights_outside)
        )
        self._stacks: dict[int, MemberStack] = {}

    @property
    def is_canonical(self) -> bool:
        """Whether networks are read at the canonical point of their orbit under scalings and sign flips."""
        return self._encoder.canonical

    def compute(self, block: list[Network], limits: Limits) -> Computed:
        """Computes networks of which no sample is read, because they are small or a sample would be no smaller."""
        is_small = limits.budget is None or all(network.num_weights <= limits.budget for network in block)
        return self._compute_together(block, limits if is_small else replace(limits, budget=None))

    def _compute_together(self, block: list[Network], limits: Limits) -> Computed:
        """Predicts and encodes networks that are read together."""
        reads_description = self._domain is not None or any(expert.reads_description for expert in self._experts)
        prepared = prepare(self._encoder, block, with_description=reads_description, limits=limits)
        return self.combine(prepared, torch.tensor([is_incomplete(network) for network in block]))

    def is_sampled(self, network: Network, limits: Limits) -> bool:
        """Whether a budget leaves a sample of a network's weights."""
        if limits.budget is None or network.num_weights <= limits.budget:
            return False
        return sum(self._encoder.num_read(network, half) for half in limits.halves()) < network.num_weights

    def compute_sample(self, network: Network, limits: Limits) -> tuple[Computed, Sample]:
        """Returns the means of two samples of half the budget, and what their differences say."""
        halves = limits.halves()
        one, other = (self._compute_together([network], half) for half in halves)
        num_read = sum(self._encoder.num_read(network, half) for half in halves)
        both = one.mean(other)
        differences = (one.values - other.values)[0].abs().numpy()
        share = float((one.embedding - other.embedding).norm() / both.embedding.norm().clamp_min(1e-12))
        budget = limits.budget or num_read
        return both, Sample(num_read, network.num_weights, budget, share, differences)

    def combine(self, prepared: Prepared, is_part: Bool[Tensor, " networks"]) -> Computed:
        """Adds up the weighted values and ranges of the experts; logits and embeddings stand side by side.

        Experts that have no weight for any of these networks are not asked, unless they have embeddings.

        Args:
            prepared: The networks.
            is_part: Whether a part of a network is all that was read; it is outside the known domain then.
        """
        p_values = None
        if self._domain is not None and prepared.description is not None:
            p_values = torch.from_numpy(self._domain.p_values(prepared.description))
            p_values = torch.where(is_part, torch.zeros_like(p_values), p_values)
        is_outside = _is_outside(p_values, len(prepared))
        rows = torch.where(is_outside[:, None, None], self._weights_outside, self._weights)
        asked = [n for n, expert in enumerate(self._experts) if expert.embedding_dim or bool(rows[:, n].any())]
        found = predict_together([self._experts[n] for n in asked], prepared, self._stacks)
        values, low, high = torch.zeros(3, len(prepared), num_outputs(self.properties), dtype=torch.float64)
        logits, embeddings = [], []
        for n, outputs in zip(asked, found, strict=True):
            for total, own in zip((values, low, high), (outputs.values, *outputs.range()), strict=True):
                total += own.double() * rows[:, n]
            logits += [] if outputs.logits is None else [outputs.logits]
            embeddings += [] if outputs.embedding is None else [outputs.embedding]
        if not embeddings and prepared.description is not None:
            embeddings = [prepared.description.float()]
        stacked = torch.stack(logits) if logits else torch.zeros(0, *values.shape, dtype=torch.float32)
        return Computed(values, low, high, stacked, torch.cat(embeddings, dim=1), p_values)


def weights_by_kind(
    experts: Sequence[Expert], properties: Sequence[Property], weights: Float[np.ndarray, "experts properties"]
) -> dict[str, dict[str, float]]:
    """Adds up the weights of the experts of each kind, by the name of the kind, then of the property."""
    names = {kind: name for name, kind in EXPERTS.items()}
    totals: dict[str, dict[str, float]] = {}
    for expert, row in zip(experts, weights, strict=True):
        total = totals.setdefault(names[type(expert)], dict.fromkeys((prop.name for prop in properties), 0.0))
        for prop, weight in zip(properties, row, strict=True):
            total[prop.name] += float(weight)
    return totals


def _is_outside(p_values: Float[Tensor, " networks"] | None, networks: int) -> Bool[Tensor, " networks"]:
    return torch.zeros(networks, dtype=torch.bool) if p_values is None else p_values < LEAST_P
