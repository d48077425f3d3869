"""Measurements of one weight tensor, from which its features are computed.

A `WholeTensor` is in memory, and is measured as far as its attributes are asked for. A tensor that is too large for
that has the same attributes (`sne.encoders.streamed`).
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.encoders.features import TINY
from sne.encoders.kernel_waves import WaveSums
from sne.encoders.quantiles import ascending, sorted_quantiles

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

MAX_NEURONS = 128
"""Number of neurons from which spectrum and angles are computed; wider tensors are sampled evenly by rank of norm."""
MAX_INPUTS = 2048
"""Number of inputs per neuron from which spectrum and angles are computed."""

LARGEST = 1e9
"""Bound on the magnitude of weights, so that their powers stay within single precision."""


@dataclass(frozen=True)
class Probes:
    """Numbers that are sent through a tensor while it is read.

    Args:
        values: Values of the neurons that the tensor reads, any number of rows.
        gain: Expected square of each of these neurons.
        shared: Neurons whose outgoing weights are wanted, in order; None for none, a slice for all.
    """

    values: Float[Tensor, "batch row in"]
    gain: Float[Tensor, "batch in"]
    shared: Int[Tensor, "batch shared"] | slice | None = None


@dataclass(frozen=True)
class Reply:
    """What comes out of a tensor that is given `Probes`; kernels are summed over their positions.

    Args:
        values: Values of the neurons that the tensor feeds, without a bias.
        gain: Expected square of each of these neurons.
        reads: Outgoing weights of the shared neurons; None if they are not wanted.
    """

    values: Float[Tensor, "batch row out"]
    gain: Float[Tensor, "batch out"]
    reads: Float[Tensor, "batch shared outputs"] | None


class MeasuredTensor(abc.ABC):
    """One tensor of several networks.

    Args:
        shape: Number of networks, of neurons that the tensor feeds, of neurons that it reads, of kernel positions.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.batch, self.num_out, self.num_in, self.kernel = shape
        self.is_matrix = is_described_as_matrix((self.num_out, self.num_in, self.kernel))

    # Subclasses give all of these; type checkers do not let a cached property override an abstract one.

    @cached_property
    def moments(self) -> Float[Tensor, "batch moments"]:
        """Root mean square (rms) of the entries, and moments of the entries divided by it.

        These are the mean, the standard deviation, the third and fourth central moment, and the mean magnitude.
        """
        raise NotImplementedError

    @cached_property
    def quantiles(self) -> Float[Tensor, "batch quantiles"]:
        """Quantiles of the entries at `QUANTILES`, divided by the rms."""
        raise NotImplementedError

    @cached_property
    def squared_norms(self) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "batch in"]]:
        """Squared norms of the neurons that the tensor feeds, and of those that it reads."""
        raise NotImplementedError

    @cached_property
    def waves(self) -> WaveSums:
        """Sums over the kernels of a convolution."""
        raise NotImplementedError

    @cached_property
    def sampled_rows(self) -> Int[Tensor, "batch rows"] | None:
        """The fed neurons that are in the sample; None if all are, in their order."""
        raise NotImplementedError

    @cached_property
    def sample(self) -> Float[Tensor, "batch rows columns kernel"]:
        """The tensor, or at most `MAX_NEURONS` of the neurons that it feeds and some that it reads."""
        raise NotImplementedError

    @abc.abstractmethod
    def respond(self, probes: Probes) -> Reply:
        """Sends numbers through the tensor, at most once."""

    @property
    def rows(self) -> Float[Tensor, "batch rows inputs"]:
        """Incoming weights of the neurons of the sample that the tensor feeds."""
        return self.sample.flatten(2)

    @property
    def columns(self) -> Float[Tensor, "batch columns outputs"]:
        """Outgoing weights of at most `MAX_NEURONS` neurons of the sample that the tensor reads."""
        kept = self.sample[:, :, evenly(self.sample.shape[2], MAX_NEURONS)]
        return kept.transpose(1, 2).flatten(2)


def is_described_as_matrix(shape: tuple[int, int, int]) -> bool:
    """Returns whether a tensor of shape (out, in, kernel positions) has a spectrum, norms and angles."""
    num_out, num_in, kernel = shape
    return num_out > 1 and num_in * kernel > 1


def evenly(size: int, most: int) -> Any:
    """Returns at most `most` evenly spaced indices below `size`, the first included; a slice if these are all."""
    return slice(None) if size <= most else torch.arange(most) * size // most


def choose_neurons(
    squares: Float[Tensor, "batch neurons"], sums: Float[Tensor, "batch neurons"], most: int
) -> Int[Tensor, "batch chosen"] | None:
    """Chooses neurons for the sample, whatever the order in which they are stored.

    Args:
        squares: Squared norm of each neuron, in double precision, so that rounding does not decide.
        sums: Sum of the weights of each neuron, which decides between equal norms.
        most: Largest number of neurons.

    Returns:
        Evenly spaced neurons in the order of their norms; None for all neurons in their own order, if there are at most
        `MAX_NEURONS`.
    """
    size = squares.shape[1]
    if size <= MAX_NEURONS:
        return None
    order = sums.argsort(dim=-1, stable=True)
    order = order.gather(1, squares.gather(1, order).argsort(dim=-1, stable=True))
    return order[:, evenly(size, most)]


