"""Random graphs of linear layers, convolutions, norms, sums, concatenations and heads: whatever is found is legal."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks_to_trace import as_after_training
from proof import change
from torch import nn
from torch.nn import functional

from sne.symmetry import sample, trace

ACTIVATIONS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "leaky_relu": functional.leaky_relu,
    "none": lambda x: x,
    "abs": torch.abs,
    "square": lambda x: x * x,
    "swish": lambda x: x * torch.sigmoid(x),
    "cos": torch.cos,
    "normal": lambda x: x / x.pow(2).mean(1, keepdim=True).add(1e-6).sqrt(),
    "soft": lambda x: torch.softmax(x, 1),
}
STEPS = ("mix", "act", "norm", "sum", "cat", "split", "group", "product", "heads", "gram", "roll", "mean")
moves = st.tuples(
    st.sampled_from(STEPS),
    st.sampled_from(sorted(ACTIVATIONS)),
    st.integers(0, 7),
    st.integers(0, 7),
    st.integers(2, 6),
)


class Random(nn.Module):
    """A graph of drawn operations; each reads values that are there and adds one. Images have a 3 x 3 grid."""

    def __init__(self, plan, is_image: bool):
        super().__init__()
        self.plan, self.is_image = plan, is_image
        self.layers = nn.ModuleDict()
        self.widths: list[int] = [4]
        self.heads_of: dict[int, int] = {}
        for i, (step, _, one, two, width) in enumerate(plan):
            x, y = self.widths[one % len(self.widths)], self.widths[two % len(self.widths)]
            name = str(i)
            if step in ("mix", "mean"):
                self.layers[name], x = self._map(x, width), width
            elif step == "norm":
                kind = (nn.BatchNorm2d if is_image else nn.BatchNorm1d) if width % 2 else nn.GroupNorm
                self.layers[name] = kind(x) if width % 2 else kind(2 - x % 2, x)
            elif step in ("sum", "product"):
                self.layers[name] = self._map(y, x) if x != y else nn.Identity()
            elif step == "cat":
                x = x + y
            elif step == "split":
                x = x - x // 2
            elif step == "group" and is_image and x % 2 == 0:
                self.layers[name] = nn.Conv2d(x, 2 * x, 3, padding=1, groups=2 if width % 2 else x)
                x = 2 * x
            elif step == "heads":
                self.layers[name] = self._map(x, 3 * 2 * width)
                x = 2 * width
            elif step == "gram":
                x = x * x
                self.layers[name], x = self._map(x, width), width
            self.widths.append(min(x, 64))
            self.widths[-1] = x
        self.head = nn.Linear(self.widths[-1], 2)

    def _map(self, x, y):
        return nn.Conv2d(x, y, 1) if self.is_image else nn.Linear(x, y)

    def forward(self, x):
        values = [x]
        for i, (step, activation, one, two, width) in enumerate(self.plan):
            x, y = values[one % len(values)], values[two % len(values)]
            layer = self.layers[str(i)] if str(i) in self.layers else None
            if step in ("mix", "norm"):
                x = layer(x)
            elif step == "act":
                x = ACTIVATIONS[activation](x)
            elif step == "sum":
                x = x + layer(y)
            elif step == "product":
                x = x * layer(y)
            elif step == "cat":
                x = torch.cat([x, y], 1)
            elif step == "split":
                x = x[:, x.shape[1] // 2 :]
            elif step == "group" and layer is not None:
                x = layer(x)
            elif step == "heads":
                parts = layer(x).unflatten(1, (3, 2, width))
                q, k, v = parts.unbind(1)
                q, k, v = (one.flatten(3) if self.is_image else one[..., None] for one in (q, k, v))
                scores = torch.softmax(torch.einsum("bhdi,bhdj->bhij", q, k), -1 if activation != "soft" else 1)
                mixed = torch.einsum("bhij,bhdj->bhdi", scores, v)
                if activation == "cos":
                    mixed = mixed + mixed.mean(1, keepdim=True)
                mixed = mixed.flatten(1, 2)
                x = mixed.unflatten(-1, x.shape[2:]) if self.is_image else mixed[..., 0]
            elif step == "gram":
                pairs = torch.einsum("bi...,bj...->bij...", x, x)
                x = layer(torch.tanh(pairs.flatten(1, 2)))
            elif step == "roll":
                x = x.roll(1, 1)
            elif step == "mean":
                x = layer(x - x.mean(1, keepdim=True))
            values.append(torch.tanh(x) if activation == "square" else x)
        return self.head(values[-1].mean((2, 3)) if self.is_image else values[-1])


def assert_legal(plan, is_image):
    torch.manual_seed(0)
    module = as_after_training(Random(plan, is_image))
    inputs = (torch.randn(3, 4, *([3, 3] if is_image else []), dtype=torch.float64),)
    symmetry = trace(module, inputs)
    for seed, kinds in enumerate((("permutation",), ("scaling",), ("sign",), ("mixing",), ("permutation", "mixing"))):
        found = change(module, inputs, sample(symmetry, seed, kinds))
        assert found < 1e-8, (kinds, found, symmetry.groups)


def sane(plan, is_image):
    """Whether widths stay small."""
    try:
        return max(Random(plan, is_image).widths) <= 64
    except ValueError:
        return False


def draws(count):
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.mark.parametrize("is_image", [False, True])
def test_random_networks(is_image):
    @draws(15)
    @given(st.lists(moves, min_size=2, max_size=7).filter(lambda plan: sane(plan, is_image)))
    def run(plan):
        assert_legal(plan, is_image)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("is_image", [False, True])
def test_many_random_networks(is_image):
    @draws(200)
    @given(st.lists(moves, min_size=2, max_size=10).filter(lambda plan: sane(plan, is_image)))
    def run(plan):
        assert_legal(plan, is_image)

    run()
