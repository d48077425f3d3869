"""Vectors that are written once and read several times, in memory as far as it suffices, then in a temporary file."""

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import WriteError

SLICE_VECTORS = 4096
"""Number of vectors that are read at once."""


@final
class VectorStore:
    """Vectors of one width, kept in order of writing; a context manager that deletes the temporary file.

    Args:
        like: A tensor with the dtype and the device of the vectors, and their width as its last axis.
        in_memory: Largest number of vectors that are kept in memory; the others go to a temporary file.

    Example:
        >>> with VectorStore(torch.zeros(2), in_memory=1) as store:
        ...     store.append(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        ...     torch.cat(list(store.slices()))
        tensor([[1., 2.],
                [3., 4.]])
    """

    def __init__(self, like: Tensor, *, in_memory: int) -> None:
        # Pages of the buffer take memory only once they are written.
        self._buffer = like.new_empty(in_memory, like.shape[-1])
        self._file: IO[bytes] | None = None
        self._count = 0

    def __enter__(self) -> "VectorStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Forgets all vectors."""
        self._count = 0

    def append(self, vectors: Float[Tensor, "vectors dim"]) -> None:
        """Adds vectors.

        Raises:
            WriteError: The temporary file cannot be written.
        """
        room = max(len(self._buffer) - self._count, 0)
        self._buffer[self._count : self._count + room][: len(vectors)] = vectors[:room]
        self._count += len(vectors)
        if len(vectors) > room:
            try:
                self._write(
                    vectors[room:].to("cpu", self._buffer.dtype).contiguous(), self._count - len(vectors) + room
                )
            except OSError as error:
                raise WriteError.from_os_error(tempfile.gettempdir(), error) from None

    def slices(self) -> Iterator[Float[Tensor, "_ dim"]]:
        """Yields all vectors in order, `SLICE_VECTORS` or fewer at once; not to be changed in place."""
        kept = min(self._count, len(self._buffer))
        for first in range(0, self._count, SLICE_VECTORS):  # the same slices, and rounding, whatever is in memory
            end = min(first + SLICE_VECTORS, self._count)
            pieces = [self._buffer[first : min(end, kept)]] if first < kept else []
            if end > kept:
                start = max(first, kept)
                pieces.append(self._read(start, end - start))
            yield pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _place(self, vector: int) -> int:
        return (vector - len(self._buffer)) * self._buffer.shape[1] * self._buffer.element_size()

    def _write(self, vectors: Tensor, first: int) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)
        self._file.seek(self._place(first))
        vectors.numpy().tofile(self._file)

    def _read(self, first: int, count: int) -> Tensor:
        assert self._file is not None
        self._file.seek(self._place(first))
        dtype, dim = torch.empty(0, dtype=self._buffer.dtype).numpy().dtype, self._buffer.shape[1]
        values = np.fromfile(self._file, dtype, count * dim)
        return torch.from_numpy(values).view(count, dim).to(self._buffer.device)
