"""Discriminator: a small perceptron that tells networks from shuffled copies of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import PredictorError

LARGEST_FEATURE = 6.0
"""Bound on the magnitude of scaled features."""

LARGEST_LOGIT = 50.0
"""Bound on the magnitude of a logit."""

SMALLEST_SPREAD = 1e-4
"""Features that vary less among the training networks are not read."""


@final
@dataclass(frozen=True)
class Discriminator:
    """Tells networks from copies of them whose weights changed places within each tensor.

    It reads descriptions through two hidden layers. What it finds is not the places of the weights alone, but whether
    they go with the rest: sizes and biases of a network that has learned, with weights in random order.

    Args:
        shift: Mean of each feature.
        gain: One over the spread of each feature; 0 for those that are not read.
        first: Weights of the first hidden layer.
        first_bias: Its biases.
        second: Weights of the second hidden layer.
        second_bias: Its biases.
        last: Weights of the output.
        last_bias: Its bias.
    """

    shift: Float[Tensor, " features"]
    gain: Float[Tensor, " features"]
    first: Float[Tensor, "hidden features"]
    first_bias: Float[Tensor, " hidden"]
    second: Float[Tensor, "hidden_2 hidden"]
    second_bias: Float[Tensor, " hidden_2"]
    last: Float[Tensor, "1 hidden_2"]
    last_bias: Float[Tensor, " 1"]

    @staticmethod
    def scale_of(rows: Float[Tensor, "networks features"]) -> tuple[Tensor, Tensor]:
        """Returns shift and gain of the features of the training networks."""
        shift, spread = rows.double().mean(0), rows.double().std(0, unbiased=False)
        gain = torch.where(spread > SMALLEST_SPREAD, 1 / spread.clamp_min(SMALLEST_SPREAD), 0.0)
        return shift.float(), gain.float()

    @property
    def num_features(self) -> int:
        """Length of the descriptions that it reads."""
        return len(self.shift)

    def logits(self, description: Float[Tensor, "networks features"]) -> Float[np.ndarray, " networks"]:
        """Returns the log odds that each network is a shuffled copy, within plus and minus `LARGEST_LOGIT`."""
        values = scaled(description.float(), self.shift, self.gain)
        for weight, bias in ((self.first, self.first_bias), (self.second, self.second_bias)):
            values = torch.nn.functional.silu(torch.nn.functional.linear(values, weight.float(), bias))
        found = torch.nn.functional.linear(values, self.last.float(), self.last_bias)[:, 0]
        return found.nan_to_num(LARGEST_LOGIT).clamp(-LARGEST_LOGIT, LARGEST_LOGIT).double().numpy()

    def to_tensors(self) -> dict[str, Tensor]:
        """Returns its contents by name. Inverse: `from_tensors`."""
        return {name: tensor.contiguous() for name, tensor in vars(self).items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], num_features: int) -> "Discriminator":
        """Builds a discriminator from tensors that may come from a damaged file. Inverse: `to_tensors`.

        Args:
            tensors: Its contents by name.
            num_features: Length of the descriptions that it reads.

        Raises:
            PredictorError: A tensor is missing, or has another shape or type, or values that are not finite.
        """
        names = [field.name for field in fields(cls)]
        if sorted(tensors) != sorted(names):
            raise PredictorError(f"the discriminator of the known domain holds {', '.join(sorted(tensors))}")
        hidden, hidden_2 = tensors["first_bias"].numel(), tensors["second_bias"].numel()
        shapes = {
            "shift": (num_features,),
            "gain": (num_features,),
            "first": (hidden, num_features),
            "first_bias": (hidden,),
            "second": (hidden_2, hidden),
            "second_bias": (hidden_2,),
            "last": (1, hidden_2),
            "last_bias": (1,),
        }
        for name, shape in shapes.items():
            tensor = tensors[name]
            if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
                raise PredictorError(f"the known domain: {name} is {tuple(tensor.shape)} {tensor.dtype}")
            if not math.isfinite(float(tensor.double().abs().sum())):
                raise PredictorError(f"the known domain: {name} holds values that are not finite")
        if bool(((tensors["gain"] < 0) | (tensors["gain"] > 1.001 / SMALLEST_SPREAD)).any()):
            raise PredictorError("the known domain: gain holds values that cannot come from training")
        return cls(**{name: tensors[name] for name in names})


def scaled(
    rows: Float[Tensor, "networks features"], shift: Float[Tensor, " features"], gain: Float[Tensor, " features"]
) -> Float[Tensor, "networks features"]:
    """Returns features in units of their spread, within plus and minus `LARGEST_FEATURE`."""
    return ((rows - shift) * gain).nan_to_num().clamp_(-LARGEST_FEATURE, LARGEST_FEATURE)
