"""Networks put together by hand, so that tests of chunks and encoders need no reader."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from sne.networks import Layer, LayerType, Network, Part, Role, TensorInfo


class TensorsInMemory:
    def __init__(self, tensors: Mapping[str, Tensor], name: str = "handmade"):
        self.name = name
        self.tensors = dict(tensors)
        self.loads: list[str] = []

    @property
    def infos(self) -> dict[str, TensorInfo]:
        return {k: TensorInfo(k, tuple(v.shape), str(v.dtype)) for k, v in self.tensors.items()}

    def load(self, name: str) -> Tensor:
        self.loads.append(name)
        return self.tensors[name]


class RangedTensors(TensorsInMemory):
    """Counts the entries of each tensor that are loaded by ranges."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__(tensors)
        self.ranges = dict.fromkeys(tensors, 0)

    def load_range(self, name: str, start: int, stop: int) -> Tensor:
        self.ranges[name] += stop - start
        return self.tensors[name].reshape(-1)[start:stop]


def network(layers: tuple[Layer, ...], seed: int = 0, std: float = 0.3, name: str = "handmade") -> Network:
    """Random weights for a layout; stored shapes are those of the parts, so no fused tensors."""
    generator = torch.Generator().manual_seed(seed)
    parts = [part for layer in layers for part in layer.parts]
    tensors = {part.tensor: torch.randn(part.shape, generator=generator) * std for part in parts}
    return Network(name, layers, TensorsInMemory(tensors, name))


def with_tensors(given: Network, **changed: Tensor) -> Network:
    """The network with some tensors replaced; `__` stands for a dot in a name."""
    assert isinstance(given.source, TensorsInMemory)
    named = {k.replace("__", "."): v for k, v in changed.items()}
    assert set(named) <= set(given.source.tensors)
    return Network(given.name, given.layers, TensorsInMemory({**given.source.tensors, **named}))


def layer(kind: LayerType, name: str, level: int, *shape: int, bias: bool = True) -> Layer:
    """A layer with a weight of this shape, (out, in, kernel...) or (out,), and a bias."""
    in_axis = 1 if len(shape) > 1 else None
    role = Role.WEIGHT if len(shape) > 1 else Role.SCALE
    parts = [Part(f"{name}.weight", role, shape, 0, in_axis)]
    if bias:
        parts.append(Part(f"{name}.bias", Role.BIAS, (shape[0],)))
    return Layer(name, kind, level, tuple(parts))


def mlp(widths: tuple[int, ...] = (6, 40, 3)) -> tuple[Layer, ...]:
    pairs = pairwise(widths)
    return tuple(layer(LayerType.LINEAR, f"fc{i}", i, n_out, n_in) for i, (n_in, n_out) in enumerate(pairs))


def cnn(channels: tuple[int, ...] = (1, 4, 6), classes: int = 5) -> tuple[Layer, ...]:
    pairs = pairwise(channels)
    layers = [layer(LayerType.CONV2D, f"conv{i}", i, o, n, 3, 3) for i, (n, o) in enumerate(pairs)]
    return (*layers, layer(LayerType.LINEAR, "head", len(layers), classes, channels[-1]))


def small_cnn() -> tuple[Layer, ...]:
    """The 4,970 weights of the reference zoo."""
    return cnn((1, 16, 16, 16), 10)


def resnet(widths: tuple[int, ...] = (4, 8), classes: int = 5) -> tuple[Layer, ...]:
    """Two residual blocks of two convolutions with batch norms a width, as a ResNet-18 has them."""
    layers = [layer(LayerType.CONV2D, "stem", 0, widths[0], 3, 7, 7, bias=False)]
    before, level = widths[0], 1
    for width in widths:
        for block in range(2):
            name = f"block{width}.{block}"
            for i, n_in in enumerate((before, width)):
                conv = layer(LayerType.CONV2D, f"{name}.conv{i}", level, width, n_in, 3, 3, bias=False)
                layers += [conv, layer(LayerType.BATCH_NORM, f"{name}.bn{i}", level + 1, width)]
                level += 2
            if before != width:
                skip = f"{name}.skip"
                layers.append(layer(LayerType.CONV2D, skip, level - 2, width, before, 1, 1, bias=False))
            before = width
    return (*layers, layer(LayerType.LINEAR, "fc", level, classes, before))


def gru(n_in: int = 5, hidden: int = 7) -> tuple[Layer, ...]:
    parts = tuple(
        Part(f"gru.{kind}.{gate}", role, shape, 0, 1 if len(shape) > 1 else None, label=gate)
        for gate in ("reset", "update", "new")
        for kind, role, shape in (
            ("w_ih", Role.WEIGHT, (hidden, n_in)),
            ("w_hh", Role.RECURRENT_WEIGHT, (hidden, hidden)),
            ("b_ih", Role.BIAS, (hidden,)),
            ("b_hh", Role.RECURRENT_BIAS, (hidden,)),
        )
    )
    return (Layer("gru", LayerType.GRU, 0, parts), layer(LayerType.LINEAR, "out", 1, 3, hidden))


def transformer(width: int = 8, blocks: int = 2, tokens: int = 50, positions: int = 12) -> tuple[Layer, ...]:
    """Embedding, positions, and blocks of attention and a two-layer network: a tiny GPT-2."""
    table = Part("wte", Role.TABLE, (tokens, width), 0, 1)
    places = Part("wpe", Role.TABLE, (positions, width), 0, 1)
    layers = [
        Layer("wte", LayerType.EMBEDDING, 0, (table,)),
        Layer("wpe", LayerType.POSITION, 0, (places,)),
    ]
    kinds = (LayerType.ATTENTION_QUERY, LayerType.ATTENTION_KEY, LayerType.ATTENTION_VALUE)
    for block in range(blocks):
        level, name = 1 + 6 * block, f"h{block}"
        layers.append(layer(LayerType.LAYER_NORM, f"{name}.ln1", level, width))
        layers += [layer(kind, f"{name}.{kind}", level + 1, width, width) for kind in kinds]
        layers.append(layer(LayerType.ATTENTION_OUT, f"{name}.out", level + 2, width, width))
        layers.append(layer(LayerType.LAYER_NORM, f"{name}.ln2", level + 3, width))
        layers.append(layer(LayerType.LINEAR, f"{name}.up", level + 4, 4 * width, width))
        layers.append(layer(LayerType.LINEAR, f"{name}.down", level + 5, width, 4 * width))
    return tuple(layers)
