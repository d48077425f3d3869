"""Residual networks named as in torchvision, as in the CIFAR rewrites (`shortcut`, `linear`) and as in transformers.

The stream of a stage is one group over its blocks and its shortcut; each width inside a block is a group of its own.
Blocks that normalise before they convolve have the same names, so that a block that changes the width must show that
norms come after convolutions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sne.networks import TensorInfo
from sne.symmetry.by_name.claims import Claims, UncertainError
from sne.symmetry.by_name.known import Known, kinds_through
from sne.symmetry.symmetry import Span

_RENAMED = (
    (r"(?:resnet\.)?embedder\.embedder\.convolution", "conv.0"),
    (r"(?:resnet\.)?embedder\.embedder\.normalization", "norm.0"),
    (r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.convolution", r"block.\1.\2.conv.\3"),
    (r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.normalization", r"block.\1.\2.norm.\3"),
    (r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution", r"block.\1.\2.conv.shortcut"),
    (r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization", r"block.\1.\2.norm.shortcut"),
    (r"conv1", "conv.0"),
    (r"bn1", "norm.0"),
    (r"layer(\d+)\.(\d+)\.conv(\d+)", r"block.\1.\2.conv.\3"),
    (r"layer(\d+)\.(\d+)\.bn(\d+)", r"block.\1.\2.norm.\3"),
    (r"layer(\d+)\.(\d+)\.(?:downsample|shortcut)\.0", r"block.\1.\2.conv.shortcut"),
    (r"layer(\d+)\.(\d+)\.(?:downsample|shortcut)\.1", r"block.\1.\2.norm.shortcut"),
    (r"fc|linear|classifier\.1", "head"),
)
_COMPILED = tuple((re.compile(pattern), name) for pattern, name in _RENAMED)
_NORM_LEAVES = frozenset({"weight", "bias", "running_mean", "running_var", "num_batches_tracked"})
_NOT_ONE = "not understood: a convolution in groups reads or feeds it"


@dataclass
class _Block:
    convs: dict[str, str] = field(default_factory=dict)  # place in the block, or "shortcut", to path
    norms: dict[str, str] = field(default_factory=dict)


def fits_resnet(infos: Mapping[str, TensorInfo]) -> bool:
    """Whether a network has the names of a residual network."""
    stems = {name.rpartition(".")[0] for name in infos}
    blocks = ("layer1.0.conv2", "encoder.stages.0.layers.0.layer.1.convolution")
    return any(stem.removeprefix("resnet.") in blocks for stem in stems)


def read_resnet(claims: Claims, known: Known) -> None:
    """Claims the widths of a residual network.

    Raises:
        UncertainError: The network has other tensors or other shapes than residual networks.
    """
    whole, blocks, head = _sort(claims.infos)
    if set(whole.convs) != {"0"} or set(whole.norms) != {"0"}:
        raise UncertainError("a residual network has one convolution and one norm before its blocks")
    if f"{whole.norms['0']}.running_mean" not in claims.infos:
        raise UncertainError(f"{whole.norms['0']} is not a batch norm")
    _check_norms_come_after(claims.infos, blocks)
    reader = _Reader(claims, known)
    stream = "stream.stem"
    reader.conv(whole.convs["0"], "", stream)
    reader.norm(whole.norms["0"], stream)
    for (stage, number), block in sorted(blocks.items()):
        stream = reader.block(f"{stage}.{number}", block, stream, f"stream.{stage}.{number}")
    reader.allow_scales()
    if head:
        claims.claim(stream, reader.width(f"{head}.weight", 1), Span(f"{head}.weight", 1, power=-1))
        claims.fix(f"{head}.weight", 0, "output")
        claims.fix(f"{head}.bias", 0, "output")
    for one in reader.streams if not head else ():
        claims.give_up(one, "output, unless a head reads it that is not stored")


def _sort(infos: Mapping[str, TensorInfo]) -> tuple[_Block, dict[tuple[int, int], _Block], str]:
    """Returns the layers before the blocks, the blocks by stage and number, and the path of the head."""
    whole, blocks, head = _Block(), {}, ""
    for name in infos:
        path, _, leaf = name.rpartition(".")
        new = next((re.sub(pattern, to, path) for pattern, to in _COMPILED if pattern.fullmatch(path)), "")
        words = new.split(".")
        if new == "head" and leaf in ("weight", "bias") and head in ("", path):
            head = path
            continue
        block, kind, place = whole, words[0], words[-1]
        if words[0] == "block":
            block, kind = blocks.setdefault((int(words[1]), int(words[2])), _Block()), words[3]
        layers = {"conv": block.convs, "norm": block.norms}.get(kind, {})
        allowed = _NORM_LEAVES if kind == "norm" else {"weight"}
        if kind not in ("conv", "norm") or leaf not in allowed or layers.setdefault(place, path) != path:
            raise UncertainError(f"residual networks have no tensor {name}")
    return whole, blocks, head


def _check_norms_come_after(infos: Mapping[str, TensorInfo], blocks: Mapping[tuple[int, int], _Block]) -> None:
    changes = False
    for block in blocks.values():
        if len(block.convs) < 2 or set(block.convs) != set(block.norms):
            raise UncertainError("in a residual network, each block has as many norms as convolutions")
        for place, path in block.convs.items():
            shape = infos[f"{path}.weight"].shape
            norm = infos.get(f"{block.norms[place]}.running_mean")
            if norm is None or len(shape) != 4 or norm.shape != (shape[0],):
                raise UncertainError(f"{block.norms[place]} does not follow {path} as a batch norm")
            changes = changes or (place != "shortcut" and shape[0] != shape[1])
    if not changes:
        raise UncertainError("no block changes the width: nothing shows that norms come after convolutions")


class _Reader:
    """Claims layers one by one."""

    def __init__(self, claims: Claims, known: Known) -> None:
        self.claims = claims
        self.kinds = kinds_through(known.activation)
        self.streams: list[str] = ["stream.stem"]
        self.groups: dict[str, None] = {}
        self.fixed_scales: set[str] = set()

    def width(self, tensor: str, dim: int) -> int:
        shape = self.claims.infos[tensor].shape if tensor in self.claims.infos else ()
        if dim >= len(shape):
            raise UncertainError(f"{tensor} is {list(shape)}, expected an axis {dim}")
        return shape[dim]

    def allow_scales(self) -> None:
        """Allows scales of all units that only affine batch norms feed, if the activation lets them pass."""
        for group in self.groups:
            if group not in self.fixed_scales and "scaling" in self.kinds:
                self.claims.allow(group, "scaling")

    def block(self, name: str, block: _Block, stream: str, fresh: str) -> str:
        """Claims a block; returns the name of the stream after it."""
        after = stream
        if "shortcut" in block.convs:
            after = fresh
            self.streams.append(after)
            self.conv(block.convs["shortcut"], stream, after)
            self.norm(block.norms["shortcut"], after)
        places = sorted((place for place in block.convs if place != "shortcut"), key=int)
        if [int(place) - int(places[0]) for place in places] != list(range(len(places))):
            raise UncertainError(f"block {name} has convolutions {', '.join(places)}")
        reads = stream
        for number, place in enumerate(places):
            is_last = number == len(places) - 1
            feeds = after if is_last else f"inner.{name}.{number}"
            self.conv(block.convs[place], reads, feeds)
            self.norm(block.norms[place], feeds)
            reads = feeds
        return after

    def conv(self, path: str, reads: str, feeds: str) -> None:
        """Claims a convolution; `reads` is empty for the first one, which reads the input."""
        weight = f"{path}.weight"
        self.claims.claim(feeds, self.width(weight, 0), Span(weight, 0))
        self.groups.setdefault(feeds)
        for dim in (2, 3):
            self.claims.fix(weight, dim, "kernel position")
        if not reads:
            self.claims.fix(weight, 1, "input")
            return
        size = self.claims.size(reads)
        if self.width(weight, 1) == size:
            self.claims.claim(reads, size, Span(weight, 1, power=-1))
        else:
            if size % self.width(weight, 1):
                raise UncertainError(f"{weight} reads {self.width(weight, 1)} channels, {reads} has {size}")
            self.claims.fix(weight, 1, _NOT_ONE)
            for group in (reads, feeds):
                self.claims.give_up(group, _NOT_ONE)

    def norm(self, path: str, feeds: str) -> None:
        """Claims a batch norm. Units can be scaled if all batch norms that feed them have scales and biases."""
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            name = f"{path}.{leaf}"
            if name in self.claims.infos:
                self.claims.claim(feeds, self.width(name, 0), Span(name, 0, power=int(leaf in ("weight", "bias"))))
            elif leaf in ("weight", "bias"):
                self.fixed_scales.add(feeds)
