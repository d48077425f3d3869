"""Networks after they have been read: ordered layers, each made of parts, over tensors that load one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.networks.blocks import Block, read_blocks, read_sample
from sne.networks.part import Part, TensorSource


class LayerType(StrEnum):
    """The operation of a layer, as far as it follows from names, shapes and hints."""

    LINEAR = "linear"
    CONV1D = "conv1d"
    CONV2D = "conv2d"
    CONV3D = "conv3d"
    CONV_TRANSPOSE1D = "conv_transpose1d"
    CONV_TRANSPOSE2D = "conv_transpose2d"
    CONV_TRANSPOSE3D = "conv_transpose3d"
    EMBEDDING = "embedding"
    BATCH_NORM = "batch_norm"
    LAYER_NORM = "layer_norm"
    GROUP_NORM = "group_norm"
    RMS_NORM = "rms_norm"
    ATTENTION_QUERY = "attention_query"
    ATTENTION_KEY = "attention_key"
    ATTENTION_VALUE = "attention_value"
    ATTENTION_OUT = "attention_out"
    LSTM = "lstm"
    GRU = "gru"
    RNN = "rnn"
    POSITION = "position"
    OTHER = "other"


@dataclass(frozen=True)
class Hint:
    """Knowledge about a module or a tensor that its name and shape do not give.

    A hint is filed under the path of a module ("encoder.conv1") or under the name of a tensor
    ("encoder.conv1.weight"). `type`, `in_first` and `order` describe modules, the other fields describe tensors.

    Args:
        type: Layer type, from the class of the module.
        in_first: Whether the weight is stored [in, out] rather than [out, in].
        tied: Mark shared by all names of one tensor; the tensor is read under one of them.
        unused: Reason why the tensor is no weight of its own ("scale of x.weight, applied when that is loaded").
        is_scaled: Whether the stored integers become weights when they are loaded.
        order: Position of the module in the graph of a format that has one; modules that run later have larger ones.
    """

    type: LayerType | None = None
    in_first: bool | None = None
    tied: str | None = None
    unused: str | None = None
    is_scaled: bool = False
    order: int | None = None


@dataclass(frozen=True)
class Heads:
    """What a configuration says about the heads of a network's attentions.

    Args:
        num_heads: Number of heads of queries.
        num_kv_heads: Number of heads of keys and of values; None if it is that of the queries, or not said.
        head_size: Neurons per head; None if it follows from the width.
        model_type: Name of the architecture, such as "gpt_neox"; empty if unknown.
    """

    num_heads: int
    num_kv_heads: int | None = None
    head_size: int | None = None
    model_type: str = ""


@dataclass(frozen=True)
class Layer:
    """A layer of a network.

    Args:
        name: Path of the module; pieces of a fused module add their label.
        type: Layer type.
        level: Position in depth, from 0.
        parts: Parts, the weight or scale first.
    """

    name: str
    type: LayerType
    level: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Note:
    """Reason why a stored tensor is not read, or is read with doubt: tied, a counter, of no known layer."""

    tensor: str
    reason: str


@dataclass(frozen=True)
class Network:
    """A network that has been read.

    Args:
        name: Name of the network.
        layers: Layers in order of level. Branches side by side share their levels.
        source: Source of the values.
        notes: One note for each stored tensor that is not read, or is read with doubt.

    Example:
        >>> from sne import read_network
        >>> network = read_network({"fc.weight": torch.zeros(3, 5), "fc.bias": torch.zeros(3)})
        >>> network.num_levels, network.num_weights
        (1, 18)
        >>> [(layer.name, part.role.value, tuple(network.read(part).shape)) for layer, part in network.parts()]
        [('fc', 'weight', (3, 5, 1)), ('fc', 'bias', (3, 1, 1))]
    """

    name: str
    layers: tuple[Layer, ...]
    source: TensorSource
    notes: tuple[Note, ...] = ()

    @property
    def num_levels(self) -> int:
        """Number of levels."""
        return max((layer.level for layer in self.layers), default=-1) + 1

    @property
    def num_weights(self) -> int:
        """Number of scalars in all parts."""
        return sum(part.num_entries for layer in self.layers for part in layer.parts)

    def parts(self) -> Iterator[tuple[Layer, Part]]:
        """Yields every part with its layer, in order."""
        for layer in self.layers:
            for part in layer.parts:
                yield layer, part

    def read(self, part: Part) -> Float[Tensor, "out in kernel"]:
        """Loads one part in float32 with axes ordered as out, in, kernel positions."""
        return part.arrange(self.source.load(part.tensor)).to(torch.float32)

    def read_blocks(self, part: Part, most: int, *, align: int = 1) -> Iterator[Block]:
        """Loads one part in pieces, each once.

        Args:
            part: The part.
            most: Largest number of entries of a piece; a piece has at least one row and `align` columns.
            align: Number of which the first column of every piece is a multiple. In a part of one column, the first row
                is.

        Returns:
            Pieces that cover the part, whose order and extents follow from the part alone: groups of rows of a tensor
            that is stored [out, in, ...], groups of columns of one that is stored [in, out, ...]. Where the source can
            load ranges, each is read when it is asked for.
        """
        return read_blocks(self.source, part, most, align)

    def read_sample(
        self, part: Part, rows: Int[Tensor, " rows"] | None, columns: Int[Tensor, " columns"] | None
    ) -> Float[Tensor, "rows columns kernel"]:
        """Loads some neurons of one part in float32.

        Only these rows of a tensor that is stored [out, in, ...] are read where the source can load ranges, and only
        these columns of one that is stored [in, out, ...].

        Args:
            part: The part.
            rows: Neurons that the part feeds, in the order wanted; None for all.
            columns: Neurons that it reads; None for all.

        Returns:
            Float32 values [rows, columns, kernel positions], in the order wanted.

        Raises:
            IndexError: If the part has no such row or column.

        Example:
            >>> from sne import read_network
            >>> network = read_network({"fc.weight": torch.arange(6.0).reshape(3, 2)})
            >>> network.read_sample(network.layers[0].parts[0], torch.tensor([2, 0]), None)[:, :, 0].tolist()
            [[4.0, 5.0], [0.0, 1.0]]
        """
        return read_sample(self.source, part, rows, columns)
