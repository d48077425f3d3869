"""Bytes and requests of commands that read a remote file: python benchmarks/remote_files.py FILE...

Serves the folder of each file on this machine with the server of the tests, and prints one line per command and file.
"""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from remote_servers import serving

COMMANDS = (("inspect",), ("predict",), ("predict", "--budget", "50000"))


def main(files: list[str]) -> None:
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    print("| command | file | bytes of file | fetched | share | requests |\n|---|---|---|---|---|---|")
    for file in map(Path, files):
        with serving(file.parent) as server:
            for command in COMMANDS:
                server.forget()
                line = [sys.executable, "-m", "sne", *command, f"{server.url}/{file.name}"]
                subprocess.run(line, check=True, env=environment, capture_output=True)
                size, own = file.stat().st_size, [one for one in server.requests if file.name in one["path"]]
                share = f"{server.sent / size:.2%}"
                print(f"| {' '.join(command)} | {file.name} | {size:,} | {server.sent:,} | {share} | {len(own)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
