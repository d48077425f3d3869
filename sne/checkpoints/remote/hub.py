"""Repositories of the Hugging Face Hub, pinned to the commit that was found first."""

from collections.abc import Iterator
from typing import Any, final
from urllib.parse import quote

from sne.checkpoints.remote.address import parse_hub_address
from sne.checkpoints.remote.connection import Connections, origin_of
from sne.checkpoints.remote.store import RemoteEntry, RemoteFacts, RemoteStore
from sne.checkpoints.remote.web import WebFile
from sne.errors import RemoteError, install_hint

_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


@final
class HubStore(RemoteStore):
    """A repository of models. One request lists its files; each of them is read from the commit that it names.

    Tokens are those of `huggingface_hub` (`hf auth login`, HF_TOKEN), and go to the Hub alone, which HF_ENDPOINT names.

    Args:
        address: `hf://org/name[@revision][/file]`.

    Raises:
        RemoteError: If the address has another form, or `huggingface_hub` is not installed.
    """

    def __init__(self, address: str):
        parts = parse_hub_address(address)
        revision = f"@{parts.revision}" if parts.revision else ""
        super().__init__(f"hf://{parts.repository}{revision}")
        self.file = parts.file
        self._repository, self._revision = parts.repository, parts.revision
        try:
            import huggingface_hub
            from huggingface_hub import constants, errors, utils
        except ImportError as error:
            raise RemoteError(
                address, f"reading from the Hub needs the package huggingface_hub; {install_hint('hub')}"
            ) from error
        self._hub, self._constants, self._errors, self._utils = huggingface_hub, constants, errors, utils
        self._connections: Connections | None = None
        self._commit = ""
        self._sizes: dict[str, int | None] | None = None
        self._marks: dict[str, str] = {}
        self._files: dict[str, WebFile] = {}

    def address_of(self, path: str) -> str:
        """Returns the address of a file or a folder."""
        return f"{self.address}/{path}" if path else self.address

    def find_file(self, path: str) -> RemoteFacts | None:
        """Looks a file up in the list of the repository, and at the server that has its content."""
        listed = self._listed()
        if path not in listed:
            return None
        url = f"{self._constants.ENDPOINT}/{self._repository}/resolve/{self._commit}/{quote(path)}"
        file = WebFile(url, self.address_of(path), self._connection(), listed[path])
        facts = file.find()
        if facts is None:
            raise RemoteError(self.address_of(path), "the Hub lists the file, and does not have it")
        self._files[path] = file
        if facts.has_ranges:
            self.keep(path, facts.size, file.start)
        return RemoteFacts(facts.size, self._marks[path], facts.has_ranges)

    def list_folder(self, path: str) -> tuple[RemoteEntry, ...]:
        """Lists a folder of the repository."""
        start = f"{path}/" if path else ""
        below = [name[len(start) :] for name in self._listed() if name.startswith(start)]
        folders = {name.partition("/")[0] for name in below if "/" in name}
        files = {name for name in below if "/" not in name}
        return tuple(RemoteEntry(name, name in folders) for name in sorted(folders | files))

    def folder_version(self, path: str) -> str:
        """Returns the commit."""
        return self._commit if self.entries(path) else ""

    def fetch(self, path: str, start: int, view: memoryview) -> None:
        """Fetches a range of a file of the commit."""
        self._files[path].fetch(start, view)

    def stream(self, path: str) -> Iterator[bytes]:
        """Yields the whole content of a file."""
        return self._files[path].stream()

    def _connection(self) -> Connections:
        if self._connections is None:
            headers = self._utils.build_hf_headers(library_name="sne")
            self._connections = Connections(headers, origin_of(self._constants.ENDPOINT))
        return self._connections

    def _listed(self) -> dict[str, int | None]:
        """Returns the files of the repository with their sizes, and pins the commit."""
        if self._sizes is None:
            info = self._ask()
            self._commit = info.sha or ""
            if not self._commit:
                raise RemoteError(self.address, "the Hub does not name the commit")
            files = info.siblings or []
            self._sizes = {file.rfilename: file.size for file in files}
            self._marks = {file.rfilename: f"{self._commit} {file.blob_id or ''}".strip() for file in files}
        return self._sizes

    def _ask(self) -> Any:
        """Asks the Hub about the repository."""
        errors = self._errors
        try:
            api = self._hub.HfApi(endpoint=self._constants.ENDPOINT, library_name="sne")
            return api.model_info(self._repository, revision=self._revision, files_metadata=True)
        except errors.GatedRepoError as error:
            reason = f"its owner permits access on request: ask for it on its page, and {_LOGIN}"
            raise RemoteError(self.address, reason) from error
        except errors.RepositoryNotFoundError as error:
            raise RemoteError(
                self.address, f"the Hub has no such repository, or it is private: for a private one, {_LOGIN}"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise RemoteError(self.address, f"the repository has no revision {self._revision!r}") from error
        except errors.OfflineModeIsEnabled as error:
            raise RemoteError(self.address, "HF_HUB_OFFLINE is set, so that nothing is fetched from the Hub") from error
        except errors.HFValidationError as error:
            raise RemoteError(self.address, f"not the name of a repository: {error}") from error
        except Exception as error:  # the errors of its HTTP client have no class that all versions share
            text = str(error).strip().splitlines()
            raise RemoteError(
                self.address, f"the Hub cannot be asked: {(text or [type(error).__name__])[0][:200]}"
            ) from error
