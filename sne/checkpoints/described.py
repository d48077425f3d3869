"""What readers of nested content put into its leaves: tensors that are not loaded yet, and objects that do nothing."""

import abc
from collections.abc import Hashable
from typing import Any

from torch import Tensor


class DescribedTensor(abc.ABC):
    """A tensor that a file describes. Its values are read when they are asked for.

    Content is a tree of mappings, lists and tuples. Its leaves are plain values, `torch.Tensor`s, described tensors
    and `InertObject`s.

    Args:
        shape: Shape of the tensor.
        dtype: Element type of the values that `read` returns, such as "float32".
    """

    __slots__ = ("dtype", "module_class", "note", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: str):
        self.shape = shape
        self.dtype = dtype
        self.module_class: str = ""
        """Name of the class of the module that holds the tensor, without its package; empty if it is not known."""
        self.note: str = ""
        """What is worth saying about the values; empty as a rule."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def place(self) -> Hashable:
        """Identifies the values: equal for two names of one tensor, None if that is not known."""
        return None

    @property
    def refusal(self) -> str:
        """What the tensor is if it cannot be read, such as "on the meta device and has no values"; otherwise empty."""
        return ""

    @abc.abstractmethod
    def read(self, name: str) -> Tensor:
        """Reads the values.

        Args:
            name: Name of the tensor, for error messages.

        Returns:
            The values on the CPU, dense and without torch's own quantisation.

        Raises:
            CheckpointError: If the values are not there, or would take far more memory than the file.
        """


class InertObject:
    """An object of a class that is not known. It keeps what the file says about it and does nothing.

    Args:
        class_name: Name of the class with its package, such as "argparse.Namespace".
        args: Arguments that the object would have been made with.
    """

    __slots__ = ("args", "class_name", "fields", "mapping", "sequence")

    def __init__(self, class_name: str, args: tuple[Any, ...] = ()):
        self.class_name = class_name
        self.args = args
        self.fields: dict[Any, Any] = {}
        """Attributes by name; the entry "state" holds a state that is not a mapping."""
        self.mapping: dict[Any, Any] = {}
        """Entries by key, of an object that is a mapping."""
        self.sequence: list[Any] = []
        """Entries in order, of an object that is a list."""

    def __repr__(self) -> str:
        return f"<object of class {self.class_name[:200]}>"
