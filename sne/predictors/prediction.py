"""What a predictor says about networks: one network and property at a time, or a block of networks as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


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
    """

    source: str
    property: str
    value: float | str
    low: float | None = None
    high: float | None = None
    probabilities: Mapping[str, float] | None = None


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
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "networks outputs"]
    logits: Float[np.ndarray, "experts networks outputs"]
    embedding: Float[np.ndarray, "networks dim"]
    num_as_stored: int = 0
