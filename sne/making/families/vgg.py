"""VGG-like CNNs: stages of 3 x 3 convolutions with max-pooling between them."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sne.making.families.blocks import ACTIVATIONS, PRACTICE, ByteDropout
from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, LogUniform

_MOST_CHANNELS = 128


class VGG(nn.Module):
    """Stages of convolutions, maxima over 2 x 2 after each stage, one or two linear layers; names as in torchvision.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    arXiv 1409.1556, section 2.1.
    Differs: 3 or 4 stages that begin with 8 to 48 channels and double them up to 128, batch norm between convolution
    and activation if `norm` is "batch", and at most one hidden linear layer.

    Args:
        shape: Channels, height and width of the images.
        classes: Number of outputs.
        width: Channels of the first stage.
        stages: Number of stages; each halves the image.
        depth: Convolutions per stage.
        hidden: Width of the hidden linear layer; 0 for none.
        norm: "batch" or "none".
        activation: Name of the activation.
        dropout: Dropout probability before the last linear layer.
    """

    def __init__(
        self,
        shape: ImageShape,
        classes: int,
        *,
        width: int,
        stages: int,
        depth: int,
        hidden: int,
        norm: str,
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        channels, height, rest = shape
        layers: list[nn.Module] = []
        for stage in range(stages):
            out = min(width * 2**stage, _MOST_CHANNELS)
            for _ in range(depth):
                layers.append(nn.Conv2d(channels, out, 3, padding=1))
                if norm == "batch":
                    layers.append(nn.BatchNorm2d(out))
                layers.append(ACTIVATIONS[activation]())
                channels = out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        flat = channels * (height >> stages) * (rest >> stages)
        before = [nn.Linear(flat, hidden), ACTIVATIONS[activation]()] if hidden else []
        self.classifier = nn.Sequential(*before, ByteDropout(dropout), nn.Linear(hidden or flat, classes))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Returns the logits of images."""
        return self.classifier(self.features(x).flatten(1))


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    names = ("width", "stages", "depth", "hidden", "norm", "activation", "dropout")
    return VGG(shape, classes, **{name: hyperparameters[name] for name in names})


VGG_FAMILY = Family(
    name="vgg",
    space={
        "width": Choice((8, 12, 16, 24, 32, 48)),
        "stages": Choice((3, 4), allowed=(1, 2, 3, 4)),
        "depth": Choice((1, 2)),
        "hidden": Choice((0, 64, 128)),
        "norm": Choice(("batch", "none"), allowed=("batch", "none")),
        **PRACTICE,
        "learning_rate": LogUniform(5e-4, 1e-2),
    },
    module=_module,
    smallest=16,
)
