"""What every network encoder promises."""

import abc
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from sne.networks import Network


@runtime_checkable
class EncoderBatch(Protocol):
    """Some networks, ready for an encoder's forward pass."""

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        ...

    def to(self, device: Any) -> "EncoderBatch":
        """The same batch on another device."""
        ...


class NetworkEncoder(nn.Module, abc.ABC):
    """Maps networks of any architecture and size to vectors of one length.

    The work is cut in three so that what does not depend on learned parameters is done once:
    `prepare` reads the weights (CPU, no gradient, worth caching), `collate` joins prepared networks into one
    ragged batch, `forward` encodes it. A network's embedding does not depend on its batch-mates.
    """

    dim: int
    rounding: float = 1e-5
    """How far rounding alone may move an embedding, in units of the spread of embeddings."""
    canonical: bool = False
    """Whether networks are read at the canonical point of their orbit, as far as their symmetry is known."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """The constructor's keyword arguments, plain JSON values: `type(self)(**settings)` rebuilds it."""

    @abc.abstractmethod
    def prepare(self, networks: Sequence[Network]) -> list[Any]:
        """Reads networks into the encoder's input form, one item a network, in order.

        Uses no learned parameter and no fitted scale: an item stays valid while `settings()` is the same.
        An item is a frozen dataclass or dict of CPU tensors.
        """

    @abc.abstractmethod
    def fit_scale(self, prepared: Sequence[Any]) -> None:
        """Sets input scales (buffers) from the training networks, once, before training."""

    @abc.abstractmethod
    def collate(self, prepared: Sequence[Any]) -> EncoderBatch:
        """Joins prepared networks into one ragged batch."""

    def summarize(self, prepared: Sequence[Any]) -> Float[Tensor, "networks features"] | None:
        """Each network in a fixed number of plain numbers, for trees to read; None where an encoder has none.

        Uses no learned parameter and no fitted scale.
        """
        return None

    @abc.abstractmethod
    def forward(self, batch: Any) -> Float[Tensor, "networks dim"]:
        """Encodes a batch."""
