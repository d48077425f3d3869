"""Joints: the connections between successive layers of a plain stack."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from sne.symmetry.by_name.claims import UncertainError
from sne.symmetry.by_name.stack_layers import StackLayer, table, turned

_SMALL = 4  # 2 or 3 times a width is more likely a concatenation, for instance of means and maxima


@dataclass(frozen=True)
class Joint:
    """The connection between two layers.

    Args:
        size: Number of neurons.
        fed_inner: Entries per neuron that the first layer feeds side by side, for an image that is unflattened.
        read_inner: Entries per neuron that the second layer reads side by side, for an image that was flattened.
        read_outer: Number of times that the second layer reads all neurons: 2 for both directions of a recurrent layer.
    """

    size: int
    fed_inner: int = 1
    read_inner: int = 1
    read_outer: int = 1

    @property
    def widths(self) -> set[int]:
        """Entries on the axes that feed and read."""
        return {self.size * self.fed_inner, self.size * self.read_inner * self.read_outer}

    def layout(self, width: int) -> tuple[int, int]:
        """Returns how the neurons lie on a vector of one of the widths: outer and inner, as in a `Span`."""
        times = width // self.size
        return (times, 1) if self.read_outer > 1 else (1, times)


def follow(order: Sequence[StackLayer], is_sequential: bool) -> tuple[list[StackLayer], list[Joint]]:
    """Finds how each layer reads the neurons that the previous layer feeds.

    Args:
        order: Layers in order of depth, at least two.
        is_sequential: Whether nothing stands between layers that feeds and reads other widths.

    Returns:
        The layers, some read as embeddings or as transposed convolutions, and the joints between them.

    Raises:
        UncertainError: A layer does not read the neurons that the previous one feeds, or may do so in several ways.
    """
    done, joints = [order[0]], []
    for layer in order[1:]:
        options = [
            (first, second, joint)
            for first in (_readings(done[-1], is_first=True) if len(done) == 1 else done[-1:])
            for second in _readings(layer, is_first=False)
            if (joint := _joint(first, second, is_sequential)) is not None
        ]
        if is_sequential and options and options[0][:2] == (done[-1], layer):
            options = options[:1]
        if layer.may_be_bilinear:
            raise UncertainError(f"{layer.path} may be a bilinear layer")
        if options and not is_sequential and _may_concatenate(done, options[0][2]):
            raise UncertainError(f"{layer.path} may read several parallel layers that feed this width together")
        if len(options) > 1:
            raise UncertainError(f"{layer.path} may follow {done[-1].path} in more than one way")
        if not options:
            fed = done[-1].feeds * done[-1].directions
            raise UncertainError(f"{layer.path} reads {layer.reads}, {done[-1].path} before it feeds {fed}")
        done[-1], second, joint = options[0]
        done.append(second)
        joints.append(joint)
    return done, joints


def _may_concatenate(done: Sequence[StackLayer], joint: Joint) -> bool:
    """Whether a seemingly flattened input may come from several parallel layers of one width, as in CNNs for text."""
    return 1 < joint.read_inner <= sum(layer.feeds == joint.size for layer in done)


def _readings(layer: StackLayer, is_first: bool) -> list[StackLayer]:
    """Returns the layer as it seems, and as an embedding or a transposed convolution if it may be one."""
    if not layer.is_open:
        return [layer]
    if layer.kind == "linear":
        return [layer, table(layer)] if is_first else [layer]
    return [layer, turned(layer)]


def _joint(first: StackLayer, second: StackLayer, is_sequential: bool) -> Joint | None:
    """Returns how the second layer reads the neurons that the first feeds; None if it cannot."""
    size, reads = first.feeds, second.reads
    if first.directions == 2:
        outer = {size: 1, 2 * size: 2}.get(reads)
        return Joint(size, read_outer=outer) if outer else None
    if size == reads or (first.kind == "conv" and is_depthwise(second) and second.feeds == size):
        return Joint(size)
    kinds = first.kind, second.kind
    if kinds == ("conv", "linear") and reads % size == 0 and _is_image(reads // size, first.spatial, is_sequential):
        return Joint(size, read_inner=reads // size)
    if kinds == ("linear", "conv") and size % reads == 0 and _is_image(size // reads, second.spatial, is_sequential):
        return Joint(reads, fed_inner=size // reads)
    return None


def is_depthwise(layer: StackLayer) -> bool:
    """Whether a convolution may read each channel separately."""
    return layer.kind == "conv" and layer.reads == 1 and layer.feeds > 1


def _is_image(entries: int, spatial: int, is_sequential: bool) -> bool:
    """Whether this many entries per channel are surely positions, rather than statistics of the channel."""
    if is_sequential:
        return True
    return entries >= _SMALL and (spatial != 2 or isqrt(entries) ** 2 == entries)
