"""Tries the wheel as a newcomer gets it: in an environment that has nothing else, and without extras.

    python benchmarks/wheel.py --work FOLDER

Builds the wheel and the source archive, checks their metadata with twine, installs the wheel in a new virtual
environment (or in the one that FOLDER has from an earlier run), and runs commands on fresh files, away from the
repository. Prints a table in Markdown: command, seconds, and the first line of its output. Needs `pip install build
twine`.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_MEGABYTES = 15
COMMANDS = (
    "sne --version",
    "sne inspect files/cnn-step-600.pt",
    "sne predict files",
    "sne encode files --out embeddings.parquet",
    "sne compare files/cnn-step-060.pt files/cnn-step-600.pt",
    "sne lineage files",
    "sne check files",
    "sne card files/cnn-step-600.pt --out card.html",
    "sne train zoo --target test_accuracy --out predictor --quiet",
)


def built(folder: Path) -> list[Path]:
    """Builds wheel and source archive; returns them, the wheel first."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("sne-*"):
        old.unlink()
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], check=True, capture_output=True)
    files = sorted(folder.glob("sne-*"), key=lambda path: path.suffix != ".whl")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)], check=True)
    return files


def installed(folder: Path, wheel: Path) -> float:
    """Installs the wheel in an environment of its own; returns the seconds that it took."""
    start = time.perf_counter()
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", str(wheel)], check=True)
    else:
        command = [str(folder / "bin" / "pip"), "install", "--quiet", "--no-deps", "--force-reinstall", str(wheel)]
        subprocess.run(command, check=True)
    return time.perf_counter() - start


def run(command: list[str], folder: Path, scripts: Path) -> tuple[float, str]:
    """Runs a command with the programs of the environment first; returns seconds and what was printed."""
    path = f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**kept, "PATH": path, "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - start, done.stdout


def main() -> None:
    """Builds, installs, runs, prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for the environment and what the commands write"
    )
    work = parser.parse_args().work.resolve()
    files = built(work / "dist")
    for path in files:
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    if files[0].stat().st_size > MAX_MEGABYTES * 1e6:
        raise SystemExit(f"the wheel is larger than {MAX_MEGABYTES} MB")
    print(f"installed in {installed(work / 'clean', files[0]):.0f} s")
    scripts, tried = work / "clean" / "bin", work / "tried"
    tried.mkdir(exist_ok=True)
    for old in tried.glob("*.parquet"):
        old.unlink()
    run([str(scripts / "python"), str(ROOT / "examples" / "fresh_files.py"), "files"], tried, scripts)
    run(shlex.split("sne zoo make zoo --family small_cnn --networks 12 --steps 20 --workers 1"), tried, scripts)
    print("| command | seconds | first line |\n|---|---|---|")
    for line in COMMANDS:
        command = shlex.split(line) + (["--overwrite"] if line.startswith("sne train") else [])
        seconds, printed = run(command, tried, scripts)
        print(f"| `{line}` | {seconds:.1f} | {' '.join(printed.partition(chr(10))[0].split())} |", flush=True)


if __name__ == "__main__":
    main()
