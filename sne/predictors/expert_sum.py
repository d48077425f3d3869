"""The weighted sum of experts: what a predictor computes of networks that have been read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders import Limits, NetworkEncoder
from sne.networks import Network
from sne.predictors.domain import Domain
from sne.predictors.experts import Expert, MemberStack, Prepared, predict_together, prepare
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
        domain: The networks that are known; None if that is not known.
    """

    def __init__(
        self,
        encoder: NetworkEncoder,
        properties: Sequence[Property],
        experts: Sequence[Expert],
        weights: Float[np.ndarray, "experts properties"],
        domain: Domain | None,
    ) -> None:
        self.properties = tuple(properties)
        self._encoder, self._experts = encoder, experts
        self._weights, self._domain = weights, domain
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
        return self.combine(prepare(self._encoder, block, with_description=reads_description, limits=limits))

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

    def combine(self, prepared: Prepared) -> Computed:
        """Adds up the weighted values and ranges of the experts; logits and embeddings stand side by side."""
        values, low, high = torch.zeros(3, len(prepared), num_outputs(self.properties), dtype=torch.float64)
        logits, embeddings = [], []
        found = predict_together(self._experts, prepared, self._stacks)
        for outputs, row in zip(found, self._weights, strict=True):
            per_output = torch.from_numpy(np.repeat(row, [prop.num_outputs for prop in self.properties]))
            for total, own in zip((values, low, high), (outputs.values, *outputs.range()), strict=True):
                total += own.double() * per_output
            logits += [] if outputs.logits is None else [outputs.logits]
            embeddings += [] if outputs.embedding is None else [outputs.embedding]
        if not embeddings and prepared.description is not None:
            embeddings = [prepared.description.float()]
        stacked = torch.stack(logits) if logits else torch.zeros(0, *values.shape)
        p_values = None
        if self._domain is not None and prepared.description is not None:
            p_values = torch.from_numpy(self._domain.p_values(prepared.description))
        return Computed(values, low, high, stacked, torch.cat(embeddings, dim=1), p_values)
