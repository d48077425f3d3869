"""Results that are remembered within bounds, so that many files of one layout are understood once."""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar, final

Value = TypeVar("Value")


@final
class Remembered(Generic[Value]):
    """Results by what they depend on. The oldest are forgotten when there are many, or when they are large.

    Args:
        most: Largest number of results.
        most_tensors: Largest number of tensors that all results together describe; a result of more than a tenth of
            them is not remembered, since networks so large do not come by the hundreds.

    Example:
        >>> squares = Remembered[int](2, 100)
        >>> for number in (1, 2, 3):
        ...     squares.put(number, number**2, 1)
        >>> squares.get(1), squares.get(3)
        (None, 9)
    """

    def __init__(self, most: int, most_tensors: int) -> None:
        self._most, self._most_tensors = most, most_tensors
        self._results: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._tensors = 0
        self._lock = Lock()

    @property
    def largest(self) -> int:
        """Largest number of tensors of a result that is remembered."""
        return self._most_tensors // 10

    def get(self, key: Hashable) -> Value | None:
        """Returns the result for a key, None if it is not remembered."""
        found = self._results.get(key)
        return None if found is None else found[0]

    def put(self, key: Hashable, value: Value, tensors: int) -> None:
        """Remembers a result that describes a number of tensors."""
        if tensors > self.largest:
            return
        with self._lock:
            if key in self._results:
                return
            self._results[key] = value, tensors
            self._tensors += tensors
            while len(self._results) > self._most or self._tensors > self._most_tensors:
                self._tensors -= self._results.popitem(last=False)[1][1]
