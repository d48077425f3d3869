"""What a predictor says about networks: one network and property at a time, or a block of networks as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sne.predictors.properties import Property, num_outputs, output_slices


@dataclass(frozen=True)
class Sample:
    """The sample of a network's weights that was read under a budget: two independent halves, whose mean is the result.

    Args:
        num_read: Number of weights that were read.
        num_weights: Number of weights of the network.
        budget: Number of weights that should have been read at most.
        embedding_difference: Distance of the embeddings of the halves, as a share of the length of their mean.
        differences: Difference of the halves in each number of `PredictedBlock.values`. The error of the mean may be
            larger: what both halves miss does not show.
    """

    num_read: int
    num_weights: int
    budget: int
    embedding_difference: float
    differences: Float[np.ndarray, " outputs"]

    def describe(self, properties: Sequence[Property]) -> str:
        """Returns a line about the sample, and the differences of its halves in the properties and the embedding."""
        wheres = zip(properties, output_slices(properties), strict=True)
        found = ", ".join(f"{prop.name} {self.differences[where].max():.1g}" for prop, where in wheres)
        beyond = f" (more than the budget of {self.budget:,}, to represent every tensor)" if self.is_beyond else ""
        return (
            f"a sample of {self.num_read:,} of {self.num_weights:,} weights was read{beyond}; its halves differ by: "
            f"{found}, embedding {self.embedding_difference:.1g} of its length"
        )

    @property
    def is_beyond(self) -> bool:
        """Whether more weights were read than the budget, because every tensor gives some."""
        return self.num_read > self.budget


@dataclass(frozen=True)
class Prediction:
    """Prediction of one property of one network.

    Args:
        source: Name of the network: a path, an id of a zoo, the class of a module.
        property: Name of the property.
        value: A number, or the most probable class.
        low: Lower end of the 90% interval, which is wider where the experts are in doubt; None for classes, and where
            too few labels gave no interval.
        high: Upper end of the interval.
        probabilities: Probability of each class; None for numbers.
        num_read: Number of weights that were read, where a budget has left a sample; None where all were.
        num_weights: Number of weights of the network, where a budget has left a sample.
        difference_of_halves: Difference in the value, or in the probability of the class, between the two halves of the
            sample. The error due to sampling may be larger. None where all weights were read.
        p_value: Estimated bound on the share of networks of the known domain that are as strange as this one
            (`sne.predictors.domain`); None if the domain is not known.
        in_domain: Whether the network is like those that the predictor has learned from, that is whether the p-value is
            not below `sne.predictors.domain.LEAST_P`; None if the domain is not known.
    """

    source: str
    property: str
    value: float | str
    low: float | None = None
    high: float | None = None
    probabilities: Mapping[str, float] | None = None
    num_read: int | None = None
    num_weights: int | None = None
    difference_of_halves: float | None = None
    p_value: float | None = None
    in_domain: bool | None = None


@dataclass(frozen=True)
class PredictedArrays:
    """Predictions as arrays, by name of the property.

    Args:
        values: Numbers, or class probabilities.
        logits: Outputs before sigmoid, softmax or scale of each expert that has logits.
        ends: Low and high ends of the 90% intervals; nan where there are none. Without properties that are classes.
    """

    values: Mapping[str, Float[np.ndarray, "networks ..."]]
    logits: Mapping[str, Float[np.ndarray, "experts networks outputs"]]
    ends: Mapping[str, tuple[Float[np.ndarray, " networks"], Float[np.ndarray, " networks"]]]

    @classmethod
    def of(
        cls, blocks: Sequence["PredictedBlock"], properties: Sequence[Property], num_with_logits: int
    ) -> "PredictedArrays":
        """Joins blocks.

        Args:
            blocks: The blocks; none gives empty arrays.
            properties: The properties that they hold.
            num_with_logits: Number of experts that have logits.
        """
        width, none = num_outputs(properties), np.zeros((0, len(properties)))
        values = np.concatenate([np.zeros((0, width)), *(block.values for block in blocks)])
        no_logits = np.zeros((num_with_logits, 0, width), dtype=np.float32)
        logits = np.concatenate([no_logits, *(block.logits for block in blocks)], axis=1)
        low = np.concatenate([none, *(block.low for block in blocks)])
        high = np.concatenate([none, *(block.high for block in blocks)])
        slices = dict(zip(properties, output_slices(properties), strict=True))
        return cls(
            {p.name: values[:, where] if p.kind == "class" else values[:, where.start] for p, where in slices.items()},
            {p.name: logits[:, :, where] for p, where in slices.items()},
            {p.name: (low[:, n], high[:, n]) for n, p in enumerate(properties) if p.kind != "class"},
        )


@dataclass(frozen=True)
class PredictedBlock:
    """What a predictor computes of some networks.

    Args:
        names: Names of the networks, see `Prediction.source`.
        values: Properties in their own units (numbers, class probabilities) side by side, float64.
        logits: The values before sigmoid, softmax or scale of each expert that has some, float32.
        embedding: One vector per network, float32.
        low: Lower end of the 90% interval of each property; nan for classes, and where there are no intervals.
        high: Upper end of the interval.
        num_as_stored: Number of networks that a canonical predictor (`Predictor.is_canonical`) reads as they are
            stored, because their names and shapes do not show which neurons can be scaled or change sign.
        sample: The sample that was read of the network, which is then the only one of its block; None where all weights
            were read.
        p_values: P-value of each network, see `Prediction.p_value`; None if the domain is not known.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "networks outputs"]
    logits: Float[np.ndarray, "experts networks outputs"]
    embedding: Float[np.ndarray, "networks dim"]
    low: Float[np.ndarray, "networks properties"]
    high: Float[np.ndarray, "networks properties"]
    num_as_stored: int = 0
    sample: Sample | None = None
    p_values: Float[np.ndarray, " networks"] | None = None
