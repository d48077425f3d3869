"""Parts made from tensors, and the layers that the tensors of one stem become."""

from dataclasses import dataclass, field

from sne.networks.network import Layer, LayerType, Note
from sne.networks.part import Part, Role, TensorInfo

NORMS = frozenset({LayerType.BATCH_NORM, LayerType.LAYER_NORM, LayerType.GROUP_NORM, LayerType.RMS_NORM})
TABLES = frozenset({LayerType.EMBEDDING, LayerType.POSITION})


@dataclass
class StemLayers:
    """The layers that the tensors of one stem become.

    Args:
        path: Path of the stem.
        layers: Layers; their levels count from 0 within the stem.
        notes: Notes on tensors of the stem.
    """

    path: str
    layers: list[Layer] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @property
    def depth(self) -> int:
        """Number of levels within the stem."""
        return max((layer.level for layer in self.layers), default=-1) + 1

    @property
    def is_norm(self) -> bool:
        """Whether the stem is one normalisation layer."""
        return len(self.layers) == 1 and self.layers[0].type in NORMS

    @property
    def widths(self) -> tuple[int | None, int | None]:
        """Number of neurons that the first layer reads and that the last level feeds; None if shapes do not tell."""
        first = width_in(self.layers[0]) if self.layers else None
        last = [layer for layer in self.layers if layer.level == self.depth - 1]
        out = [width_out(layer) for layer in last]
        if not out or None in out:
            return first, None
        # Gates and the pieces of a fused tensor do not add up; the two directions of a recurrent layer do.
        directions = len({"_reverse." in layer.name + "." for layer in last})
        return first, (out[0] or 0) * directions


def width_in(layer: Layer) -> int | None:
    """Returns the number of neurons that a layer reads, None if its shape does not tell.

    A depthwise convolution reads and feeds the same number.
    """
    if not layer.parts or layer.type in TABLES or layer.type is LayerType.OTHER:
        return None
    part = layer.parts[0]
    num_out, num_in, kernel = part.arranged_shape
    if layer.type in NORMS or (num_in == 1 and kernel > 1):
        return num_out
    return num_in


def width_out(layer: Layer) -> int | None:
    """Returns the number of neurons that a layer feeds, None if its shape does not tell."""
    if not layer.parts or layer.type is LayerType.OTHER:
        return None
    return layer.parts[0].arranged_shape[0]


def vector_part(info: TensorInfo, role: Role) -> Part:
    """Returns the part of a bias or a scale, whose entries count neurons; axes of size 1 are allowed."""
    shape = info.shape
    if not shape:
        return Part(info.name, role, shape, out_axis=None)
    return Part(info.name, role, shape, out_axis=max(range(len(shape)), key=lambda axis: shape[axis]))


def norm_part(info: TensorInfo, role: Role) -> Part:
    """Returns the part of a norm: a vector, or one over [channels, height, width], [channels, length] and the like."""
    if len(info.shape) < 2:
        return vector_part(info, role)
    return Part(info.name, role, info.shape, out_axis=0 if len(info.shape) > 2 else 1)


def matrix_part(info: TensorInfo, role: Role, *, in_first: bool) -> Part:
    """Returns the part of a weight of two or more axes, stored [out, in, ...] or, if `in_first`, [in, out, ...]."""
    out_axis, in_axis = (1, 0) if in_first else (0, 1)
    return Part(info.name, role, info.shape, out_axis=out_axis, in_axis=in_axis)


def table_part(info: TensorInfo) -> Part:
    """Returns the part of a table: [rows, features], [1, rows, features], or a map [1, features, height, width]."""
    shape = info.shape
    if len(shape) < 2:
        return vector_part(info, Role.TABLE)
    if len(shape) == 4 and shape[0] == 1:
        return Part(info.name, Role.TABLE, shape, out_axis=1, in_axis=None)
    return Part(info.name, Role.TABLE, shape, out_axis=len(shape) - 1, in_axis=len(shape) - 2)


def cut(part: Part, axis: int, start: int, length: int, label: str, *, run: int = 0, step: int = 0) -> Part:
    """Returns a slice of a part that is a whole tensor.

    Args:
        part: The part.
        axis: Axis to cut.
        start: First index along the axis.
        length: Number of entries along the axis.
        label: Name of the piece.
        run: Number of entries that follow one another, if the slice repeats with period `step`.
        step: Entries from the start of one run to the start of the next; 0 if the slice is one run.
    """
    shape = tuple(length if a == axis else size for a, size in enumerate(part.shape))
    return Part(part.tensor, part.role, shape, part.out_axis, part.in_axis, axis, start, label, run, step)
