"""Turning what a caller holds (paths, modules, state dicts, networks) into blocks of read networks."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

from torch import Tensor, nn

from sne.networks import Network

Source: TypeAlias = Network | str | Path | nn.Module | Mapping[str, Tensor]
"""What `sne.read_network` reads, or a network that has been read."""

BLOCK_WEIGHTS = 4_000_000
"""Weights in one forward pass, beyond which a block is closed early: large networks go one at a time."""


def read_sources(sources: Source | Iterable[Source]) -> Iterator[Network]:
    """Reads sources one at a time, as they are asked for.

    Args:
        sources: one source, or several.

    Yields:
        One network a source, in order.

    Raises:
        sne.CheckpointError: a source that cannot be read whole.
    """
    several = cast(Iterable[Source], sources if _is_several(sources) else [sources])
    for source in several:
        yield source if isinstance(source, Network) else _read(source)


def _read(source: Any) -> Network:
    from sne.checkpoints import read_network  # file formats are not needed where networks come from a zoo

    return read_network(source)


def _is_several(sources: Any) -> bool:
    return not isinstance(sources, Network | str | Path | nn.Module | Mapping)


def blocks(networks: Iterable[Network], batch_size: int) -> Iterator[list[Network]]:
    """Cuts networks, in order, into blocks of up to `batch_size` networks and `BLOCK_WEIGHTS` weights."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
    block: list[Network] = []
    weights = 0
    for network in networks:
        if block and (len(block) == batch_size or weights + network.num_weights > BLOCK_WEIGHTS):
            yield block
            block, weights = [], 0
        block.append(network)
        weights += network.num_weights
    if block:
        yield block
