"""An MLP on all weights of a network, concatenated."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from sne.errors import CannotTakeError
from sne.lab.neural.fixed_layout import FixedLayout, FixedLayoutEncoder
from sne.networks import Network
from sne.nn import in_float32

METHOD = "flat_mlp"
MOST_WEIGHTS = 1 << 21
"""Larger networks would need a first layer with billions of parameters."""


class FlatMLPEncoder(FixedLayoutEncoder):
    """Reads every weight of a network at a fixed position. It is specific to one layout and knows no symmetry.

    Args:
        layout: Value of `FixedLayout.to_json`.
        compression: Compression of standardised weights; see `FixedLayoutEncoder`.
        hidden: Widths of the hidden layers.
        dim: Length of the embedding.
        dropout: Dropout rate after each hidden layer.

    Source: the baseline "MLP" of Andreis et al., arXiv 2305.16625, section 5.
    Differs: each weight is standardised with its own mean and standard deviation over the training networks, and
        compressed.
    """

    @in_float32()
    def __init__(
        self,
        *,
        layout: Sequence[Sequence[Any]],
        compression: float = 5.0,
        hidden: Sequence[int] = (512, 256),
        dim: int = 128,
        dropout: float = 0.5,
    ) -> None:
        given = FixedLayout.from_json(layout)
        settings = {"hidden": list(hidden), "dim": dim, "dropout": dropout}
        super().__init__(given, method=METHOD, scales=None, compression=compression, settings=settings)
        self.dim = dim
        widths = [given.num_entries, *hidden]
        layers: list[nn.Module] = []
        for width, following in pairwise(widths):
            layers += [nn.Linear(width, following), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], dim), nn.ReLU())

    def encode(self, weights: Float[Tensor, "networks entries"]) -> Float[Tensor, "networks dim"]:
        """Encodes standardised weights."""
        return self.layers(weights)


def make_flat_mlp(networks: Sequence[Network], /) -> FlatMLPEncoder:
    """Builds the encoder for the layout that networks share.

    Raises:
        CannotTakeError: If the networks have more than one layout, or too many weights.
    """
    layout = FixedLayout.shared_by(networks, METHOD)
    if layout.num_entries > MOST_WEIGHTS:
        raise CannotTakeError(
            f"{METHOD} takes networks of at most {MOST_WEIGHTS} weights, {networks[0].name} has {layout.num_entries}"
        )
    return FlatMLPEncoder(layout=layout.to_json())
