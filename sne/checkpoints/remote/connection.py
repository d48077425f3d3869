"""Requests over HTTP: one connection per server that stays open, redirects, proxies, and answers that are checked."""

import base64
import http.client
import os
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from sne.errors import RemoteError

TIMEOUT = 30.0
"""Seconds without an answer after which a request has failed."""
MOST_TRIES = 4
"""Largest number of times that a request is sent, if the network or the server fails."""

_MOST_REDIRECTS = 8
_MOST_WAIT = 20.0
_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_BROKEN = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Answer:
    """The answer to a request, of which the body is still to be read.

    Args:
        response: Status, header and body.
        url: Address that answered, after redirects.
        origin: Server that answered, and its connection.
    """

    response: http.client.HTTPResponse
    url: str
    origin: tuple[str, str]

    @property
    def status(self) -> int:
        """Status of the answer."""
        return self.response.status

    def header(self, name: str) -> str:
        """Returns a field of the header, empty if it is not there."""
        return (self.response.getheader(name) or "").strip()


@final
class Connections:
    """Connections to servers, which stay open between requests. Not for several threads at once.

    Args:
        headers: Fields of the header of each request, such as an authorization; they go to `home` alone.
        home: Scheme and host, with its port, of the server that is trusted with the fields.
    """

    def __init__(self, headers: Mapping[str, str] | None = None, home: tuple[str, str] | None = None):
        self._headers = dict(headers or {})
        self._home = home
        self._open: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._process = os.getpid()

    def get(self, url: str, headers: Mapping[str, str], shown: str) -> Answer:
        """Sends a GET request and follows redirects.

        Args:
            url: The address; a user name and a password in it are sent to its own server only.
            headers: Further fields of the header.
            shown: Name of the file, for messages.

        Returns:
            The answer, whatever its status.

        Raises:
            OSError: If the server cannot be reached or does not answer.
            http.client.HTTPException: If its answer is not one of HTTP.
            RemoteError: If the redirects do not end, or lead from HTTPS to another protocol.
        """
        for _ in range(_MOST_REDIRECTS):
            parts = urlsplit(url)
            origin = origin_of(url)
            answer = Answer(self._send(parts, origin, headers), url, origin)
            target = answer.header("Location")
            if answer.status not in _REDIRECTS or not target:
                return answer
            self.finish(answer)
            url = urljoin(url, target)
            scheme = urlsplit(url).scheme.lower()
            if scheme != "https" and (scheme != "http" or parts.scheme == "https"):
                raise RemoteError(shown, f"the server redirects from {parts.scheme} to {scheme[:20] or 'nothing'}")
        raise RemoteError(shown, f"the server redirects more than {_MOST_REDIRECTS} times")

    def finish(self, answer: Answer) -> None:
        """Prepares the connection of an answer for the next request: reads what is left of a short body."""
        length = answer.header("Content-Length")
        left = answer.response.length
        if answer.response.isclosed() or (length.isdigit() and left is not None and left <= 1 << 16):
            with suppress(*_BROKEN):
                answer.response.read()
                return
        self.drop(answer.origin)

    def drop(self, origin: tuple[str, str]) -> None:
        """Closes the connection to a server."""
        connection = self._open.pop(origin, None)
        if connection is not None:
            connection.close()

    def _send(
        self, parts: SplitResult, origin: tuple[str, str], headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        """Sends one request, again if a connection that was open has been closed by the server in the meantime."""
        if self._process != os.getpid():  # a connection is not shared with the process that this one was forked from
            self._open, self._process = {}, os.getpid()
        proxy = _proxy(parts)
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        if proxy is not None and origin[0] == "http":
            target = urlunsplit((parts.scheme, origin[1], parts.path or "/", parts.query, ""))
        fields = {"User-Agent": "sne", "Accept-Encoding": "identity", "Accept": "*/*", **headers}
        if self._home in (None, origin):
            fields |= self._headers
        if parts.username is not None:
            fields["Authorization"] = _basic(parts)
        if proxy is not None and proxy.username is not None and origin[0] == "http":
            fields["Proxy-Authorization"] = _basic(proxy)
        was_open = origin in self._open
        try:
            return self._request(origin, proxy, target, fields)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, http.client.CannotSendRequest):
            if not was_open:
                raise
            return self._request(origin, proxy, target, fields)

    def _request(
        self, origin: tuple[str, str], proxy: SplitResult | None, target: str, fields: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        connection = self._open.get(origin)
        if connection is None:
            connection = self._open[origin] = _connect(origin, proxy)
        try:
            connection.request("GET", target, headers=dict(fields))
            return connection.getresponse()
        except BaseException:
            self.drop(origin)
            raise


def origin_of(url: str) -> tuple[str, str]:
    """Returns scheme and host, with its port, of an address.

    Example:
        >>> origin_of("https://me:secret@Host:8443/a.pt")
        ('https', 'host:8443')
    """
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()


def describe_failure(error: Exception) -> str:
    """Says in a few words why a request got no answer.

    Example:
        >>> describe_failure(TimeoutError())
        'the server does not answer within 30 s'
        >>> describe_failure(http.client.IncompleteRead(b"", 5))
        'the connection ended 5 bytes early'
    """
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection ended {error.expected or 'some'} bytes early"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the server is not accepted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return f"the server does not answer within {TIMEOUT:.0f} s"
    if isinstance(error, socket.gaierror):
        return "there is no server of that name, or no network"
    if isinstance(error, ConnectionRefusedError):
        return "the server refuses connections"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return "the server closed the connection without an answer"
    if isinstance(error, http.client.HTTPException):
        return f"the answer is not one of HTTP ({type(error).__name__})"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def is_transient(status: int) -> bool:
    """Whether an answer may be another one when the request is sent again."""
    return status in _TRANSIENT


def pause(tries: int, answer: Answer | None = None) -> None:
    """Waits before a request is sent again, as long as the server asks for, but at most 20 s.

    Args:
        tries: Number of times that it was sent.
        answer: The last answer, if there was one.
    """
    asked = answer.header("Retry-After") if answer is not None else ""
    seconds = float(asked) if asked.isdigit() else 0.25 * 2**tries
    time.sleep(min(seconds, _MOST_WAIT))


def _connect(origin: tuple[str, str], proxy: SplitResult | None) -> http.client.HTTPConnection:
    scheme, host = origin
    if proxy is not None:
        place = proxy.netloc.rpartition("@")[2]
        if scheme == "http":
            return http.client.HTTPConnection(place, timeout=TIMEOUT)
        tunnel = http.client.HTTPSConnection(place, timeout=TIMEOUT, context=_trust())
        fields = {"Proxy-Authorization": _basic(proxy)} if proxy.username is not None else {}
        parts = urlsplit(f"https://{host}")
        tunnel.set_tunnel(parts.hostname or host, parts.port or 443, fields)
        return tunnel
    if scheme == "http":
        return http.client.HTTPConnection(host, timeout=TIMEOUT)
    return http.client.HTTPSConnection(host, timeout=TIMEOUT, context=_trust())


def _trust() -> ssl.SSLContext:
    """Returns the certificates of the system, and those of the package certifi if it is installed."""
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE"):
        with suppress(ImportError, OSError):
            import certifi

            context.load_verify_locations(certifi.where())
    return context


def _proxy(parts: SplitResult) -> SplitResult | None:
    """Returns the proxy that the environment names for an address."""
    found = getproxies().get(parts.scheme)
    if not found or (parts.hostname and proxy_bypass(parts.netloc.rpartition("@")[2])):
        return None
    return urlsplit(found if "://" in found else f"http://{found}")


def _basic(parts: SplitResult) -> str:
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
