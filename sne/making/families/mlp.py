"""Multi-layer perceptrons of random depth and width on flattened images."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sne.making.families.blocks import ACTIVATIONS, ByteDropout
from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, LogUniform, Uniform


class MLP(nn.Module):
    """Linear layers with an activation between them.

    Args:
        widths: Number of inputs, widths of the hidden layers, number of outputs.
        activation: Name of the activation.
        dropout: Dropout probability after each activation.
    """

    def __init__(self, widths: list[int], activation: str, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(widths[i], widths[i + 1]) for i in range(len(widths) - 1))
        self.activation = ACTIVATIONS[activation]()
        self.dropouts = nn.ModuleList(ByteDropout(dropout, salt=i) for i in range(len(widths) - 2))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Returns the logits of images."""
        x = x.flatten(1)
        for layer, dropout in zip(list(self.layers)[:-1], self.dropouts, strict=True):
            x = dropout(self.activation(layer(x)))
        return self.layers[-1](x)


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    channels, height, width = shape
    hidden = [
        max(round(hyperparameters["width"] * hyperparameters["taper"] ** i), 8) for i in range(hyperparameters["depth"])
    ]
    widths = [channels * height * width, *hidden, classes]
    return MLP(widths, hyperparameters["activation"], hyperparameters["dropout"])


MLP_FAMILY = Family(
    name="mlp",
    space={
        "depth": Choice((1, 2, 3, 4)),
        "width": LogUniform(16.0, 128.0, whole=True),
        "taper": Choice((0.5, 0.75, 1.0)),
        "optimizer": Choice(("adam", "sgd", "rmsprop")),
        "learning_rate": LogUniform(1e-4, 3e-2),
        "weight_decay": LogUniform(1e-8, 1e-2),
        "dropout": Uniform(0.0, 0.7),
        "init": Choice(("glorot_normal", "he_normal", "orthogonal", "normal", "truncated_normal")),
        "init_std": LogUniform(1e-3, 0.5),
        "activation": Choice(("relu", "tanh", "sigmoid", "gelu")),
        "train_fraction": Choice((0.1, 0.25, 0.5, 1.0)),
        "batch_size": Choice((64,)),
    },
    module=_module,
)
