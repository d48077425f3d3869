"""Recurrent networks that read an image row by row: GRU, sometimes LSTM."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sne.making.families.blocks import ByteDropout
from sne.making.families.family import Family, ImageShape
from sne.making.families.space import Choice, LogUniform, Uniform

CELLS: Mapping[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class RowReader(nn.Module):
    """One recurrent layer over the rows of an image, and a linear layer on its last state.

    Args:
        cell: "gru" or "lstm".
        inputs: Number of entries per row, over all channels.
        hidden: Width of the state.
        classes: Number of outputs.
        dropout: Dropout probability on the last state.
    """

    def __init__(self, cell: str, inputs: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.rnn = CELLS[cell](inputs, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)
        self.dropout = ByteDropout(dropout)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Returns the logits of images."""
        states, _ = self.rnn(x.transpose(1, 2).flatten(2))
        return self.head(self.dropout(states[:, -1]))


def _module(hyperparameters: Mapping[str, Any], shape: ImageShape, classes: int) -> nn.Module:
    inputs = shape[0] * shape[2]
    return RowReader(hyperparameters["cell"], inputs, hyperparameters["width"], classes, hyperparameters["dropout"])


GRU = Family(
    name="gru",
    space={
        "cell": Choice(("gru", "gru", "lstm")),
        "width": Choice((16, 24, 32, 48)),
        "optimizer": Choice(("adam", "sgd", "rmsprop")),
        "learning_rate": LogUniform(5e-4, 5e-2),
        "weight_decay": LogUniform(1e-8, 1e-2),
        "dropout": Uniform(0.0, 0.7),
        "init": Choice(("glorot_normal", "orthogonal", "normal", "uniform")),
        "init_std": LogUniform(1e-2, 0.5),
        "train_fraction": Choice((0.1, 0.25, 0.5, 1.0)),
        "batch_size": Choice((64,)),
    },
    module=_module,
)
