"""Networks after they have been read: ordered layers, each made of parts, over tensors that load one at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


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


class Role(StrEnum):
    """The role of a part inside its layer."""

    WEIGHT = "weight"
    BIAS = "bias"
    RECURRENT_WEIGHT = "recurrent_weight"
    RECURRENT_BIAS = "recurrent_bias"
    SCALE = "scale"
    RUNNING_MEAN = "running_mean"
    RUNNING_VAR = "running_var"
    TABLE = "table"


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and stored type of a tensor, known before its values are read."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def num_entries(self) -> int:
        """Number of scalars."""
        return prod(self.shape)


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


@runtime_checkable
class TensorSource(Protocol):
    """Source of the values of a network: a file, a module or a row of a zoo."""

    @property
    def name(self) -> str:
        """Name of the source in messages: a path, or the class of a module."""
        ...

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Every stored tensor by name. Reading this property loads no values."""
        ...

    def load(self, name: str) -> Tensor:
        """Loads the values of one tensor on the CPU, with scales applied."""
        ...


@dataclass(frozen=True)
class Part:
    """A stored tensor, or a slice of one, with one role in one layer.

    Args:
        tensor: Name of the stored tensor.
        role: Role in the layer.
        shape: Shape as stored, after the slice and before any transposition.
        out_axis: Axis that counts the neurons that the part feeds; None for a scalar.
        in_axis: Axis that counts the neurons that the part reads; None for a vector. Other axes are kernel positions.
        axis: Axis along which a fused tensor is cut; None if the part is the whole tensor.
        start: First index of the part along `axis`.
        run: Number of indices that follow one another, if the part repeats along `axis` with period `step`.
        step: Indices from the start of one run to the start of the next; 0 if the part is one run. The part starts in
            the first period, ends in the last one, and no run crosses from one period into the next.
        label: Name of the piece of a fused tensor ("query", "reset gate"); empty if the part is the whole tensor.
    """

    tensor: str
    role: Role
    shape: tuple[int, ...]
    out_axis: int | None = 0
    in_axis: int | None = None
    axis: int | None = None
    start: int = 0
    label: str = ""
    run: int = 0
    step: int = 0

    @property
    def num_entries(self) -> int:
        """Number of scalars in the part."""
        return prod(self.shape)

    @property
    def arranged_shape(self) -> tuple[int, int, int]:
        """Shape that `arrange` returns: (out, in, kernel positions)."""
        num_out = 1 if self.out_axis is None else self.shape[self.out_axis]
        num_in = 1 if self.in_axis is None else self.shape[self.in_axis]
        return num_out, num_in, max(self.num_entries, 1) // max(num_out * num_in, 1)

    @property
    def indices(self) -> tuple[int, ...]:
        """Indices of the part along `axis`, in order; empty if the part is the whole tensor."""
        if self.axis is None:
            return ()
        length = self.shape[self.axis]
        if not self.step:
            return tuple(range(self.start, self.start + length))
        return tuple(self.start + i // self.run * self.step + i % self.run for i in range(length))

    def select(self, stored: Tensor) -> Tensor:
        """Cuts the part out of its stored tensor, with the axes as stored.

        Args:
            stored: Values of the whole stored tensor, without batch axes.

        Returns:
            The part, as a view where strides allow.
        """
        if self.axis is None:
            return stored.reshape(self.shape)
        if not self.step:
            return stored.narrow(self.axis, self.start, self.shape[self.axis]).reshape(self.shape)
        periods = stored.unflatten(self.axis, (-1, self.step))
        return periods.narrow(self.axis + 1, self.start, self.run).reshape(self.shape)

    def arrange(self, stored: Tensor) -> Float[Tensor, "out in kernel"]:
        """Cuts the part out of its stored tensor and orders its axes as out, in, kernel positions.

        Args:
            stored: Values of the whole stored tensor, without batch axes.

        Returns:
            The part, as a view where strides allow. Inverse: `restore`.
        """
        piece = self.select(stored)
        first = [a for a in (self.out_axis, self.in_axis) if a is not None]
        rest = [a for a in range(piece.ndim) if a not in first]
        return piece.permute([*first, *rest]).reshape(self.arranged_shape)

    def restore(self, arranged: Float[Tensor, "out in kernel"]) -> Tensor:
        """Returns the part in its stored axis order. Inverse of `arrange`, for the part alone."""
        first = [a for a in (self.out_axis, self.in_axis) if a is not None]
        order = first + [a for a in range(len(self.shape)) if a not in first]
        piece = arranged.reshape([self.shape[a] for a in order])
        return piece.permute([order.index(a) for a in range(len(order))])


@dataclass(frozen=True)
class Block:
    """A rectangular piece of a part.

    Args:
        rows: Neurons that the piece feeds.
        columns: Neurons that it reads.
        values: Its entries in float32.
    """

    rows: slice
    columns: slice
    values: Float[Tensor, "rows columns kernel"]


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

        Yields:
            Pieces that cover the part, in an order that follows from its layout alone.
        """
        values = self.read(part)
        num_out, num_in, kernel = values.shape
        columns = max(1, min(num_in, most // max(kernel, 1)))
        if columns < num_in:
            columns = max(align, columns - columns % align)
        rows = max(1, most // max(columns * kernel, 1))
        if num_in == 1:
            rows = max(align, rows - rows % align)
        for row in range(0, num_out, rows):
            for column in range(0, num_in, columns):
                some = slice(row, min(row + rows, num_out)), slice(column, min(column + columns, num_in))
                yield Block(*some, values[some])

    def read_sample(
        self, part: Part, rows: Int[Tensor, " rows"] | None, columns: Int[Tensor, " columns"] | None
    ) -> Float[Tensor, "rows columns kernel"]:
        """Loads some neurons of one part.

        Args:
            part: The part.
            rows: Neurons that the part feeds, in the order wanted; None for all.
            columns: Neurons that it reads; None for all.
        """
        values = self.read(part)
        values = values if rows is None else values[rows]
        return values if columns is None else values[:, columns]
