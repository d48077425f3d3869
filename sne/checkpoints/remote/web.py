"""Files of web servers, read by ranges that are checked against what was asked for."""

import http.client
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import TypeVar, final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from sne.checkpoints.remote.blocks import BLOCK
from sne.checkpoints.remote.connection import (
    MOST_TRIES,
    Answer,
    Connections,
    describe_failure,
    is_transient,
    pause,
)
from sne.checkpoints.remote.store import RemoteEntry, RemoteFacts, RemoteStore
from sne.errors import RemoteError

_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+)$")
_STEP = 1 << 20
_REASONS = {
    401: "the server asks for a user name and a password or a token",
    403: "the server does not permit it",
    404: "no such file",
    410: "no such file",
    407: "the proxy asks for a user name and a password",
}
_GONE = (404, 410)
_EXPIRED = (400, 401, 403, 404, 410)
"""Answers of an address that a redirect named, and that is valid no longer."""
_FAILURES = (OSError, http.client.HTTPException)
"""Errors of a connection, after which a request is sent again unless they are in `_FINAL`."""
_FINAL = (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)
_CHANGED = "the file has changed on the server while it was read"

Found = TypeVar("Found")


class RefusedError(RemoteError):
    """A server refuses to send a file."""


@final
class WebFile:
    """One file of a web server.

    A file is looked up by fetching its first block. Later ranges must come from the same version of it, which its ETag
    or its time of change and its size tell; a range is asked for under the condition that the ETag is still the same.

    Args:
        url: Its address, with credentials.
        shown: Its address without them.
        connections: Connections to servers.
        size: Size that the file must have; None if that is not known.
    """

    def __init__(self, url: str, shown: str, connections: Connections, size: int | None = None):
        self._url, self._shown, self._connections = url, shown, connections
        self._target: str | None = None
        self._size = size  # -1 where the server does not tell it
        self._marks = ("", "")  # ETag and time of change of the version that was found
        self.start = b""

    def find(self) -> RemoteFacts | None:
        """Looks the file up; its first bytes are then in `start`.

        Returns:
            What is known about it; None if the server has no such file.

        Raises:
            RemoteError: If the server fails, or sends something else than was asked for.
        """
        return self._patiently(lambda: {"Range": f"bytes=0-{BLOCK - 1}"}, self._find)

    def fetch(self, start: int, view: memoryview) -> None:
        """Fetches a range into a buffer, see `RemoteStore.fetch`. A range that arrives in part is completed."""
        done = 0

        def take(answer: Answer) -> None:
            nonlocal done
            end = self._check_range(answer, start + done, start + len(view))
            while start + done < end:
                count = answer.response.readinto(view[done : end - start])
                if not count:
                    raise http.client.IncompleteRead(b"", end - start - done)
                done += count

        self._patiently(lambda: {"Range": f"bytes={start + done}-{start + len(view) - 1}", **self._condition()}, take)

    def stream(self) -> Iterator[bytes]:
        """Yields the whole content in pieces."""
        answer = self._patiently(dict, lambda answer: answer, is_read=False)
        try:
            if answer.status != 200:
                raise self._refusal(answer)
            self._check_coding(answer)
            length = answer.header("Content-Length")
            if self._marks_of(answer) != self._marks or (self._size not in (None, -1) and length != str(self._size)):
                raise self._failed(_CHANGED)
            done = 0
            while piece := answer.response.read(_STEP):
                done += len(piece)
                yield piece
            if length.isdigit() and int(length) != done:
                raise self._failed(f"the connection ended after {done} of {length} bytes")
        except _FAILURES as error:
            raise self._failed(describe_failure(error)) from error
        finally:
            self._connections.drop(answer.origin)

    def _find(self, answer: Answer) -> RemoteFacts | None:
        if answer.status in _GONE:
            return None
        self._check_coding(answer)
        self._marks = self._marks_of(answer)
        if answer.status == 416 and answer.header("Content-Range") == "bytes */0":
            return self._known(0, has_ranges=True)
        if answer.status == 200:
            length = answer.header("Content-Length")
            size = int(length) if length.isdigit() else -1
            has_arrived = 0 <= size <= BLOCK  # a server that ignores ranges has sent a short file as a whole
            if has_arrived:
                self._read_start(answer, size)
            return self._known(size, has_ranges=has_arrived)
        end, size = self._placed(answer, 0, BLOCK)
        self._read_start(answer, end)
        return self._known(size, has_ranges=True)

    def _read_start(self, answer: Answer, length: int) -> None:
        self.start = answer.response.read(length)
        if len(self.start) != length:
            raise http.client.IncompleteRead(b"", length - len(self.start))

    def _known(self, size: int, *, has_ranges: bool) -> RemoteFacts:
        if self._size is not None and size not in (self._size, -1):
            raise self._failed(f"{self._size} bytes are listed, the server has {size}")
        self._size = size
        return RemoteFacts(size, " ".join(mark for mark in self._marks if mark), has_ranges)

    def _patiently(
        self, headers: Callable[[], Mapping[str, str]], take: Callable[[Answer], Found], *, is_read: bool = True
    ) -> Found:
        """Sends a request until its answer can be used, a few times at most.

        Args:
            headers: Returns the fields of the header for the next try.
            take: Uses the answer, and reads its body as far as it needs it.
            is_read: Whether the body has then been read.
        """
        tries = 0
        while True:
            answer = None
            try:
                answer = self._connections.get(self._target or self._url, headers(), self._shown)
                if self._target is not None and answer.status in _EXPIRED:  # what a redirect names is valid for a time
                    self._connections.finish(answer)
                    self._target = None
                    continue
                if not is_transient(answer.status):
                    found = take(answer)
                    self._target = None if answer.url == self._url else answer.url
                    if is_read:
                        self._connections.finish(answer)
                    return found
                reason = f"the server answers {answer.status} ({answer.response.reason})"
                self._connections.finish(answer)
            except _FAILURES as error:
                if answer is not None:
                    self._connections.drop(answer.origin)
                if isinstance(error, _FINAL):
                    raise self._failed(describe_failure(error)) from error
                reason, self._target = describe_failure(error), None
            except BaseException:
                if answer is not None:
                    self._connections.drop(answer.origin)
                raise
            tries += 1
            if tries == MOST_TRIES:
                raise self._failed(f"{reason}, {tries} times")
            pause(tries, answer)

    def _check_range(self, answer: Answer, start: int, stop: int) -> int:
        """Returns the end of the range that an answer holds, after checking that it is the one asked for."""
        if answer.status in (412, 416) or answer.status in _GONE:
            raise self._failed(_CHANGED)
        if answer.status == 200:
            is_same = self._marks_of(answer) == self._marks and answer.header("Content-Length") == str(self._size)
            raise self._failed("the server stopped sending parts of the file" if is_same else _CHANGED)
        end, size = self._placed(answer, start, stop)
        if size != self._size or self._marks_of(answer) != self._marks:
            raise self._failed(_CHANGED)
        return end

    def _placed(self, answer: Answer, start: int, stop: int) -> tuple[int, int]:
        """Returns the end of the range of an answer and the size of the file, after checking both."""
        if answer.status != 206:
            raise self._refusal(answer)
        self._check_coding(answer)
        found = _RANGE.match(answer.header("Content-Range"))
        if found is None:
            raise self._failed("the server sends a part of the file without saying which one and of how many bytes")
        first, end, size = int(found[1]), int(found[2]) + 1, int(found[3])
        if first != start or end != min(stop, size) or answer.header("Content-Length") not in ("", str(end - first)):
            raise self._failed(
                f"the server was asked for bytes {start} to {stop}, and sends {first} to {end} of {size}"
            )
        return end, size

    def _check_coding(self, answer: Answer) -> None:
        coding = answer.header("Content-Encoding").lower()
        if coding not in ("", "identity"):
            raise self._failed(f"the server compresses the file ({coding[:20]}), although it was asked not to")

    def _marks_of(self, answer: Answer) -> tuple[str, str]:
        """Returns the ETag and the time of change."""
        return answer.header("ETag"), answer.header("Last-Modified")

    def _condition(self) -> dict[str, str]:
        """Returns the condition that the file is the same; a weak ETag is compared afterwards."""
        tag = self._marks[0]
        return {"If-Range": tag} if tag.startswith('"') else {}

    def _refusal(self, answer: Answer) -> RemoteError:
        reason = _REASONS.get(answer.status, f"the server answers {answer.status} ({answer.response.reason})")
        return RefusedError(self._shown, reason)

    def _failed(self, reason: str) -> RemoteError:
        return RemoteError(self._shown, reason)


