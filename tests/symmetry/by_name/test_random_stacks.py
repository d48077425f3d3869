"""Random modules with the names of plain stacks: skips wherever widths are equal, layers used twice."""

import torch
from by_name_proof import largest_change, shake
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sne.networks import TensorInfo
from sne.symmetry import symmetry_by_name

WIDTHS = (2, 4, 5, 6)


class Wild(nn.Module):
    """A stack with what its names do not show.

    Each layer's input is what came before, plus earlier values of the same width; some layers are those before
    them again; on images, linear layers may read a flattened image or its mean.
    """

    def __init__(self, widths, skips, again, side, pooled):
        super().__init__()
        self.side, self.pooled, self.skips = side, pooled, skips
        layers = []
        for i in range(len(widths) - 1):
            is_conv = side > 1 and i < len(widths) // 2
            is_first = side > 1 and i == len(widths) // 2
            reads = widths[i] * (side * side if is_first and not pooled else 1)
            same = [j for j, layer in enumerate(layers) if _shape(layer) == (reads, widths[i + 1], is_conv)]
            if same and again[i]:
                layers.append(layers[same[0]])
            elif is_conv:
                layers.append(nn.Conv2d(reads, widths[i + 1], 3, padding=1))
            else:
                layers.append(nn.Linear(reads, widths[i + 1]))
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        seen = []
        for i, layer in enumerate(self.layers):
            if isinstance(layer, nn.Linear) and x.ndim == 4:
                x = x.mean((2, 3)) if self.pooled else x.flatten(1)
                seen = []
            for j, earlier in enumerate(seen):
                if earlier.shape == x.shape and self.skips[(i + 3 * j) % len(self.skips)]:
                    x = x + earlier
            seen.append(x)
            x = layer(x)
            x = torch.relu(x) if i < len(self.layers) - 1 else x
        for earlier in seen:
            x = x + earlier if earlier.shape == x.shape and self.skips[0] else x
        return x


def _shape(layer):
    return layer.weight.shape[1], layer.weight.shape[0], layer.weight.ndim == 4


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(WIDTHS), min_size=3, max_size=8),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.sampled_from([1, 2, 3]),
    st.booleans(),
    st.sampled_from([None, "relu"]),
)
def test_what_is_claimed_holds(widths, skips, again, side, pooled, activation):
    module = shake(Wild(widths, skips, again, side, pooled))
    shape = (2, widths[0], side, side) if side > 1 else (2, widths[0])
    inputs = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    infos = {name: TensorInfo(name, tuple(t.shape), "float64") for name, t in module.state_dict().items()}
    symmetry = symmetry_by_name(infos, activation=activation)
    assert largest_change(module, [inputs], symmetry, ("permutation", "scaling"), draws=3) < 1e-10
    plain = not any(again) and side == 1
    wanted = set(widths[1:-1]) - {widths[0], widths[-1]}
    assert not plain or {group.size for group in symmetry.groups} == wanted
