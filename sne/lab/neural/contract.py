"""What a neural baseline adds to the contract of encoders: it is built for the layouts that it will read."""

from collections.abc import Sequence
from typing import Protocol

from sne.encoders import NetworkEncoder
from sne.networks import Network


class Maker(Protocol):
    """Builds an untrained encoder for the layouts of a zoo.

    The encoder's `settings()` contain everything that was derived from the networks, such as shapes, as plain JSON
    values.
    """

    def __call__(self, networks: Sequence[Network], /) -> NetworkEncoder:
        """Builds the encoder.

        Args:
            networks: Training networks, one per distinct layout; at least one.

        Raises:
            CannotTakeError: If the method does not support such networks.
        """
        ...
