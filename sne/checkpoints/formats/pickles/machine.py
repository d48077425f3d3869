"""A machine that runs pickles without importing, calling or making anything that they name."""

import struct
from collections.abc import Callable, Mapping
from typing import Any, final

from sne.checkpoints.formats.pickles.opcodes import Execution
from sne.checkpoints.formats.pickles.stand_ins import Global, PickleError
from sne.checkpoints.formats.stored_bytes import StoredBytes
from sne.errors import CheckpointError
from sne.work.collection import paused_collection


@final
class PickleMachine:
    """Runs the pickles of one run of bytes.

    A pickle is a program for a machine with a stack and a memo. This machine knows containers, numbers and text.
    Whatever else a pickle names becomes an `InertObject`, unless `calls` has a function for the name. The function
    belongs to the reader, never to the pickle.

    No length is believed: memory is taken for bytes that are there. Objects and copies are counted, so that a pickle
    takes memory in proportion to its file. Memo indices that are not consecutive are kept in a mapping, so that a large
    one costs nothing. Keys of mappings are text, small numbers, or converted to text, because hashing nested or chosen
    keys can take for ever or exhaust the stack. Long bytes are not read; they become `StoredBytes`.

    Args:
        stored: The bytes.
        calls: Functions of the reader by the name that stands for them in the pickle.
        persistent: Function that resolves persistent ids; None if there are none.

    Source: the opcodes of CPython's `pickletools`, protocols 0 to 5.
    """

    def __init__(
        self,
        stored: StoredBytes,
        calls: Mapping[str, Callable[..., Any]],
        persistent: Callable[[Any], Any] | None = None,
    ):
        self._stored = stored
        self._calls = calls
        self._persistent = persistent or _refuse_persistent
        self._buffer: tuple[Any, int] | None = None
        self._globals: dict[tuple[str, str], Global] = {}

    def load(self, start: int = 0) -> tuple[Any, int]:
        """Runs one pickle.

        Args:
            start: Offset of its first byte.

        Returns:
            The object, and the offset of the byte after the pickle.

        Raises:
            PickleError: If the pickle is damaged or hostile.
        """
        try:
            with paused_collection():
                if self._buffer is None:
                    self._buffer = self._stored.buffer()
                data, first = self._buffer
                execution = Execution(data, first, self._stored, self._find, self._persistent)
                value, last = execution.run(first + start)
                return value, last - first
        except (PickleError, CheckpointError):
            raise
        except (IndexError, KeyError, struct.error) as error:
            raise PickleError("truncated or damaged: it takes something that is not there") from error
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise PickleError(f"damaged ({str(error)[:80]})") from error

    def _find(self, module: Any, name: Any) -> Global:
        """Returns the stand-in for a name."""
        if type(module) is not str or type(name) is not str:
            raise PickleError("hostile: it names a class by something that is not text")
        found = self._globals.get((module, name))
        if found is None:
            full = f"{module}.{name}"
            found = self._globals[module, name] = Global(full, self._calls.get(full))
        return found


def _refuse_persistent(reference: Any) -> Any:
    raise PickleError("it refers to something outside of itself")
