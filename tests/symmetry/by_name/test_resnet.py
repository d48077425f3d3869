"""Residual networks: torchvision's names written out by hand, the CIFAR rewrite's, and transformers' modules."""

import pytest
import torch
import transformers
from by_name_proof import prove
from torch import nn
from torch.nn.functional import relu

from sne.checkpoints.read import read_network
from sne.symmetry import symmetry_by_name

IMAGES = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


class Block(nn.Module):
    """conv-norm-relu-conv-norm, or three of them; names as in torchvision."""

    def __init__(self, reads, feeds, stride, widths, groups=1, shortcut="downsample", pre=False):
        super().__init__()
        widths = (reads, *widths, feeds)
        self.depth, self.pre = len(widths) - 1, pre
        for i in range(1, len(widths)):
            kernel = 3 if self.depth == 2 or i == 2 else 1
            conv = nn.Conv2d(
                widths[i - 1], widths[i], kernel, stride if i == 1 else 1, kernel // 2, bias=False,
                groups=groups if i == 2 else 1,
            )  # fmt: skip
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(widths[i - 1] if pre else widths[i]))
        self.shortcut_name = shortcut
        if stride > 1 or reads != feeds:
            conv = nn.Conv2d(reads, feeds, 1, stride, bias=False)
            self.add_module(shortcut, nn.Sequential(conv, nn.BatchNorm2d(feeds)))

    def forward(self, x):
        shortcut = getattr(self, self.shortcut_name, nn.Identity())(x)
        for i in range(1, self.depth + 1):
            conv, norm = getattr(self, f"conv{i}"), getattr(self, f"bn{i}")
            x = conv(relu(norm(x))) if self.pre else norm(conv(x))
            x = relu(x) if i < self.depth and not self.pre else x
        return x + shortcut if self.pre else relu(x + shortcut)


class ResNet(nn.Module):
    def __init__(self, depths=(2, 2, 2, 2), width=4, inner=1, expansion=1, head="fc", growth=2, **block):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages, reads = len(depths), width
        for stage, depth in enumerate(depths):
            narrow = width * growth**stage
            blocks = []
            for i in range(depth):
                stride = 2 if stage and i == 0 and growth > 1 else 1
                blocks.append(Block(reads, narrow * expansion, stride, (narrow,) * inner, **block))
                reads = narrow * expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.head = head
        if head:
            self.add_module(head, nn.Linear(reads, 5))

    def forward(self, x):
        x = self.pool(relu(self.bn1(self.conv1(x))))
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        x = x.mean((2, 3))
        return getattr(self, self.head)(x) if self.head else x


def streams(sizes):
    return {name: size for name, size in sizes.items() if name.startswith("stream")}


def inners(sizes):
    return {name: size for name, size in sizes.items() if name.startswith("inner")}


RESNET18 = {"stream.stem": 4, "stream.2.0": 8, "stream.3.0": 16, "stream.4.0": 32}


@pytest.mark.parametrize("names", [{}, {"head": "linear", "shortcut": "shortcut"}])
def test_a_small_resnet18(names):
    sizes = prove(ResNet(**names), IMAGES)
    assert streams(sizes) == RESNET18
    assert inners(sizes) == {
        f"inner.{stage}.{block}.0": 4 * 2 ** (stage - 1) for stage in (1, 2, 3, 4) for block in (0, 1)
    }


def test_bottlenecks():
    sizes = prove(ResNet(depths=(2, 1), inner=2, expansion=4), IMAGES)
    assert streams(sizes) == {"stream.stem": 4, "stream.1.0": 16, "stream.2.0": 32}
    assert inners(sizes) == {
        f"inner.{block}.{i}": n for block, n in (("1.0", 4), ("1.1", 4), ("2.0", 8)) for i in (0, 1)
    }


def test_convolutions_in_groups_keep_the_widths_beside_them():
    sizes = prove(ResNet(depths=(1, 1), inner=2, expansion=4, groups=2), IMAGES)
    assert streams(sizes) == {"stream.stem": 4, "stream.1.0": 16, "stream.2.0": 32} and not inners(sizes)


def test_scales_pass_where_the_activation_is_told():
    module = ResNet(depths=(1, 1))
    prove(module, IMAGES, activation="relu")
    kinds = {group.name: group.kinds for group in symmetry_by_name(read_network(module), activation="relu").groups}
    assert kinds["inner.1.0.0"] == kinds["stream.stem"] == ("permutation", "scaling")


def test_without_a_head_the_streams_may_be_outputs():
    sizes = prove(ResNet(head=""), IMAGES)
    assert not streams(sizes) and len(inners(sizes)) == 8


@pytest.mark.parametrize("growth", [1, 2])
def test_norms_before_convolutions_have_the_same_names(growth):
    assert prove(ResNet(depths=(1, 1), pre=True, growth=growth), IMAGES) == {}


def test_where_no_width_changes_nothing_tells_norms_before_from_norms_after():
    assert prove(ResNet(depths=(2, 2), growth=1), IMAGES) == {}


def test_channels_added_without_weights():
    class Padded(ResNet):
        def forward(self, x):
            x = relu(self.bn1(self.conv1(x)))
            x = self.layer1(x)
            block = self.layer2[0]
            added = torch.cat([x[..., ::2, ::2], torch.zeros_like(x[..., ::2, ::2])], 1)
            x = relu(block.bn2(block.conv2(relu(block.bn1(block.conv1(x))))) + added)
            return self.fc(x.mean((2, 3)))

    module = Padded(depths=(1, 1))
    del module.layer2[0].downsample
    assert prove(module, IMAGES) == {}


@pytest.mark.parametrize(("kind", "inner"), [("basic", 4), ("bottleneck", 8)])
def test_transformers(kind, inner):
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 24], depths=[2, 1], layer_type=kind, num_labels=3
    )

    class Logits(transformers.ResNetForImageClassification):
        def forward(self, x):
            return super().forward(x).logits

    sizes = prove(Logits(config), IMAGES)
    assert streams(sizes) == {"stream.stem": 8, "stream.0.0": 16, "stream.1.0": 24}
    assert len(inners(sizes)) == (3 if kind == "basic" else 6)
