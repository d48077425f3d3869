"""CNNs of random depth, widths, kernels, residual connections and activation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from sne.making.families.blocks import ACTIVATIONS, ByteDropout
from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, LogUniform, Uniform

_STRIDED = 2  # the first layers halve the image


class WildCNN(nn.Module):
    """Convolutions of any widths and kernels, some with a residual connection; global mean; one linear layer.

    Source: Kofinas et al., "Graph Neural Networks for Learning Equivariant Representations of Neural Networks",
    arXiv 2403.12143, its CNN wild park.
    Differs: the first two convolutions have stride 2 in place of strides drawn at random; a residual
    connection is drawn where the widths of a layer are equal, and adds its input after the activation.

    Args:
        channels: Number of channels of the images.
        classes: Number of outputs.
        widths: Channels of each convolution.
        kernels: Odd kernel size of each convolution.
        skips: Whether each convolution has a residual connection.
        activation: Name of the activation.
        dropout: Dropout probability after each activation.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        widths: Sequence[int],
        kernels: Sequence[int],
        skips: Sequence[bool],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        inputs = [channels, *widths[:-1]]
        self.layers = nn.ModuleList(
            nn.Conv2d(inputs[i], widths[i], kernels[i], stride=2 if i < _STRIDED else 1, padding=kernels[i] // 2)
            for i in range(len(widths))
        )
        self.head = nn.Linear(widths[-1], classes)
        self.activation = ACTIVATIONS[activation]()
        self.dropouts = nn.ModuleList(ByteDropout(dropout, salt=i) for i in range(len(widths)))
        self.skips = tuple(skips)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Returns the logits of images."""
        for layer, dropout, skip in zip(self.layers, self.dropouts, self.skips, strict=True):
            y = dropout(self.activation(layer(x)))
            x = x + y if skip else y
        return self.head(x.mean((2, 3)))


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    widths, kernels, skips = (
        [int(n) for n in hyperparameters[name].split("-")] for name in ("widths", "kernels", "skips")
    )
    return WildCNN(
        shape[0],
        classes,
        widths,
        kernels,
        [bool(skip) for skip in skips],
        hyperparameters["activation"],
        hyperparameters["dropout"],
    )


def _elaborate(hyperparameters: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Draws width, kernel and connection of every layer. Half of the layers keep the width of the previous layer."""
    depth = hyperparameters["depth"]
    widths, skips = [], []
    for i in range(depth):
        kept = i > 0 and rng.random() < 0.5
        widths.append(widths[-1] if kept else round(np.exp(rng.uniform(np.log(4), np.log(hyperparameters["widest"])))))
        equal = i >= _STRIDED and widths[i] == widths[i - 1]
        skips.append(int(equal and rng.random() < hyperparameters["skip_rate"]))
    kernels = rng.choice([3, 5, 7], depth, p=[0.6, 0.25, 0.15]).tolist()
    lists = {"widths": widths, "kernels": kernels, "skips": skips}
    return {name: "-".join(str(n) for n in values) for name, values in lists.items()}


WILD_CNN = Family(
    name="wild_cnn",
    space={
        "depth": Choice((2, 3, 4, 5, 6, 7, 8)),
        "widest": Choice((64,)),
        "skip_rate": Choice((0.0, 0.5, 1.0)),
        "optimizer": Choice(("adamw", "adam", "momentum")),
        "learning_rate": LogUniform(3e-4, 1e-2),
        "weight_decay": LogUniform(1e-8, 1e-2),
        "dropout": Uniform(0.0, 0.3),
        "init": Choice(("glorot_normal", "he_normal", "he_uniform", "orthogonal", "truncated_normal")),
        "init_std": LogUniform(0.02, 0.2),
        "activation": Choice(("relu", "gelu", "tanh", "sigmoid", "leaky_relu", "none")),
        "train_fraction": Choice((0.1, 0.25, 0.5, 1.0)),
        "batch_size": Choice((64,)),
    },
    module=_module,
    elaborate=_elaborate,
    smallest=8,
)
