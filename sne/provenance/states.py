"""The tensors of two networks under the same names and in the same layout."""

from collections import Counter
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from sne.networks import Network
from sne.provenance.matching import Matching, Pair


class StoredState(Mapping[str, Tensor]):
    """The tensors of a network by name, loaded on access.

    Args:
        network: The network.
    """

    def __init__(self, network: Network) -> None:
        self._source = network.source

    def __getitem__(self, name: str) -> Tensor:
        return self._source.load(name)

    def __contains__(self, name: object) -> bool:
        return name in self._source.infos

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.infos)

    def __len__(self) -> int:
        return len(self._source.infos)


class Counterpart(Mapping[str, Tensor]):
    """The tensors of the second network under the names and in the layout of the first one.

    Only tensors all of whose parts have a counterpart of the same size are among them. Values are loaded on access.

    Args:
        first: The network whose names and layout are used.
        second: The network whose values are used.
        matching: The pairs.
    """

    def __init__(self, first: Network, second: Network, matching: Matching) -> None:
        self._first, self._second = first, second
        parts = Counter(part.tensor for _, part in first.parts())
        pairs: dict[str, list[Pair]] = {}
        for pair in matching.pairs:
            if pair.is_whole:
                pairs.setdefault(pair.first.part.tensor, []).append(pair)
        self._pairs = {tensor: some for tensor, some in pairs.items() if len(some) == parts[tensor]}

    def __getitem__(self, name: str) -> Tensor:
        pairs = self._pairs[name]
        pieces = [(pair.first.part, pair.second.part) for pair in pairs]
        one, other = pieces[0]
        stored = self._second.source.infos[other.tensor]
        same_axes = (one.axis, one.out_axis, one.in_axis) == (other.axis, other.out_axis, other.in_axis)
        if len(pieces) == 1 and one.axis is None and same_axes and one.shape == other.shape == stored.shape:
            return self._second.source.load(other.tensor)
        whole = torch.zeros(self._first.source.infos[name].shape)
        for part, counterpart in pieces:
            values = part.restore(self._second.read(counterpart))
            if part.axis is None:
                whole = values.reshape(whole.shape)
            else:
                whole.index_copy_(part.axis, torch.tensor(part.indices), values)
        return whole

    def __contains__(self, name: object) -> bool:
        return name in self._pairs

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)
