"""DWSNet: equivariant layers between weight spaces of MLPs, then pooling."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sne.lab.neural.fixed_encoder import FixedLayoutEncoder, one_scale_a_part
from sne.lab.neural.input_mixing import InputMixing
from sne.lab.neural.layout import FixedLayout
from sne.lab.neural.plain_stack import LINEAR, PlainStack, check_not_joined, plain_stack
from sne.networks import Network

METHOD = "dwsnet"

Axes = tuple[int, ...]
"""Hidden layers whose neurons an array runs over, ascending; arrays are [networks, *neurons, channels]."""


def _subsets(axes: Axes) -> list[Axes]:
    return [some for size in range(len(axes) + 1) for some in combinations(axes, size)]


def _pooled(x: Tensor, axes: Axes, kept: Axes) -> Tensor:
    """The mean over all axes that are not kept."""
    dims = [1 + place for place, axis in enumerate(axes) if axis not in kept]
    return x.mean(dims) if dims else x


def _spread(x: Tensor, kept: Axes, axes: Axes) -> Tensor:
    """The same values along all axes that were not kept."""
    for place, axis in enumerate(axes):
        if axis not in kept:
            x = x.unsqueeze(1 + place)
    return x


class WeightSpaceLinear(nn.Module):
    """The affine maps between weight spaces that commute with permutations of hidden neurons.

    Such a map of one array to another keeps some of the neuron axes that both have, pools the array over the others,
    maps channels, and writes the result along the axes of the target that are left. One linear map for each target and
    each set of kept axes takes the channels of all arrays that have these axes.

    Args:
        axes: of each array.
        inputs: channels of each array.
        outputs: channels of each array of the result.

    Source: Navon et al., "Equivariant Architectures for Learning in Deep Weight Spaces", arXiv 2301.12780, section 4.
    Differs: the blocks of that section are merged by the axes that they keep, which spans the same maps; pooling is
        the mean; the parameters are drawn so that each kept set gives its share of a variance of 2.
    """

    def __init__(self, axes: Sequence[Axes], inputs: Sequence[int], outputs: Sequence[int]) -> None:
        super().__init__()
        self.axes = tuple(axes)
        self.sources: dict[Axes, list[int]] = {}
        for kept in sorted({kept for one in axes for kept in _subsets(one)}):
            self.sources[kept] = [number for number, one in enumerate(axes) if set(kept) <= set(one)]
        self.maps = nn.ModuleList()
        for own, channels in zip(axes, outputs, strict=True):
            maps = nn.ModuleList()
            for kept in _subsets(own):
                width = sum(inputs[number] for number in self.sources[kept])
                linear = nn.Linear(width, channels, bias=not kept)
                nn.init.normal_(linear.weight, std=sqrt(2 / (width * 2 ** len(own))))
                if not kept:
                    nn.init.zeros_(linear.bias)
                maps.append(linear)
            self.maps.append(maps)

    def forward(self, arrays: Sequence[Tensor]) -> list[Tensor]:
        """Maps arrays to arrays over the same neurons."""
        seen = {
            kept: torch.cat([_pooled(arrays[number], self.axes[number], kept) for number in numbers], -1)
            for kept, numbers in self.sources.items()
        }
        results = []
        for own, maps in zip(self.axes, self.maps, strict=True):
            assert isinstance(maps, nn.ModuleList)
            terms = [_spread(one(seen[kept]), kept, own) for kept, one in zip(_subsets(own), maps, strict=True)]
            result = terms[-1]  # that of all axes
            for term in terms[:-1]:
                result = result + term
            results.append(result)
        return results


class DWSNetEncoder(FixedLayoutEncoder):
    """Reads MLPs of one layout, invariant to permutations of their hidden neurons.

    Args:
        layout: what `FixedLayout.to_json` gives; linear layers alone, at least two.
        compression: of standardised weights, see `FixedLayoutEncoder`.
        channels: of the equivariant layers, for each weight.
        hidden: width of the layer after pooling.
        dim: width of the embedding.
        most_inputs: inputs of the networks above this number are mixed to `mixed_inputs` first.
        mixed_inputs: see `InputMixing`.

    Source: Navon et al., "Equivariant Architectures for Learning in Deep Weight Spaces", arXiv 2301.12780, sections 4
        and 5.
    Differs: weights are standardised part by part and compressed, which helped on zoos of
        many initial spreads; the invariant layer takes mean and largest value of each array; a
        missing bias is read as zero; wide inputs are mixed, since the cost grows with their square.
    """

    def __init__(
        self,
        *,
        layout: Sequence[Sequence[Any]],
        compression: float = 5.0,
        channels: Sequence[int] = (32, 32, 32),
        hidden: int = 256,
        dim: int = 128,
        most_inputs: int = 64,
        mixed_inputs: int = 16,
    ) -> None:
        given = FixedLayout.from_json(layout)
        settings = {
            "channels": list(channels),
            "hidden": hidden,
            "dim": dim,
            "most_inputs": most_inputs,
            "mixed_inputs": mixed_inputs,
        }
        super().__init__(
            given, method=METHOD, scales=one_scale_a_part(given), compression=compression, settings=settings
        )
        self.dim = dim
        self.stack = plain_stack(given, types=LINEAR, method=METHOD)
        num_in = self.stack.shapes[0][1]
        self.mixing = InputMixing(num_in, mixed_inputs) if num_in > most_inputs else None
        self.axes = _axes(self.stack)
        num_in = mixed_inputs if self.mixing else num_in
        num_out = self.stack.shapes[-1][0]
        # The neurons of inputs and outputs keep their places: theirs are channels.
        fixed = [num_in, *[1] * (len(self.stack) - 2), num_out, *[1] * (len(self.stack) - 1), num_out]
        widths = [1, *channels]
        self.layers = nn.ModuleList(
            WeightSpaceLinear(self.axes, [a * f for f in fixed], [b * f for f in fixed]) for a, b in pairwise(widths)
        )
        pooled = sum(channels[-1] * f * (2 if own else 1) for f, own in zip(fixed, self.axes, strict=True))
        self.head = nn.Sequential(nn.Linear(pooled, hidden), nn.ReLU(), nn.Linear(hidden, dim), nn.ReLU())

    def encode(self, weights: Float[Tensor, "networks entries"]) -> Float[Tensor, "networks dim"]:
        """Encodes standardised weights."""
        matrices, biases = self.stack.split(weights)
        if self.mixing is not None:
            matrices[0] = self.mixing(matrices[0])
        first, *inner, last = [matrix.squeeze(-1) for matrix in matrices]
        arrays = [first, *(one.transpose(1, 2).unsqueeze(-1) for one in inner), last.transpose(1, 2)]
        arrays += [*(one.unsqueeze(-1) for one in biases[:-1]), biases[-1]]
        for layer in self.layers:
            arrays = [one.relu() for one in layer(arrays)]
        pooled = []
        for x, own in zip(arrays, self.axes, strict=True):
            pooled.append(_pooled(x, own, ()))
            if own:
                pooled.append(x.amax(tuple(range(1, 1 + len(own)))))
        return self.head(torch.cat(pooled, -1))


def _axes(stack: PlainStack) -> list[Axes]:
    """Hidden layers that each weight, then each bias, runs over."""
    last = len(stack)  # of inputs and outputs, 0 and `last`, the neurons stay
    weights = [tuple(axis for axis in (layer - 1, layer) if 0 < axis < last) for layer in range(1, last + 1)]
    return weights + [(layer,) if layer < last else () for layer in range(1, last + 1)]


def make_dwsnet(networks: Sequence[Network]) -> DWSNetEncoder:
    """Makes the encoder for the one layout of some MLPs.

    Raises:
        CannotTakeError: they have several layouts, or are no plain MLPs of at least two layers.
    """
    layout = FixedLayout.shared_by(networks, METHOD)
    plain_stack(layout, types=LINEAR, method=METHOD, name=networks[0].name)
    for network in networks:
        check_not_joined(network, method=METHOD)
    return DWSNetEncoder(layout=layout.to_json())
