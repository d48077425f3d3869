"""Web servers for the tests of remote files: real HTTP on this machine, which count what they send."""

import json
import re
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Hook = Callable[["Exchange"], bool]


@dataclass
class Server:
    """A server of the files of a folder.

    Args:
        url: Its address, without a slash at the end.
        root: The folder.
        hook: Called with each request; returns whether it has answered it.
        requests: Path, Range and further fields of each request.
        sent: Number of bytes of all bodies.
    """

    url: str
    root: Path
    hook: Hook | None = None
    requests: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    has_ranges: bool = True
    has_etags: bool = True

    def forget(self) -> None:
        self.requests, self.sent = [], 0


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        ours: Server = self.server.ours
        ours.requests.append({"path": self.path, **{key.lower(): value for key, value in self.headers.items()}})
        if ours.hook is not None and ours.hook(self):
            return
        self.send_file(ours.root / unquote(urlsplit(self.path).path).lstrip("/"))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def send_file(self, file: Path, headers: Mapping[str, str] = {}) -> None:
        """Answers with a file, or with the range that is asked for, as web servers do."""
        ours: Server = self.server.ours
        if not file.is_file():
            self.answer(404, b"not found")
            return
        content = file.read_bytes()
        tag = f'"{sha1(content).hexdigest()}"'
        own = {**({"ETag": tag} if ours.has_etags else {}), **headers}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        is_same = self.headers.get("If-Range", tag) == tag
        if match is None or not ours.has_ranges or not is_same:
            self.answer(200, content, own)
            return
        start, stop = int(match[1]), min(int(match[2] or len(content)) + 1, len(content))
        if start >= len(content):
            self.answer(416, b"", {**own, "Content-Range": f"bytes */{len(content)}"})
            return
        self.answer(206, content[start:stop], {**own, "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] = {}, *, length: int | None = None) -> None:
        """Sends an answer; with a length that is not that of the body, the connection ends after it."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if length is not None:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(body)

    def send_body(self, body: bytes) -> None:
        try:
            for start in range(0, len(body), 1 << 16):
                self.wfile.write(body[start : start + (1 << 16)])
                self.server.ours.sent += len(body[start : start + (1 << 16)])
        except OSError:  # the client has what it wants
            self.close_connection = True

    def answer_json(self, value: Any, status: int = 200, headers: Mapping[str, str] = {}) -> None:
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


class QuietServer(ThreadingHTTPServer):
    """A server that says nothing about clients that hang up."""

    daemon_threads = True
    ours: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing."""


@contextmanager
def serving(root: Path, hook: Hook | None = None) -> Iterator[Server]:
    """Serves the files of a folder on a port of this machine."""
    server = QuietServer(("127.0.0.1", 0), Exchange)
    server.ours = Server(f"http://127.0.0.1:{server.server_address[1]}", root, hook)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.ours
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class HubImitation:
    """The routes of the Hugging Face Hub that reading and writing a model need, over the folders `root/org/name`.

    Content is served as the Hub does it: `/resolve/` redirects to another address, which has the bytes. Written files
    are part of the body of the commit, as the Hub takes small ones.

    Args:
        token: What readers must show; empty if anyone may read.
    """

    def __init__(self, token: str = ""):
        self.token = token
        self.tokens_elsewhere: list[str] = []

    def __call__(self, exchange: Exchange) -> bool:
        root = exchange.server.ours.root
        path = unquote(urlsplit(exchange.path).path)
        shown = exchange.headers.get("Authorization", "")
        if exchange.command == "POST":
            return self._write(exchange, root, path, shown)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._describe(exchange, root, match[1], match[2] or "main", shown)
            return True
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^/]+", path):
            folder = root / match[1]
            files = [
                (file, file.relative_to(folder).as_posix()) for file in sorted(folder.rglob("*")) if file.is_file()
            ]
            exchange.answer_json(
                [
                    {
                        "type": "file",
                        "path": name,
                        "size": file.stat().st_size,
                        "oid": sha1(file.read_bytes()).hexdigest(),
                    }
                    for file, name in files
                ]
            )
            return True
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40}|main|v1)/(.+)", path):
            file = root / match[1] / match[3]
            if not file.is_file():
                exchange.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
                return True
            if self.token and shown != f"Bearer {self.token}":
                exchange.answer(401, b"")
                return True
            target = exchange.server.ours.url.replace("127.0.0.1", "localhost") + f"/cdn/{match[1]}/{match[3]}?sig=1"
            linked = {
                "X-Linked-Etag": f'"{sha1(file.read_bytes()).hexdigest()}"',
                "X-Linked-Size": str(file.stat().st_size),
            }
            exchange.answer(302, b"", {"Location": target, "X-Repo-Commit": commit_of(match[1]), **linked})
            return True
        if path.startswith("/cdn/"):
            self.tokens_elsewhere.append(shown)
            exchange.send_file(root / path.removeprefix("/cdn/"))
            return True
        return False

    def _write(self, exchange: Exchange, root: Path, path: str, shown: str) -> bool:
        body = exchange.rfile.read(int(exchange.headers.get("Content-Length", 0)))
        if self.token and shown != f"Bearer {self.token}":
            exchange.answer_json({"error": "Invalid username or password."}, 401)
            return True
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            is_there = (root / name).is_dir()
            (root / name).mkdir(parents=True, exist_ok=True)
            url = f"{exchange.server.ours.url}/{name}"
            exchange.answer_json(
                {"url": url, "error": "exists"} if is_there else {"url": url}, 409 if is_there else 200
            )
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/.+", path):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            exchange.answer_json({"files": files})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/.+", path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    (root / match[1] / line["value"]["path"]).write_bytes(b64decode(line["value"]["content"]))
            url = f"{exchange.server.ours.url}/{match[1]}/commit/{commit_of(match[1])}"
            exchange.answer_json({"success": True, "commitOid": commit_of(match[1]), "commitUrl": url})
        elif path == "/api/validate-yaml":
            exchange.answer_json({"errors": [], "warnings": []})
        else:
            return False
        return True

    def _describe(self, exchange: Exchange, root: Path, name: str, revision: str, shown: str) -> None:
        folder = root / name
        missing = "RepoNotFound" if not folder.is_dir() or (self.token and shown != f"Bearer {self.token}") else ""
        if not missing and revision not in ("main", "v1", commit_of(name)):
            missing = "RevisionNotFound"
        if missing:
            exchange.answer_json({"error": "not found"}, 404, {"X-Error-Code": missing})
            return
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        siblings = [
            {
                "rfilename": file.relative_to(folder).as_posix(),
                "size": file.stat().st_size,
                "blobId": sha1(file.read_bytes()).hexdigest(),
                "lfs": {
                    "sha256": sha256(file.read_bytes()).hexdigest(), "size": file.stat().st_size, "pointerSize": 130,
                },
            }
            for file in files
        ]  # fmt: skip
        described = {"_id": "1", "id": name, "modelId": name, "sha": commit_of(name), "siblings": siblings}
        exchange.answer_json({**described, "private": False, "gated": False, "disabled": False, "tags": []})


def commit_of(name: str) -> str:
    return sha1(name.encode()).hexdigest()
