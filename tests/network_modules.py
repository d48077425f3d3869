"""Modules with the names of the common libraries, small, with random weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sne.networks import Hint, Network, TensorInfo, build_network


@dataclass
class Held:
    """The least that a TensorSource is."""

    state: Mapping[str, Tensor]
    name: str = "held"

    @property
    def infos(self) -> dict[str, TensorInfo]:
        return {
            key: TensorInfo(key, tuple(value.shape), str(value.dtype).removeprefix("torch."))
            for key, value in self.state.items()
        }

    def load(self, name: str) -> Tensor:
        return self.state[name].float()


def read(source: nn.Module | Mapping[str, Tensor], hints: Mapping[str, Hint] | None = None) -> Network:
    state = source.state_dict() if isinstance(source, nn.Module) else source
    return build_network("a network", Held(state), hints or {})


def order(network: Network) -> list[str]:
    """Names, those of one level in one entry."""
    levels: dict[int, list[str]] = {}
    for layer in network.layers:
        levels.setdefault(layer.level, []).append(layer.name)
    assert sorted(levels) == list(range(network.num_levels))
    return [" ".join(sorted(levels[level])) for level in sorted(levels)]


def module(**children: nn.Module | nn.Parameter) -> nn.Module:
    """A module with these children, in this order."""
    result = nn.Module()
    for name, child in children.items():
        setattr(result, name, child)
    return result


def vector(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))


def basic_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    block = module(
        conv1=nn.Conv2d(inputs, outputs, 3, stride, bias=False),
        bn1=nn.BatchNorm2d(outputs),
        conv2=nn.Conv2d(outputs, outputs, 3, bias=False),
        bn2=nn.BatchNorm2d(outputs),
    )
    if inputs != outputs:
        block.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
    return block


def torchvision_resnet(widths: tuple[int, ...] = (8, 12)) -> nn.Module:
    net = module(conv1=nn.Conv2d(3, 8, 7, bias=False), bn1=nn.BatchNorm2d(8))
    inputs = 8
    for index, width in enumerate(widths, start=1):
        blocks = nn.Sequential(basic_block(inputs, width, index), basic_block(width, width, 1))
        setattr(net, f"layer{index}", blocks)
        inputs = width
    net.fc = nn.Linear(inputs, 10)
    return net


def timm_vit(depth: int = 2, dim: int = 8) -> nn.Module:
    blocks = nn.ModuleList(
        module(
            norm1=nn.LayerNorm(dim),
            attn=module(qkv=nn.Linear(dim, 3 * dim), proj=nn.Linear(dim, dim)),
            ls1=module(gamma=vector(dim)),
            norm2=nn.LayerNorm(dim),
            mlp=module(fc1=nn.Linear(dim, 2 * dim), fc2=nn.Linear(2 * dim, dim)),
        )
        for _ in range(depth)
    )
    return module(
        cls_token=vector(1, 1, dim),
        pos_embed=vector(1, 5, dim),
        patch_embed=module(proj=nn.Conv2d(3, dim, 4)),
        blocks=blocks,
        norm=nn.LayerNorm(dim),
        head=nn.Linear(dim, 3),
    )
