"""DWSNet: equivariant layers between weight spaces of MLPs, followed by pooling."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from math import sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sne.lab.neural.fixed_layout import FixedLayout, FixedLayoutEncoder, one_scale_per_part
from sne.lab.neural.plain_stack import LINEAR, InputMixing, PlainStack, plain_layout, plain_stack
from sne.networks import Network
from sne.nn import in_float32

METHOD = "dwsnet"

Axes = tuple[int, ...]
"""Hidden layers over whose neurons an array ranges, ascending. Arrays have shape [networks, *neurons, channels]."""


def _subsets(axes: Axes) -> list[Axes]:
    return [some for size in range(len(axes) + 1) for some in combinations(axes, size)]


def _pooled(x: Tensor, axes: Axes, kept: Axes) -> Tensor:
    """Averages over all axes that are not kept."""
    dims = [1 + place for place, axis in enumerate(axes) if axis not in kept]
    return x.mean(dims) if dims else x


def _broadcast(x: Tensor, kept: Axes, axes: Axes) -> Tensor:
    """Inserts the axes that were not kept, so that the values are repeated along them."""
    for place, axis in enumerate(axes):
        if axis not in kept:
            x = x.unsqueeze(1 + place)
    return x


class WeightSpaceLinear(nn.Module):
    """An affine map between weight spaces that commutes with permutations of hidden neurons.

    Such a map from one array to another keeps some of the neuron axes that both have, averages the array over its
    other axes, maps the channels, and repeats the result along the remaining axes of the target. There is one linear
    map per target and set of kept axes; it reads the channels of all arrays that have these axes.

    Args:
        axes: Axes of each array.
        inputs: Channels of each array.
        outputs: Channels of each array of the result.

    Source: Navon et al., "Equivariant Architectures for Learning in Deep Weight Spaces", arXiv 2301.12780, section 4.
    Differs: the blocks of that section are merged by the axes that they keep, which spans the same maps; pooling is
        the mean; parameters are initialised so that the sets of kept axes contribute equal shares of a variance of 2.
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
            terms = [_broadcast(one(seen[kept]), kept, own) for kept, one in zip(_subsets(own), maps, strict=True)]
            result = terms[-1]  # the term that keeps all axes
            for term in terms[:-1]:
                result = result + term
            results.append(result)
        return results


class DWSNetEncoder(FixedLayoutEncoder):
    """Reads MLPs of one layout, invariant to permutations of their hidden neurons.

    Args:
        layout: Value of `FixedLayout.to_json`; at least two linear layers and nothing else.
        compression: Compression of standardised weights; see `FixedLayoutEncoder`.
        channels: Channels per weight of each equivariant layer.
        hidden: Width of the layer after pooling.
        dim: Length of the embedding.
        most_inputs: Networks with more inputs have them mixed to `mixed_inputs` first.
        mixed_inputs: Number of mixtures; see `InputMixing`.

    Source: Navon et al., "Equivariant Architectures for Learning in Deep Weight Spaces", arXiv 2301.12780, sections 4
        and 5.
    Differs: weights are standardised part by part and compressed, which helped on zoos with many initial scales; the
        invariant layer takes the mean and the maximum of each array; a missing bias is read as zero; wide inputs are
        mixed, since the cost grows with the square of their number.
    """

    @in_float32()
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
            given, method=METHOD, scales=one_scale_per_part(given), compression=compression, settings=settings
        )
        self.dim = dim
        self.stack = plain_stack(given, types=LINEAR, method=METHOD)
        num_in = self.stack.shapes[0][1]
        self.mixing = InputMixing(num_in, mixed_inputs) if num_in > most_inputs else None
        self.axes = _axes(self.stack)
        num_in = mixed_inputs if self.mixing else num_in
        num_out = self.stack.shapes[-1][0]
        # No symmetry permutes inputs and outputs, so they are channels.
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
    """Returns the hidden layers over which each weight, then each bias, ranges."""
    last = len(stack)  # 0 and `last` are inputs and outputs, which are not permuted
    weights = [tuple(axis for axis in (layer - 1, layer) if 0 < axis < last) for layer in range(1, last + 1)]
    return weights + [(layer,) if layer < last else () for layer in range(1, last + 1)]


def make_dwsnet(networks: Sequence[Network], /) -> DWSNetEncoder:
    """Builds the encoder for the layout that MLPs share.

    Raises:
        CannotTakeError: If the networks have more than one layout, or are not plain MLPs of at least two layers.
    """
    return DWSNetEncoder(layout=plain_layout(networks, types=LINEAR, method=METHOD).to_json())
