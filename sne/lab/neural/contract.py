"""What a neural baseline adds to the contract of encoders: it is made for the layouts that it will read."""

from collections.abc import Sequence
from typing import Protocol

from sne.encoders import NetworkEncoder
from sne.networks import Network


class Maker(Protocol):
    """Makes a fresh encoder for the layouts of a zoo.

    The encoder's `settings()` hold all that it took from the networks, shapes included, as plain JSON values.
    """

    def __call__(self, networks: Sequence[Network], /) -> NetworkEncoder:
        """Makes the encoder.

        Args:
            networks: a few training networks, one of each distinct layout; at least one.

        Raises:
            CannotTakeError: the method is not made for such networks.
        """
        ...
