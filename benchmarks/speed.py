"""Measures the targets of speed and memory, each as a ratio of two things in one run, and writes results/speed.md.

    python benchmarks/speed.py --work WORK [--only predict,train] [--threads 1]

WORK keeps the zoos, files and predictor that the lines read, and the lines that were measured; an interrupted run
continues. A kept line is used again if it is complete and has the same threads and the same --before, whatever its
commit. Each line is measured in a process of its own that ends after a limited time. Needs 20 GB of disk, the extra
`nfn` and `pip install weightwatcher`; lines that cannot be measured say why.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "speed.json"


def measure_here(name: str, work: Path, threads: int) -> None:
    """Measures one line in this process and prints what `measure_apart` reads: one JSON object per line.

    All other output goes to stderr.
    """
    import torch
    from speed_lines.all_lines import LINES
    from speed_lines.line import Setting, Skipped

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def send(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=out, flush=True)

    send({"commit": commit()})
    torch.set_num_threads(threads)
    try:
        for reading in LINES[name].measure(Setting(work, threads)):
            send({"reading": reading.to_json()})
    except Skipped as reason:
        send({"reason": str(reason)})


def make_material(work: Path) -> None:
    """Makes what several lines read, so that it takes no line's time."""
    from speed_lines import material
    from speed_lines.stored_zoo import NETWORKS

    material.default_predictor(work)
    material.small_cnn_zoo(work, NETWORKS)


def measure_apart(name: str, seconds: float, work: Path, threads: int) -> dict[str, Any]:
    """Measures one line in a process of its own. What it measured before it failed or took too long is kept."""
    from speed_lines.all_lines import LINES

    command = [sys.executable, __file__, "--work", str(work), "--threads", str(threads), "--line", name]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    started = time.monotonic()
    try:
        messages, reason = finish(command, seconds, environment)
    finally:
        for file in LINES[name].large_files:
            (work / file).unlink(missing_ok=True)
            (work / f"draft-{file}").unlink(missing_ok=True)
    found: dict[str, Any] = {}
    for message in map(json.loads, messages.splitlines()):
        if "reading" in message:
            found.setdefault("readings", []).append(message["reading"])
        else:
            found |= message
    return {
        **found,
        **({"reason": reason} if reason else {}),
        "threads": threads,
        "seconds": round(time.monotonic() - started, 1),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    }


def finish(command: Sequence[str], seconds: float, environment: Mapping[str, str]) -> tuple[str, str | None]:
    """Runs a command; after a limited time it is ended with all processes that it started.

    Returns:
        What it printed, and why it did not succeed; None if it did.
    """
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    reason = None
    try:
        out, errors = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        out, errors = process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        reason = f"not finished after {seconds:.0f} s"
    if process.returncode and not reason:
        reason = (errors.strip() or "no message").splitlines()[-1][:300]
    return out, reason


def is_usable(kept: Mapping[str, Any], threads: int, before: str | None) -> bool:
    """Returns whether a kept line need not be measured again. Its commit does not matter."""
    is_complete = "readings" in kept and "reason" not in kept
    return is_complete and (kept.get("threads"), kept.get("before")) == (threads, before)


def commit() -> str:
    """Returns the version of the measured package, with + where its files differ from it."""
    import sne

    git = ["git", "-C", str(Path(sne.__file__).parent)]
    version = subprocess.run([*git, "describe", "--always"], capture_output=True, text=True).stdout.strip()
    changes = subprocess.run([*git, "status", "--porcelain", "--", "."], capture_output=True, text=True).stdout
    return f"{version}+" if changes else version


def machine() -> str:
    """Returns the processor and its number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line for line in lines if line.startswith("model name")]
    processor = names[0].partition(":")[2].strip() if names else platform.machine()
    return f"{processor}, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for files and measured lines")
    parser.add_argument("--only", help="lines to measure, separated by commas (default: all)")
    parser.add_argument("--again", action="store_true", help="measure lines again that WORK has already")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and NumPy (default %(default)s)")
    parser.add_argument(
        "--before", metavar="TEXT", help="write the lines as those of an older version, TEXT says which"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to write (default %(default)s)")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="factor of the time that each line may take (default %(default)s)"
    )
    parser.add_argument("--line", help=argparse.SUPPRESS)
    parser.add_argument("--material", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.material:
        make_material(options.work)
        return
    if options.line:
        measure_here(options.line, options.work, options.threads)
        return
    from speed_lines.all_lines import LINES
    from speed_lines.table import write

    names = options.only.split(",") if options.only else list(LINES)
    if unknown := [name for name in names if name not in LINES]:
        parser.error(f"no line {', '.join(unknown)}; lines: {', '.join(LINES)}")
    folder = options.work / "lines"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, __file__, "--work", str(options.work), "--material"], check=True)
    for name in names:
        kept = folder / f"{name}.json"
        found = json.loads(kept.read_text()) if kept.exists() and not options.again else {}
        if is_usable(found, options.threads, options.before):
            print(f"{name}: kept, of commit {found.get('commit') or 'unknown'}", file=sys.stderr, flush=True)
        else:
            print(f"{name} ...", file=sys.stderr, flush=True)
            found = measure_apart(name, options.patience * LINES[name].seconds, options.work, options.threads)
            found["before"] = options.before
            kept.write_text(json.dumps(found, indent=1) + "\n")
        record = json.loads(options.out.read_text()) if options.out.exists() else {"lines": {}}
        place = record.setdefault("before", {"lines": {}}) if options.before else record
        place |= {"of": options.before} if options.before else {}
        place["lines"] = {key: (found if key == name else place["lines"].get(key)) for key in LINES}
        place["lines"] = {key: value for key, value in place["lines"].items() if value}
        write(record, options.out)
        for reading in found.get("readings", []):
            figure = f"{reading['ratio']:.3g} (target {reading['target']})"
            print(f"{name:14s}{figure}  {reading['what']}", flush=True)
        if "reason" in found:
            print(f"{name:14s}not measured: {found['reason']}", flush=True)


if __name__ == "__main__":
    main()
