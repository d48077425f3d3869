"""Small residual CNNs with batch norm."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sne.making.families.blocks import ACTIVATIONS, ByteDropout
from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, LogUniform, Uniform


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, added to the input; a 1 x 1 convolution where shapes differ."""

    def __init__(self, channels_in: int, channels: int, stride: int, activation: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.activation = ACTIVATIONS[activation]()
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Float[Tensor, "batch in height width"]) -> Float[Tensor, "batch out h w"]:
        """Applies the block."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.activation(self.bn1(self.conv1(x)))
        return self.activation(self.bn2(self.conv2(x)) + shortcut)


class ResidualCNN(nn.Module):
    """A convolution, stages of residual blocks, global mean, one linear layer. Names as in torchvision.

    Source: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2.
    Differs: the first convolution may have stride 2, and shortcuts between stages are 1 x 1 convolutions.

    Args:
        channels: Number of channels of the images.
        classes: Number of outputs.
        width: Channels of the first stage; each further stage doubles them and halves the image.
        depth: Blocks per stage.
        activation: Name of the activation.
        dropout: Dropout probability before the linear layer.
        stages: Number of stages.
        stride: Stride of the first convolution.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        width: int,
        depth: int,
        activation: str,
        dropout: float,
        *,
        stages: int,
        stride: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.activation = ACTIVATIONS[activation]()
        widths = [width * 2**i for i in range(stages)]
        for i, out in enumerate(widths):
            self.add_module(f"layer{i + 1}", _stage(widths[max(i - 1, 0)], out, depth, 2 if i else 1, activation))
        self.dropout = ByteDropout(dropout)
        self.fc = nn.Linear(widths[-1], classes)
        self.stages = stages

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Returns the logits of images."""
        x = self.activation(self.bn1(self.conv1(x)))
        for i in range(self.stages):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return self.fc(self.dropout(x.mean((2, 3))))


def _stage(channels_in: int, channels: int, depth: int, stride: int, activation: str) -> nn.Sequential:
    first = ResidualBlock(channels_in, channels, stride, activation)
    return nn.Sequential(first, *(ResidualBlock(channels, channels, 1, activation) for _ in range(depth - 1)))


def residual_network(
    hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int, *, stages: int, stride: int
) -> ResidualCNN:
    """Returns a residual network with hyper-parameters of a family.

    Args:
        hyperparameters: Its width, depth, activation and dropout.
        shape: Channels, height and width of the images.
        classes: Number of classes.
        stages: Number of stages.
        stride: Stride of the first convolution.
    """
    names = ("width", "depth", "activation", "dropout")
    return ResidualCNN(shape[0], classes, *(hyperparameters[name] for name in names), stages=stages, stride=stride)


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    # Two stages of 8 to 24 channels after a strided convolution, so that a network trains in seconds.
    return residual_network(hyperparameters, shape, classes, stages=2, stride=2)


RESIDUAL_CNN = Family(
    name="residual_cnn",
    space={
        "width": Choice((4, 6, 8, 12)),
        "depth": Choice((1, 2)),
        "optimizer": Choice(("adam", "sgd", "rmsprop")),
        "learning_rate": LogUniform(1e-4, 5e-2),
        "weight_decay": LogUniform(1e-8, 1e-2),
        "dropout": Uniform(0.0, 0.7),
        "init": Choice(("glorot_normal", "he_normal", "orthogonal", "normal", "truncated_normal")),
        "init_std": LogUniform(1e-3, 0.5),
        "activation": Choice(("relu", "tanh", "gelu")),
        "train_fraction": Choice((0.02, 0.1, 0.25, 1.0)),
        "batch_size": Choice((64,)),
    },
    module=_module,
    smallest=8,
)
