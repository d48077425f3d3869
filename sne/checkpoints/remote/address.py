"""Addresses of remote files: how they are recognised, taken apart, and shown without what is secret in them."""

import re
from os import PathLike
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from sne.errors import RemoteError

_REMOTE = re.compile(r"^(hf|s3|gs|https?)://", re.IGNORECASE)
_JOINED = re.compile(r"^(hf|s3|gs|https?):/(?!/)", re.IGNORECASE)
_SECRET = re.compile(
    r"(?i)^(x-(amz|goog)-.*|.*(signature|token|secret|passw|credential|api-?_?key|access-?_?key).*|sig|key|auth|policy|"
    r"expires|key-pair-id|googleaccessid|se|st|sp|sv|sr|skoid|sktid|skt|ske|sks|skv)$"
)
_HIDDEN = "..."
_HUB = re.compile(
    r"^(?P<repo>[^/@]+(?:/[^/@]+)?)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?"
    r"(?:/(?P<file>.*))?$"
)
_KINDS = ("datasets", "spaces", "buckets")

_KNOWN: dict[str, str] = {}


class HubAddress(NamedTuple):
    """The parts of an address of the Hugging Face Hub.

    Args:
        repository: Name of the repository, such as "org/name".
        revision: Branch, tag or commit; None for the default branch.
        file: Path within the repository; empty for the whole repository.
    """

    repository: str
    revision: str | None
    file: str


def is_remote(source: object) -> bool:
    """Whether a source is the address of a remote file or folder.

    Args:
        source: What a caller names as a checkpoint. A `pathlib.Path` joins the two slashes of an address to one, and is
            recognised as well.

    Example:
        >>> is_remote("hf://org/name"), is_remote("https://host/a.pt"), is_remote("runs/a.pt"), is_remote("ftp://host")
        (True, True, False, False)
    """
    if isinstance(source, str):
        return _REMOTE.match(source) is not None
    return isinstance(source, PathLike) and _JOINED.match(str(source)) is not None


def conceal(source: str | PathLike[str]) -> str:
    """Returns an address that can be shown: without user name and password, and without values of a signed query.

    Inverse: `reveal`, in this process.

    Args:
        source: An address for which `is_remote` is true.

    Example:
        >>> conceal("https://me:secret@host/a.pt?version=3&X-Amz-Signature=0b1f#part")
        'https://host/a.pt?version=3&X-Amz-Signature=...'
    """
    address = _JOINED.sub(lambda match: f"{match[1]}://", str(source))
    scheme, rest = address.split("://", 1)
    if scheme.lower() not in ("http", "https"):
        return f"{scheme.lower()}://{rest}"
    parts = _split(address)
    host = parts.netloc.rpartition("@")[2].lower()
    shown = urlunsplit((parts.scheme.lower(), host, parts.path or "/", _without_secrets(parts.query), ""))
    full = urlunsplit((parts.scheme.lower(), parts.netloc, parts.path or "/", parts.query, ""))
    if full != shown:
        _KNOWN[shown] = full
    return shown


def reveal(address: str) -> str:
    """Returns the address with what `conceal` has taken out. Inverse: `conceal`.

    Args:
        address: What `conceal` returned.

    Raises:
        RemoteError: If something was taken out in another process.
    """
    if f"={_HIDDEN}" in address and address not in _KNOWN:
        raise RemoteError(address, "its signed query is known only to the process that was given the whole address")
    return _KNOWN.get(address, address)


def parse_hub_address(address: str) -> HubAddress:
    """Takes an address of the Hub apart.

    Args:
        address: `hf://org/name[@revision][/file]`. A revision with a slash, other than refs/pr/N, is written with %2F.

    Raises:
        RemoteError: If it has another form.

    Example:
        >>> parse_hub_address("hf://org/name@v1.0/sub/model.safetensors")
        HubAddress(repository='org/name', revision='v1.0', file='sub/model.safetensors')
        >>> parse_hub_address("hf://org/name@refs/pr/4").revision
        'refs/pr/4'
    """
    match = _HUB.match(address.removeprefix("hf://").rstrip("/"))
    if match is None:
        raise RemoteError(address, "not an address of the Hub, expected hf://org/name[@revision][/file]")
    if match["repo"].partition("/")[0] in _KINDS:
        raise RemoteError(address, "not a model; expected hf://org/name[@revision][/file]")
    file = match["file"] or ""
    if ".." in file.split("/"):
        raise RemoteError(address, "the path has '..' in it")
    return HubAddress(match["repo"], unquote(match["revision"]) if match["revision"] else None, file)


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        raise RemoteError(address.split("@")[-1].split("?")[0], f"not an address of the web: {error}") from None
    if not parts.hostname:
        raise RemoteError(address.split("?")[0], "the address names no host")
    return parts


def _without_secrets(query: str) -> str:
    """Replaces the values of fields of a query that may be secret."""
    fields = [field.partition("=") for field in query.split("&")] if query else []
    return "&".join(f"{name}={_HIDDEN}" if equals and _SECRET.match(unquote(name)) else f"{name}{equals}{value}"
                    for name, equals, value in fields)  # fmt: skip
