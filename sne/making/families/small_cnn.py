"""The small CNN of the Small CNN Zoo: three strided convolutions, mean, linear."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sne.making.families.blocks import ACTIVATIONS, ByteDropout
from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, LogUniform, Uniform


class SmallCNN(nn.Module):
    """Three 3 x 3 convolutions of stride 2, global mean, one linear layer; 4,970 weights on grey.

    Source: Unterthiner et al., "Predicting Neural Network Accuracy from Weights", arXiv 2002.11448.
    Differs: dropout probabilities are rounded to 1/256; batches of 64 in place of 512.
    """

    def __init__(self, channels: int, classes: int, activation: str, dropout: float, width: int = 16) -> None:
        super().__init__()
        widths = (channels, width, width, width)
        convolutions = [nn.Conv2d(widths[i], widths[i + 1], 3, stride=2) for i in range(3)]
        self.layers = nn.ModuleList([*convolutions, nn.Linear(width, classes)])
        self.activation = ACTIVATIONS[activation]()
        self.dropouts = nn.ModuleList(ByteDropout(dropout, salt=i) for i in range(3))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Returns the logits of images."""
        for i in range(3):
            x = self.dropouts[i](self.activation(self.layers[i](x)))
        return self.layers[3](x.mean((2, 3)))


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    return SmallCNN(shape[0], classes, hyperparameters["activation"], hyperparameters["dropout"])


SMALL_CNN = Family(
    name="small_cnn",
    space={
        "optimizer": Choice(("adam", "sgd", "rmsprop")),
        "learning_rate": LogUniform(5e-4, 5e-2),
        "weight_decay": LogUniform(1e-8, 1e-2),
        "dropout": Uniform(0.0, 0.7),
        "init": Choice(("glorot_normal", "he_normal", "orthogonal", "normal", "truncated_normal")),
        "init_std": LogUniform(1e-3, 0.5),
        "activation": Choice(("relu", "tanh")),
        "train_fraction": Choice((0.1, 0.25, 0.5, 1.0)),
        "batch_size": Choice((64,)),
    },
    module=_module,
    smallest=15,
)
