"""Reads networks of one layout: each part once, for the signals and for the descriptors."""

from collections.abc import Iterator, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders.descriptors import describe
from sne.encoders.limits import Limits
from sne.encoders.measures import LARGEST, MeasuredTensor, WholeTensor
from sne.encoders.sampled import SampledTensor, choose_rows
from sne.encoders.streamed import MAX_WHOLE, StreamedTensor, WholePart
from sne.networks import Network, Part, read_stack

MAX_WAITING = 1 << 22
"""Number of entries that may wait in memory to be described."""

STREAMED_ENTRIES = 1 << 19
"""Number of entries that are counted for what a streamed tensor keeps: norms and samples."""


@final
class LayoutReader:
    """Reads and describes the parts of several networks of one layout.

    A tensor that was read for the signals waits in memory until it is described, together with others of its shape.

    Args:
        networks: The networks.
        limits: Limits on the number of weights that are read of each network.
    """

    def __init__(self, networks: Sequence[Network], limits: Limits = Limits()) -> None:
        self._networks = networks
        self._chosen = choose_rows([part for _, part in networks[0].parts()], limits)
        self._waiting: dict[Part, MeasuredTensor] = {}
        self._described: dict[Part, Tensor] = {}
        self._entries = 0

    def read(self, part: Part) -> Float[Tensor, "batch out in kernel"]:
        """Reads a part whole, within plus and minus `LARGEST`; not to be changed in place."""
        tensor = self._waiting.get(part)
        if isinstance(tensor, WholeTensor):
            return tensor.weights
        weights = read_stack(self._networks, part).clamp_(-LARGEST, LARGEST)
        if part.num_entries <= MAX_WHOLE and part not in self._described:
            self._keep_until_described(part, WholeTensor(weights))
        return weights

    def reads_whole(self, part: Part) -> bool:
        """Returns whether the budget allows to read a part whole."""
        return part not in self._chosen

    def measure(self, part: Part) -> MeasuredTensor:
        """Measures a part."""
        if part in self._waiting:
            return self._waiting[part]
        if part.num_entries <= MAX_WHOLE and self.reads_whole(part):
            weights = self.read(part)
            return self._waiting.get(part, WholeTensor(weights))
        tensor = self._large_tensor(part)
        if part not in self._described:
            self._keep_until_described(part, tensor)
        return tensor

    def describe(self, parts: Sequence[Part]) -> Iterator[Float[Tensor, "batch descriptor"]]:
        """Yields the descriptors of parts, in order."""
        for part in parts:
            if part not in self._described:
                self.measure(part)
        self._describe_waiting()
        yield from (self._described[part] for part in parts)

    def _large_tensor(self, part: Part) -> MeasuredTensor:
        if part in self._chosen:
            return SampledTensor(self._networks, part, self._chosen[part])
        return StreamedTensor([WholePart(network, part) for network in self._networks])

    def _keep_until_described(self, part: Part, tensor: MeasuredTensor) -> None:
        if self._entries > MAX_WAITING:
            self._describe_waiting()
        self._waiting[part] = tensor
        self._entries += tensor.weights.numel() if isinstance(tensor, WholeTensor) else STREAMED_ENTRIES

    def _describe_waiting(self) -> None:
        """Describes what waits: whole tensors of one shape together, streamed ones alone."""
        by_shape: dict[tuple[int, ...], list[tuple[Part, WholeTensor]]] = {}
        while self._waiting:
            part, tensor = self._waiting.popitem()
            if isinstance(tensor, WholeTensor):
                by_shape.setdefault(part.arranged_shape, []).append((part, tensor))
            else:
                self._described[part] = describe(tensor)
        for group in by_shape.values():
            joined = group[0][1] if len(group) == 1 else WholeTensor(torch.cat([tensor.weights for _, tensor in group]))
            rows = describe(joined).split(len(self._networks))
            self._described.update((part, row) for (part, _), row in zip(group, rows, strict=True))
        self._entries = 0
