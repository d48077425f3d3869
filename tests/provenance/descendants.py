"""Small networks and what can be made of them, for the tests of provenance."""

import itertools

import torch
from torch import Tensor, nn

from sne import symmetry

State = dict[str, Tensor]


def perceptron(seed: int, widths: tuple[int, ...] = (16, 32, 24, 4)) -> nn.Sequential:
    """A rectified perceptron with random weights."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(seed: int) -> nn.Sequential:
    """A convolutional network with batch norm."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5),
    ).eval()  # fmt: skip


def copy_of(module: nn.Module, inputs: Tensor, seed: int = 1, kinds: tuple[str, ...] = ("permutation",)) -> State:
    """The state of a module after a change that keeps its function."""
    found = symmetry.trace(module, (inputs,))
    return symmetry.apply(symmetry.sample(found, seed=seed, kinds=kinds), module.state_dict())


def noisy(state: State, size: float, seed: int = 5, only: str = "") -> State:
    """A state with noise of a size relative to each tensor, in tensors whose name starts with `only`."""
    torch.manual_seed(seed)
    return {
        name: values + size * values.std() * torch.randn_like(values)
        if values.is_floating_point() and values.numel() > 1 and name.startswith(only)
        else values
        for name, values in state.items()
    }


def quantised(values: Tensor, bits: int) -> Tensor:
    """A matrix on symmetric levels, one scale per row."""
    if values.ndim < 2:
        return values
    rows = values.flatten(1)
    step = rows.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    return ((rows / step).round() * step).view_as(values)


def pruned(values: Tensor, share: float) -> Tensor:
    """A matrix whose smallest entries are zero."""
    if values.ndim < 2:
        return values
    return values * (values.abs() > values.abs().quantile(share))


def vision_transformer(seed: int, dim: int = 16, blocks: int = 2) -> State:
    """The state of a small vision transformer under the names of timm."""
    torch.manual_seed(seed)
    shapes = {"pos_embed": (1, 10, dim), "patch_embed.proj.weight": (dim, 1, 4, 4), "patch_embed.proj.bias": (dim,)}
    for number in range(blocks):
        sizes = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (24, dim), "mlp.fc2": (dim, 24)}
        for name, shape in {"norm1": (dim,), "norm2": (dim,), **sizes}.items():
            shapes[f"blocks.{number}.{name}.weight"] = shape
            shapes[f"blocks.{number}.{name}.bias"] = shape[:1]
    shapes |= {"norm.weight": (dim,), "norm.bias": (dim,), "head.weight": (5, dim), "head.bias": (5,)}
    return {
        name: torch.randn(shape) / 4 + ("norm" in name and name.endswith("weight")) for name, shape in shapes.items()
    }
