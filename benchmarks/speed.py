"""Measures the targets of speed and memory, each as a ratio of two things in one run, and writes results/speed.md.

    python benchmarks/speed.py --work WORK [--only predict,train] [--threads 1]

WORK keeps the zoos, files and predictor that the lines read, and the lines that were measured; an interrupted run
continues. Each line is measured in a process of its own that ends after a limited time. Needs 20 GB of disk, the extra
`nfn` and `pip install weightwatcher`; lines that cannot be measured say why.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "speed.json"


def measure_here(name: str, work: Path, threads: int) -> dict[str, Any]:
    """Measures one line in this process."""
    import torch
    from speed_lines.all_lines import LINES
    from speed_lines.line import Setting, Skipped

    torch.set_num_threads(threads)
    try:
        readings = LINES[name].measure(Setting(work, threads))
    except Skipped as reason:
        return {"reason": str(reason)}
    return {"readings": [reading.to_json() for reading in readings]}


def make_material(work: Path) -> None:
    """Makes what several lines read, so that it takes no line's time."""
    from speed_lines import material
    from speed_lines.stored_zoo import NETWORKS

    material.default_predictor(work)
    material.small_cnn_zoo(work, NETWORKS)


def measure_apart(name: str, seconds: float, work: Path, threads: int) -> dict[str, Any]:
    """Measures one line in a process of its own."""
    out = work / "lines" / f"{name}.partial"
    command = [sys.executable, __file__, "--work", str(work), "--threads", str(threads), "--line", name]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    started = time.monotonic()
    try:
        with out.open("w") as file:
            done = subprocess.run(
                command, env=environment, timeout=seconds, stdout=file, stderr=subprocess.PIPE, text=True
            )
        lines = (done.stderr.strip() or "no message").splitlines()
        found = json.loads(out.read_text()) if not done.returncode else {"reason": lines[-1][:300]}
    except subprocess.TimeoutExpired:
        found = {"reason": f"not finished after {seconds:.0f} s"}
    out.unlink()
    return {
        **found,
        "seconds": round(time.monotonic() - started, 1),
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine(),
    }


def commit() -> str:
    """Returns the version of the code, with + where files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


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
        print(json.dumps(measure_here(options.line, options.work, options.threads)))
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
        if kept.exists() and not options.again:
            found = json.loads(kept.read_text())
        else:
            print(f"{name} ...", file=sys.stderr, flush=True)
            found = measure_apart(name, options.patience * LINES[name].seconds, options.work, options.threads)
            kept.write_text(json.dumps(found, indent=1) + "\n")
        record = json.loads(options.out.read_text()) if options.out.exists() else {"lines": {}}
        place = record.setdefault("before", {"lines": {}}) if options.before else record
        place |= {"of": options.before} if options.before else {}
        place["lines"] = {key: (found if key == name else place["lines"].get(key)) for key in LINES}
        place["lines"] = {key: value for key, value in place["lines"].items() if value}
        write(record, options.out)
        shown = found.get("readings") or [{"what": f"not measured: {found['reason']}"}]
        for reading in shown:
            figure = f"{reading['ratio']:.3g} (target {reading['target']})  " if "ratio" in reading else ""
            print(f"{name:14s}{figure}{reading['what']}", flush=True)


if __name__ == "__main__":
    main()