def most_inputs(kernel: int) -> int:
    """Returns the largest number of read neurons in a sample: a power of two, so that smaller samples are in it."""
    return max(MAX_NEURONS, 1 << max(MAX_INPUTS // kernel, 1).bit_length() - 1)


@final
class WholeTensor(MeasuredTensor):
    """A tensor in memory, stacked over networks of one layout.

    Args:
        weights: The tensor with the axes out, in, kernel positions.
    """

    def __init__(self, weights: Float[Tensor, "batch out in kernel"]) -> None:
        super().__init__(weights.shape)
        self.weights = weights

    @cached_property
    def moments(self) -> Float[Tensor, "batch moments"]:
        """Moments of the entries."""
        return self._distribution[0]

    @cached_property
    def quantiles(self) -> Float[Tensor, "batch quantiles"]:
        """Quantiles of the entries."""
        return self._distribution[1]

    @cached_property
    def squared_norms(self) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "batch in"]]:
        """Squared norms of rows and columns."""
        return self.kernel_squares.sum(2), self.kernel_squares.sum(1)

    @cached_property
    def kernel_squares(self) -> Float[Tensor, "batch out in"]:
        """Sum of the squares of each kernel."""
        squares = self.weights.square()
        return sum_kernels(squares)

    @cached_property
    def kernel_sums(self) -> Float[Tensor, "batch out in"]:
        """Sum of each kernel."""
        return sum_kernels(self.weights)

    @cached_property
    def waves(self) -> WaveSums:
        """Sums over the kernels."""
        sums = WaveSums.zeros(self.batch, self.kernel)
        sums.add(self.weights, self.weights.square())
        return sums

    @cached_property
    def sampled_rows(self) -> Int[Tensor, "batch rows"] | None:
        """The fed neurons that are in the sample."""
        if self.num_out <= MAX_NEURONS:
            return None
        wide = self.weights.double().flatten(2)
        return choose_neurons(wide.square().sum(2), wide.sum(2), MAX_NEURONS)

    @cached_property
    def sample(self) -> Float[Tensor, "batch rows columns kernel"]:
        """The tensor, or rows and columns of it."""
        sample = take(self.weights, 1, self.sampled_rows)
        if self.num_in <= MAX_NEURONS:
            return sample
        wide = self.weights.double()
        columns = choose_neurons(wide.square().sum((1, 3)), wide.sum((1, 3)), most_inputs(self.kernel))
        return take(sample, 2, columns)

    def respond(self, probes: Probes) -> Reply:
        """Multiplies the tensor with the probes."""
        out = torch.bmm(probes.values, self.kernel_sums.transpose(1, 2))
        gain = torch.bmm(self.kernel_squares, probes.gain.unsqueeze(2)).squeeze(2)
        reads = None
        if probes.shared is not None:
            shared = None if isinstance(probes.shared, slice) else probes.shared
            reads = take(self.weights, 2, shared).transpose(1, 2).flatten(2)
        return Reply(out, gain, reads)

    @cached_property
    def _distribution(self) -> tuple[Tensor, Tensor]:
        values = self.weights.flatten(1)
        count = values.shape[1]
        rms = (values.square().sum(-1) / count).sqrt() + TINY
        relative = values / rms[:, None]
        mean = relative.mean(-1)
        centred = relative - mean[:, None]
        squares = centred.square()
        pairs = ((centred, centred), (squares, centred), (squares, squares))
        second, third, fourth = (torch.linalg.vecdot(a, b) / count for a, b in pairs)
        magnitude = relative.abs().mean(-1)
        moments = torch.stack([rms, mean, second.sqrt(), third, fourth, magnitude], -1)
        return moments, sorted_quantiles(ascending(relative), QUANTILES)


def sum_kernels(weights: Float[Tensor, "*batch kernel"]) -> Float[Tensor, "*batch"]:
    """Sums the last axis; as a product, since reductions over so short an axis are slow."""
    return weights[..., 0] if weights.shape[-1] == 1 else weights @ weights.new_ones(weights.shape[-1])


def take(
    weights: Float[Tensor, "batch out in kernel"], axis: int, chosen: Int[Tensor, "batch chosen"] | None
) -> Float[Tensor, "batch _ _ kernel"]:
    """Takes the chosen neurons of each network along an axis; all of them if `chosen` is None."""
    if chosen is None:
        return weights
    return torch.stack([tensor.index_select(axis - 1, some) for tensor, some in zip(weights, chosen, strict=True)])
