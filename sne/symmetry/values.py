"""What stands for a tensor while a network is traced."""

from dataclasses import dataclass

from sne.symmetry.axes import Axis


@dataclass(frozen=True)
class Value:
    """A tensor: its axes.

    Args:
        axes: one for each dimension.
        from_parameters: whether parameters went into it.
        constant: whether all its entries are surely one number.
    """

    axes: tuple[Axis, ...]
    from_parameters: bool = False
    constant: bool = False


@dataclass(frozen=True)
class Stack:
    """A tensor in slices that the network takes apart again: queries, keys and values, each with axes of its own.

    Args:
        dim: dimension that the slices stand along.
        parts: the slices, without that dimension.
    """

    dim: int
    parts: tuple[Value, ...]


Result = Value | Stack | tuple["Value | Stack | None", ...] | None
