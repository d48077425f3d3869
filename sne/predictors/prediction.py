"""What a predictor says about networks: one network and property at a time, or a block of networks as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sne.predictors.properties import Property, output_slices


@dataclass(frozen=True)
class Sample:
    """The sample of a network's weights that was read under a budget: two independent halves, whose mean is the result.

    Args:
        num_read: Number of weights that were read.
        num_weights: Number of weights of the network.
        embedding_error: Standard error of the embedding due to sampling, as a share of its length: half the distance of
            the halves' embeddings.
        errors: Standard error of each number of `PredictedBlock.values`: half the difference of the halves, a rough
            estimate.
    """

    num_read: int
    num_weights: int
    embedding_error: float
    errors: Float[np.ndarray, " outputs"]

    def describe(self, properties: Sequence[Property]) -> str:
        """Returns a line about the sample and the errors of the embedding and of the properties, in this order."""
        wheres = zip(properties, output_slices(properties), strict=True)
        errors = ", ".join(f"{prop.name} {self.errors[where].max():.1g}" for prop, where in wheres)
        return (
            f"a sample of {self.num_read:,} of {self.num_weights:,} weights was read; estimated standard errors due to "
            f"sampling: {errors}, embedding {self.embedding_error:.1g} of its length"
        )


@dataclass(frozen=True)
class Prediction:
    """Prediction of one property of one network.

    Args:
        source: Name of the network: a path, an id of a zoo, the class of a module.
        property: Name of the property.
        value: A number, or the most probable class.
        low: Lower end of the 90% interval; None for classes, and where too few labels gave no interval.
        high: Upper end of the interval.
        probabilities: Probability of each class; None for numbers.
        num_read: Number of weights that were read, where a budget has left a sample; None where all were.
        num_weights: Number of weights of the network, where a budget has left a sample.
        sampling_error: Standard error of the value, or of the probability of the class, due to sampling; a rough
            estimate. None where all weights were read.
    """

    source: str
    property: str
    value: float | str
    low: float | None = None
    high: float | None = None
    probabilities: Mapping[str, float] | None = None
    num_read: int | None = None
    num_weights: int | None = None
    sampling_error: float | None = None


@dataclass(frozen=True)
class PredictedBlock:
    """What a predictor computes of some networks.

    Args:
        names: Names of the networks, see `Prediction.source`.
        values: Properties in their own units (numbers, class probabilities) side by side, float64.
        logits: The values before sigmoid, softmax or scale of each expert that has some, float32.
        embedding: One vector per network, float32.
        num_as_stored: Number of networks that a canonical predictor (`Predictor.is_canonical`) reads as they are
            stored, because their names and shapes do not show which neurons can be scaled or change sign.
        sample: The sample that was read of the network, which is then the only one of its block; None where all weights
            were read.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "networks outputs"]
    logits: Float[np.ndarray, "experts networks outputs"]
    embedding: Float[np.ndarray, "networks dim"]
    num_as_stored: int = 0
    sample: Sample | None = None
