"""Bytes and requests of commands that read from buckets: python benchmarks/bucket_files.py FILE...

Puts the files into a bucket of moto (S3) and of gcp-storage-emulator (Google Cloud Storage), which serve on this
machine, and prints one line per bucket, file and command. A proxy between them counts. Needs `s3fs`, `gcsfs`,
`moto[server]` and `gcp-storage-emulator`; `--servers FOLDER` names the programs of the latter two in another
environment.
"""

import argparse
import http.client
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMANDS = (("inspect",), ("predict", "--budget", "50000"))
PUT = """
import sys, fsspec
system = fsspec.filesystem(sys.argv[1])
system.exists("models") or system.mkdir("models")
[system.put_file(file, "models/" + file.rpartition("/")[2]) for file in sys.argv[2:]]
"""


class Relay(BaseHTTPRequestHandler):
    """Passes one request on, and counts the bytes of the answer."""

    protocol_version = "HTTP/1.1"
    server: Any

    def pass_on(self) -> None:
        """Sends the request to the server behind, and its answer back."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers.items()))
        answer = connection.getresponse()
        content = answer.read()
        self.server.answers.append((self.path, len(content)))
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        self.send_header("Content-Length", answer.getheader("Content-Length", "0") if is_head else str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = pass_on

    def log_message(self, format: str, *args: object) -> None:
        """Prints nothing."""


def relay(target: int) -> Any:
    """Starts a proxy to a port, and returns it once the server there answers."""
    for _ in range(240):
        try:
            http.client.HTTPConnection("127.0.0.1", target, timeout=5).connect()
            break
        except OSError:
            time.sleep(0.5)
    proxy: Any = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
    proxy.target, proxy.answers = target, []
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    return proxy


def measure(files: list[Path], servers: Path | None) -> None:
    program = f"{servers}/" if servers else ""
    started = [
        subprocess.Popen(f"{program}{line}".split(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for line in ("moto_server -H 127.0.0.1 -p 5601",
                     "gcp-storage-emulator start --host 127.0.0.1 --port 5602 --in-memory --default-bucket models")
    ]  # fmt: skip
    try:
        proxies = {"s3": relay(5601), "gs": relay(5602)}
        ports = {scheme: f"http://127.0.0.1:{proxy.server_port}" for scheme, proxy in proxies.items()}
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        environment = {**os.environ, **dict.fromkeys(names, "test"), "AWS_DEFAULT_REGION": "us-east-1",
                       "AWS_ENDPOINT_URL": ports["s3"], "STORAGE_EMULATOR_HOST": ports["gs"],
                       "NO_GCE_CHECK": "true", "NO_PROXY": "127.0.0.1"}  # fmt: skip
        print("| bucket | command | file | bytes of file | fetched | share | requests |\n|---|---|---|---|---|---|---|")
        for scheme, proxy in proxies.items():
            put = [sys.executable, "-c", PUT, scheme, *map(str, files)]
            subprocess.run(put, check=True, env=environment, capture_output=True)
            for file in files:
                for command in COMMANDS:
                    proxy.answers.clear()
                    line = [sys.executable, "-m", "sne", *command, f"{scheme}://models/{file.name}"]
                    subprocess.run(line, check=True, env=environment, capture_output=True)
                    size, sent = file.stat().st_size, sum(number for _, number in proxy.answers)
                    figures = f"{size:,} | {sent:,} | {sent / size:.2%} | {len(proxy.answers)}"
                    print(f"| {scheme} | {' '.join(command)} | {file.name} | {figures} |", flush=True)
    finally:
        for server in started:
            server.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--servers", type=Path)
    given = parser.parse_args()
    measure(given.files, given.servers)
