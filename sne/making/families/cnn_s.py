"""CNN-s, the small CNN of Schuerholt's zoos: three convolutions with max-pooling, two linear layers."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sne.making.families.blocks import ACTIVATIONS, ByteDropout
from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, LogUniform, Uniform


class CNNS(nn.Module):
    """Convolutions of 8, 6 and 4 channels, two linear layers; 2,464 weights on 28 x 28.

    Source: Schuerholt et al., "Model Zoos: A Dataset of Diverse Populations of Neural Network Models",
    arXiv 2209.14764, appendix A.
    Differs: takes other image sizes; learning rate, weight decay, dropout and init std are drawn from ranges
    around the published grid values, and SGD has momentum, so that short training spreads the accuracies.
    """

    def __init__(self, shape: ImageShape, classes: int, activation: str, dropout: float) -> None:
        super().__init__()
        channels, height, width = shape
        flat = 4 * _reduced(height) * _reduced(width)
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(channels, 8, 5),
                nn.Conv2d(8, 6, 5),
                nn.Conv2d(6, 4, 2),
                nn.Linear(flat, 20),
                nn.Linear(20, classes),
            ]
        )
        self.pool = nn.MaxPool2d(2)
        self.activation = ACTIVATIONS[activation]()
        self.dropouts = nn.ModuleList(ByteDropout(dropout, salt=i) for i in range(4))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Returns the logits of images."""
        x = self.dropouts[0](self.activation(self.pool(self.layers[0](x))))
        x = self.dropouts[1](self.activation(self.pool(self.layers[1](x))))
        x = self.dropouts[2](self.activation(self.layers[2](x)))
        x = self.dropouts[3](self.activation(self.layers[3](x.flatten(1))))
        return self.layers[4](x)


def _reduced(size: int) -> int:
    """Returns the height or width after the convolutions."""
    return ((size - 4) // 2 - 4) // 2 - 1


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    return CNNS(shape, classes, hyperparameters["activation"], hyperparameters["dropout"])


CNN_S = Family(
    name="cnn_s",
    space={
        "optimizer": Choice(("adam", "momentum")),
        "learning_rate": LogUniform(5e-4, 2e-2),
        "weight_decay": LogUniform(1e-8, 1e-2),
        "dropout": Uniform(0.0, 0.5),
        "init": Choice(("uniform", "normal", "he_uniform", "he_normal")),
        "init_std": LogUniform(5e-2, 0.5),
        "activation": Choice(("tanh", "sigmoid", "relu", "gelu")),
        "train_fraction": Choice((0.1, 0.25, 0.5, 1.0)),
        "batch_size": Choice((64,)),
    },
    module=_module,
    smallest=20,
)
