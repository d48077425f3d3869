"""The parts of one remote file that were fetched: blocks in memory, and which ones are fetched together."""

from collections import OrderedDict
from collections.abc import Callable
from typing import final

BLOCK = 1 << 15
"""Bytes of a block. The beginning of a file is fetched as one block, which holds the whole header of most files."""
MOST_KEPT = 64 << 20
"""Largest number of bytes that are kept of a file; the blocks that were not read for the longest time go first."""

_LARGE = 1 << 20
_MOST_AHEAD = 1 << 22

Fetch = Callable[[int, memoryview], None]


@final
class RemoteBlocks:
    """A remote file that is read in any order, of which each block is fetched once.

    A range of more than 1 MiB is fetched into the buffer of the caller and is not kept. Where reading continues behind
    what was fetched last, twice as much as before is fetched with it, up to 4 MiB: the tensors of a file that is read
    from start to end come in few requests.

    Args:
        size: Size of the file.
        fetch: Fetches a range into a buffer; called with the offset of its first byte.
    """

    def __init__(self, size: int, fetch: Fetch):
        self._size, self._fetch = size, fetch
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._end, self._ahead = -BLOCK, BLOCK // 2

    def keep(self, content: bytes) -> None:
        """Keeps the beginning of the file. It ends where a block or the file does."""
        for start in range(0, len(content), BLOCK):
            self._kept[start // BLOCK] = content[start : start + BLOCK]
        self._end = len(content)

    def read_into(self, start: int, view: memoryview) -> None:
        """Reads a range, which lies within the file.

        Args:
            start: Offset of the first byte.
            view: Where the bytes go.
        """
        done = 0
        while done < len(view):
            at = start + done
            block = self._kept.get(at // BLOCK)
            if block is not None:
                self._kept.move_to_end(at // BLOCK)
                piece = block[at % BLOCK :][: len(view) - done]
                view[done : done + len(piece)] = piece
                done += len(piece)
                continue
            stop = self._next_kept(at, start + len(view))
            if stop - at > _LARGE:
                self._fetch(at, view[done : done + stop - at])
                self._end = stop
                done += stop - at
            else:
                self._fetch_blocks(at, stop)

    def _next_kept(self, at: int, stop: int) -> int:
        """Returns the end of a range, or the start of the first block in it that is kept."""
        for number in range(at // BLOCK + 1, -(-stop // BLOCK)):
            if number in self._kept:
                return number * BLOCK
        return stop

    def _fetch_blocks(self, at: int, stop: int) -> None:
        """Fetches the blocks of a range, and some behind it if reading goes on from one to the next."""
        first, last = at // BLOCK, -(-stop // BLOCK)
        follows = abs(at - self._end) < BLOCK
        self._ahead = min(2 * self._ahead, _MOST_AHEAD) if follows else BLOCK // 2
        if follows:
            last = max(last, first + self._ahead // BLOCK)
        last = min(last, -(-self._size // BLOCK))
        last = next((number for number in range(first + 1, last) if number in self._kept), last)
        begin, end = first * BLOCK, min(last * BLOCK, self._size)
        buffer = bytearray(end - begin)
        self._fetch(begin, memoryview(buffer))
        for number in range(first, last):
            place = number * BLOCK - begin
            self._kept[number] = bytes(buffer[place : place + BLOCK])
        self._end = end
        while len(self._kept) * BLOCK > MOST_KEPT:
            self._kept.popitem(last=False)
