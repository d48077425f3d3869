"""Contract of network encoders."""

import abc
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from sne.encoders.limits import Limits
from sne.networks import Network


@runtime_checkable
class EncoderBatch(Protocol):
    """Several networks as the input of an encoder's forward pass."""

    @property
    def num_networks(self) -> int:
        """Number of networks."""
        ...

    def to(self, device: Any) -> "EncoderBatch":
        """Returns the same batch on another device."""
        ...


class NetworkEncoder(nn.Module, abc.ABC):
    """Maps networks of any architecture and size to vectors of one length.

    The work is divided into three steps, so that everything that does not depend on learned parameters is done once:
    `prepare` reads the weights (on the CPU, without gradients, worth caching), `collate` joins prepared networks into
    one ragged batch, and `forward` encodes the batch. The embedding of a network does not depend on the other networks
    of its batch.
    """

    dim: int
    rounding: float = 1e-5
    """Largest change of an embedding that rounding alone may cause, in units of the spread of embeddings."""
    canonical: bool = False
    """Whether networks are read at the canonical point of their orbit, if their symmetry is known."""
    shares_scale: bool = False
    """Whether the experts of all folds have the scale of all networks of the training run, rather than each that of the
    networks that it learns from. They can then scale features once when they predict together."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Returns the constructor's keyword arguments as plain JSON values: `type(self)(**settings)` rebuilds it."""

    @abc.abstractmethod
    def prepare(self, networks: Sequence[Network], *, limits: Limits = Limits()) -> list[Any]:
        """Reads networks into the encoder's input form.

        The result depends on no learned parameter and on no fitted scale: an item stays valid while `settings()` is
        the same.

        Args:
            networks: Networks of any architectures.
            limits: Limits on memory and on the number of weights that are read of a network.

        Returns:
            One item per network, in order: a frozen dataclass or a dict of CPU tensors.
        """

    def num_read(self, network: Network, limits: Limits) -> int:
        """Returns the number of weights that `prepare` reads of a network within limits; all, unless it samples."""
        return network.num_weights

    @abc.abstractmethod
    def fit_scale(self, prepared: Sequence[Any]) -> None:
        """Sets the scales of the input (buffers) from the prepared training networks, once, before training."""

    @abc.abstractmethod
    def collate(self, prepared: Sequence[Any]) -> EncoderBatch:
        """Joins prepared networks into one ragged batch."""

    @property
    def summary_names(self) -> tuple[str, ...]:
        """Names of the numbers that `summarize` returns, in order; empty if the encoder has no summary."""
        return ()

    def summarize(self, prepared: Sequence[Any]) -> Float[Tensor, "networks features"] | None:
        """Describes each network by a fixed number of plain numbers, for models that do not learn an encoding.

        The numbers depend on no learned parameter and on no fitted scale.

        Args:
            prepared: Items that `prepare` returned.

        Returns:
            One row per network, with one number per name of `summary_names`; None if the encoder has no summary.
        """
        return None

    @abc.abstractmethod
    def forward(self, batch: Any) -> Float[Tensor, "networks dim"]:
        """Encodes a batch.

        Args:
            batch: Batch that `collate` returned.

        Returns:
            One embedding per network, in order.
        """
