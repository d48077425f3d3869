"""From the address of a remote file or folder to its path in a store."""

from collections.abc import Callable
from os import PathLike

from sne.checkpoints.remote.address import conceal, reveal
from sne.checkpoints.remote.path import RemotePath
from sne.errors import RemoteError


def open_remote(source: str | PathLike[str]) -> RemotePath:
    """Returns the path of a remote file or folder. Nothing is fetched before it is looked at.

    Args:
        source: `hf://org/name[@revision][/file]`, `s3://bucket/path`, `gs://bucket/path`, or an address of the web.

    Raises:
        RemoteError: If the address has another form, or a package that it needs is not installed.

    Example:
        >>> path = open_remote("https://me:secret@host/runs/a.pt")
        >>> str(path), path.suffix, str(path.parent / "config.json")
        ('https://host/runs/a.pt', '.pt', 'https://host/runs/config.json')
    """
    shown = conceal(source)
    return _OPENERS[shown.partition("://")[0]](shown)


def version_of(source: str | PathLike[str]) -> str:
    """Returns a text that changes when a remote file or folder does.

    Args:
        source: Its address.

    Returns:
        Size and ETag of a file, or the commit of a repository; empty if there is no such file, or its server does not
        tell its version.
    """
    path = open_remote(source)
    try:
        facts = path.store.facts(path.inside) if path.inside else None
        if facts is not None:
            return f"{facts.size} {facts.version}" if facts.version else ""
        return path.store.folder_version(path.inside)
    except RemoteError:
        return ""


def _open_hub(address: str) -> RemotePath:
    from sne.checkpoints.remote.hub import HubStore

    store = HubStore(address)
    return RemotePath(store, store.file)


def _open_bucket(address: str) -> RemotePath:
    from sne.checkpoints.remote.bucket import BucketStore

    store = BucketStore(address)
    return RemotePath(store, store.path)


def _open_web(address: str) -> RemotePath:
    from sne.checkpoints.remote.web import WebStore

    store = WebStore(reveal(address), address)
    if not store.path or address.partition("?")[0].endswith("/"):
        raise RemoteError(address, "names no file, and a web server does not list its folders: name a file")
    return RemotePath(store, store.path)


_OPENERS: dict[str, Callable[[str], RemotePath]] = {
    "hf": _open_hub,
    "s3": _open_bucket,
    "gs": _open_bucket,
    "http": _open_web,
    "https": _open_web,
}