@final
class WebStore(RemoteStore):
    """Files of one web server. Its folders cannot be listed; what lies beside a file is found by its name.

    Args:
        url: Address of a file, with credentials.
        shown: Its address without them.
    """

    def __init__(self, url: str, shown: str):
        parts = urlsplit(shown)
        super().__init__(urlunsplit((parts.scheme, parts.netloc, "/", "", "")))
        self._url, self._shown = urlsplit(url), parts
        self.path = str(PurePosixPath(unquote(parts.path).lstrip("/"))).removeprefix(".")
        self._connections = Connections()
        self._files: dict[str, WebFile] = {}

    def address_of(self, path: str) -> str:
        """Returns the address of a file."""
        return urlunsplit(self._shown) if path == self.path else self.address + quote(path)

    def find_file(self, path: str) -> RemoteFacts | None:
        """Looks a file up. Beside an address with a query there are no other files."""
        if path != self.path and self._url.query:
            return None
        query = self._url.query if path == self.path else ""
        inside = self._url.path if path == self.path else "/" + quote(path)
        url = urlunsplit((self._url.scheme, self._url.netloc, inside, query, ""))
        file = WebFile(url, self.address_of(path), self._connections)
        try:
            facts = file.find()
        except RefusedError:
            if path == self.path:
                raise
            return None  # a server may refuse what it does not have
        if facts is not None:
            self._files[path] = file
            if facts.has_ranges:
                self.keep(path, facts.size, file.start)
        return facts

    def list_folder(self, path: str) -> tuple[RemoteEntry, ...]:
        """Returns nothing: web servers have no folders."""
        return ()

    def folder_version(self, path: str) -> str:
        """Returns nothing: web servers have no folders."""
        return ""

    def fetch(self, path: str, start: int, view: memoryview) -> None:
        """Fetches a range."""
        self._files[path].fetch(start, view)

    def stream(self, path: str) -> Iterator[bytes]:
        """Yields the whole content."""
        return self._files[path].stream()
