"""LeNet-5 at several widths, and the wider network of two convolutions that introductions to deep learning train."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sne.making.families.blocks import ACTIVATIONS, PRACTICE, ByteDropout
from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, Space

_POOLS: Mapping[str, type[nn.MaxPool2d | nn.AvgPool2d]] = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}
_LECUN_SIDE = 32


class LeNet(nn.Module):
    """Two convolutions, each with an activation and pooling, and linear layers; 61,706 weights as LeNet-5 on 28 x 28.

    Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), section II.B.
    Differs: pooling has no weights, the second convolution reads all channels, the last layer is linear, and other
    activations, maxima, dropout after the hidden linear layers, other widths and kernels, and other image sizes are
    possible: convolutions of 5 x 5 pad images below 32 pixels by 2 before the first one.

    Args:
        shape: Channels, height and width of the images.
        classes: Number of outputs.
        channels: Channels of the two convolutions.
        hidden: Widths of the hidden linear layers.
        kernel: Kernel size of the convolutions, 3 or 5.
        pool: "max" or "mean", over 2 x 2 pixels.
        activation: Name of the activation.
        dropout: Dropout probability after each hidden linear layer.
    """

    def __init__(
        self,
        shape: ImageShape,
        classes: int,
        *,
        channels: tuple[int, int],
        hidden: Sequence[int],
        kernel: int,
        pool: str,
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        inputs, *sides = shape
        padding = 2 if kernel == 5 and min(sides) < _LECUN_SIDE else 0
        self.conv1 = nn.Conv2d(inputs, channels[0], kernel, padding=padding)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel)
        height, width = (((side + 2 * padding - kernel + 1) // 2 - kernel + 1) // 2 for side in sides)
        widths = [channels[1] * height * width, *hidden, classes]
        self.linears = len(hidden) + 1
        for i in range(self.linears):
            self.add_module(f"fc{i + 1}", nn.Linear(widths[i], widths[i + 1]))
        self.pool = _POOLS[pool](2)
        self.activation = ACTIVATIONS[activation]()
        self.dropouts = nn.ModuleList(ByteDropout(dropout, salt=i) for i in range(len(hidden)))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Returns the logits of images."""
        x = self.pool(self.activation(self.conv1(x)))
        x = self.pool(self.activation(self.conv2(x))).flatten(1)
        for i, dropout in enumerate(self.dropouts):
            x = dropout(self.activation(self.get_submodule(f"fc{i + 1}")(x)))
        return self.get_submodule(f"fc{self.linears}")(x)


def _lenet(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    first, second, *hidden = (round(hyperparameters["widening"] * width) for width in (6, 16, 120, 84))
    return LeNet(
        shape,
        classes,
        channels=(first, second),
        hidden=hidden,
        kernel=5,
        pool=hyperparameters["pool"],
        activation=hyperparameters["activation"],
        dropout=hyperparameters["dropout"],
    )


def _mnist_cnn(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    return LeNet(
        shape,
        classes,
        channels=(hyperparameters["width"], 2 * hyperparameters["width"]),
        hidden=[hyperparameters["hidden"]],
        kernel=hyperparameters["kernel"],
        pool="max",
        activation=hyperparameters["activation"],
        dropout=hyperparameters["dropout"],
    )


_PRACTICE: Space = {
    **PRACTICE,
    "activation": Choice(("relu", "relu", "tanh", "gelu", "leaky_relu")),
    "init": Choice(("torch", "torch", "he_normal", "glorot_normal")),
}

LENET = Family(
    name="lenet",
    space={
        "widening": Choice((0.5, 1.0, 2.0, 4.0)),
        "pool": Choice(("max", "mean"), allowed=tuple(_POOLS)),
        **_PRACTICE,
    },
    module=_lenet,
    smallest=16,
)

MNIST_CNN = Family(
    name="mnist_cnn",
    space={
        "width": Choice((16, 32)),
        "hidden": Choice((64, 128)),
        "kernel": Choice((3, 5), allowed=(3, 5)),
        **_PRACTICE,
    },
    module=_mnist_cnn,
    smallest=16,
)
"""Convolutions of mostly 32 and 64 channels and one hidden layer, which many introductions train on MNIST."""
