"""What recognition hands to the ordering: layers that belong to one stem, with their order inside it."""

from dataclasses import dataclass

from sne.networks.network import Layer, Note, Part, TensorInfo
from sne.networks.types import LayerType, Role

NORMS = frozenset({LayerType.BATCH_NORM, LayerType.LAYER_NORM, LayerType.GROUP_NORM, LayerType.RMS_NORM})
TABLES = frozenset({LayerType.EMBEDDING, LayerType.POSITION})


@dataclass
class Unit:
    """The layers of one stem.

    Args:
        path: the stem.
        layers: layers whose level is still relative: 0 for the first of this stem.
        notes: what is unsure about them.
    """

    path: str
    layers: list[Layer]
    notes: list[Note]

    @property
    def depth(self) -> int:
        """Number of levels inside the stem."""
        return max((layer.level for layer in self.layers), default=-1) + 1

    @property
    def is_norm(self) -> bool:
        """Whether this is one normalisation."""
        return len(self.layers) == 1 and self.layers[0].type in NORMS

    @property
    def widths(self) -> tuple[int | None, int | None]:
        """Neurons read by the first layer and fed by the last; None where a table or scalar does not say."""
        first = width_in(self.layers[0]) if self.layers else None
        last = [layer for layer in self.layers if layer.level == self.depth - 1]
        out = [width_out(layer) for layer in last]
        if not out or None in out:
            return first, None
        # Gates and the pieces of a fused tensor do not add up; the two directions of a recurrent layer do.
        directions = len({"_reverse." in layer.name + "." for layer in last})
        return first, (out[0] or 0) * directions


def width_in(layer: Layer) -> int | None:
    """Neurons that a layer reads, as far as its shape tells; a depthwise kernel reads what it feeds."""
    if not layer.parts or layer.type in TABLES or layer.type is LayerType.OTHER:
        return None
    part = layer.parts[0]
    num_out, num_in, kernel = part.canonical_shape
    if layer.type in NORMS or (num_in == 1 and kernel > 1):
        return num_out
    return num_in


def width_out(layer: Layer) -> int | None:
    """Neurons that a layer feeds."""
    if not layer.parts or layer.type is LayerType.OTHER:
        return None
    return layer.parts[0].canonical_shape[0]


def vector_part(info: TensorInfo, role: Role) -> Part:
    """A part for a tensor whose entries count neurons (a bias, a scale); size-one axes are harmless."""
    shape = info.shape
    if not shape:
        return Part(info.name, role, shape, out_axis=None)
    return Part(info.name, role, shape, out_axis=max(range(len(shape)), key=lambda axis: shape[axis]))


def matrix_part(info: TensorInfo, role: Role, *, in_first: bool) -> Part:
    """A part for a weight of two or more axes stored [out, in, ...] or, `in_first`, [in, out, ...]."""
    out_axis, in_axis = (1, 0) if in_first else (0, 1)
    return Part(info.name, role, info.shape, out_axis=out_axis, in_axis=in_axis)


def table_part(info: TensorInfo) -> Part:
    """A part for rows of features: [rows, features], [1, rows, features], or a map [1, features, h, w]."""
    shape = info.shape
    if len(shape) < 2:
        return vector_part(info, Role.TABLE)
    if len(shape) == 4 and shape[0] == 1:
        return Part(info.name, Role.TABLE, shape, out_axis=1, in_axis=None)
    return Part(info.name, Role.TABLE, shape, out_axis=len(shape) - 1, in_axis=len(shape) - 2)


def cut(part: Part, axis: int, start: int, length: int, label: str) -> Part:
    """A slice of a part that is still whole."""
    shape = tuple(length if a == axis else size for a, size in enumerate(part.shape))
    return Part(part.tensor, part.role, shape, part.out_axis, part.in_axis, axis, start, label)
