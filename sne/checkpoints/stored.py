"""The contract of readers: the tensors of a file or object as they are stored, loaded one at a time."""

import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from sne.checkpoints.composed.weight import ComposedWeight
from sne.errors import CheckpointError
from sne.networks import Hint, TensorInfo, find_excess

FOLDED = "the exporter has folded a batch norm into this layer, so that its weights are those of both"
RENUMBERED = (
    "the exporter has replaced this weight, as torch's does where it folds a batch norm into a convolution: "
    "then its weights are those of both"
)
REWRITTEN = frozenset({FOLDED, RENUMBERED})
"""Reasons of notes on weights that a program has changed after the training, so that predictions from them warn."""

_ReadRange = Callable[[str, int, int], Tensor | None]


class StoredTensors(abc.ABC):
    """The tensors that a checkpoint stores: names, shapes and dtypes at once, values when they are asked for.

    A reader derives from this class, passes what it knows to the constructor and implements `read_stored`. Composed
    weights, conversion to floating dtypes and the checks of shapes and values are `CheckpointSource`'s, the same for
    every format.

    Args:
        name: The file or object, as messages call it.
        infos: Every stored tensor.
        hints: Hints in addition to names and shapes, by the name of a tensor or module.
        composed: Weights that the reader knows to be stored in another form; None to find them by name (see
            `COMPOSITIONS`).
        notes: Reasons why other contents of the file are not read, by name.
        metadata: What the file says about itself in pairs of strings, such as the metadata of a safetensors file.

    Raises:
        CheckpointError: If names or shapes claim what no network has, such as a million axes.
    """

    def __init__(
        self,
        name: str,
        infos: Iterable[TensorInfo],
        *,
        hints: Mapping[str, Hint] | None = None,
        composed: Iterable[ComposedWeight] | None = None,
        notes: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ):
        self.name = name
        self.infos: Mapping[str, TensorInfo] = {info.name: info for info in infos}
        excess = find_excess((info.name, info.shape) for info in self.infos.values())
        if excess is not None:
            raise CheckpointError(name, excess)
        self.hints: Mapping[str, Hint] = dict(hints or {})
        self.composed = None if composed is None else tuple(composed)
        self.notes: Mapping[str, str] = dict(notes or {})
        self.metadata: Mapping[str, str] = dict(metadata or {})

    @abc.abstractmethod
    def read_stored(self, name: str) -> Tensor:
        """Reads one tensor exactly as it is stored.

        Args:
            name: Name of a stored tensor, one of the `infos` passed to the constructor.

        Returns:
            The values in their stored dtype, on the CPU.
        """


def read_range(reader: object, name: str, start: int, stop: int) -> Tensor | None:
    """Reads a range of a tensor if its reader can, that is, if it has a method `read_range` with the other arguments.

    Such a method returns the entries in their stored dtype on the CPU without reading the rest of the tensor, or None
    if this tensor can only be read whole.

    Args:
        reader: A reader, or a tensor of one.
        name: Name of the tensor.
        start: First entry in row-major order.
        stop: End of the range.

    Returns:
        The entries in their stored dtype; None if the tensor can only be read whole.
    """
    own: _ReadRange | None = getattr(reader, "read_range", None)  # an instance check of a protocol is slow
    return None if own is None else own(name, start, stop)


def is_row_major(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether entries that follow one another in row-major order do so in memory.

    Example:
        >>> is_row_major((2, 1, 3), (3, 99, 1)), is_row_major((2, 3), (1, 2))
        (True, False)
    """
    expected = 1
    for size, step in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True


def mark_tied(hints: Mapping[str, Hint], places: Mapping[str, object]) -> dict[str, Hint]:
    """Adds hints for tied tensors, those that are stored once under several names.

    Args:
        hints: Hints so far, by the name of a tensor or module.
        places: Where the values of each tensor lie, by name: equal for two names of one tensor, None if unknown.

    Returns:
        Hints in which all names of one tensor have the same `tied`.
    """
    names: dict[object, list[str]] = {}
    for name, place in places.items():
        if place is not None:
            names.setdefault(place, []).append(name)
    result = dict(hints)
    for group in names.values():
        if len(group) > 1:
            first = min(group)
            for name in group:
                result[name] = replace(result.get(name, Hint()), tied=first)
    return result
