"""Coordinates to the values of one signal: what implicit neural representations learn."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from sne.zoo.store.columns import Value


@dataclass(frozen=True)
class SignalFit:
    """Fits one signal, by mean squared error.

    Args:
        dataset: what the column `dataset` says.
        inputs: coordinates.
        targets: the signal there.
        between: coordinates that are not trained on.
        between_targets: the signal there.
        peak: largest value minus smallest that the signal may have, for the signal-to-noise ratio.
        labels: what is known of the signal: properties to predict from weights.
    """

    dataset: str
    inputs: Float[Tensor, "points inputs"]
    targets: Float[Tensor, "points outputs"]
    between: Float[Tensor, "others inputs"]
    between_targets: Float[Tensor, "others outputs"]
    peak: float
    labels: Mapping[str, Value] = field(default_factory=dict)

    @property
    def num_examples(self) -> int:
        """Number of coordinates to train on."""
        return len(self.inputs)

    def batch(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch inputs"], Float[Tensor, "batch outputs"]]:
        """Coordinates and values; all of them as they are, without a copy."""
        if len(rows) == len(self.inputs):
            return self.inputs, self.targets
        return self.inputs[rows], self.targets[rows]

    def loss(
        self, outputs: Float[Tensor, "batch outputs"], targets: Float[Tensor, "batch outputs"]
    ) -> Float[Tensor, ""]:
        """Mean squared error."""
        return mse_loss(outputs, targets)

    @torch.inference_mode()
    def measure(self, module: nn.Module) -> dict[str, Value]:
        """Errors on and between the coordinates of training, and the peak signal-to-noise ratio in decibel.

        Args:
            module: the network; left in evaluation mode.

        Returns:
            Properties by name; what is not finite is None.
        """
        module.eval()
        train = float(mse_loss(module(self.inputs), self.targets))
        test = float(mse_loss(module(self.between), self.between_targets))
        return signal_properties(train, test, self.peak)

    def to(self, device: torch.device | str) -> "SignalFit":
        """The same task with its signal on another device."""
        names = ("inputs", "targets", "between", "between_targets")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def signal_properties(train: float, test: float, peak: float) -> dict[str, Value]:
    """The properties of a fit, by their names in the zoo; what is not finite is None."""
    ratio = 20 * math.log10(peak) - 10 * math.log10(train) if 0 < train < math.inf else math.nan
    found = {"train_loss": train, "test_loss": test, "psnr": ratio}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}
