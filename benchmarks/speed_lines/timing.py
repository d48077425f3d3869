"""Times of calls and of whole commands, and the speed of the machine."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speed_lines.line import Floor

PYTHON = (sys.executable, "-P", "-c")
SNE = (*PYTHON, "from sne.cli.main import main; main()")
_POLL = 0.01  # seconds between two readings of the peak, which only rises


@dataclass(frozen=True)
class Times:
    """Median times of one thing.

    Args:
        wall: Wall time in seconds.
        cpu: CPU time in seconds.
        repeats: Number of measurements.
        peak: Largest resident size in bytes, of commands only.
    """

    wall: float
    cpu: float
    repeats: int
    peak: float | None = None


def alternate(
    calls: Mapping[str, Callable[[], object]], *, repeats: int = 5, seconds: float = 40.0, warm: bool = True
) -> dict[str, Times]:
    """Measures calls in turns, so that all share the load of the machine.

    Args:
        calls: Calls by name.
        repeats: Number of rounds that are measured.
        seconds: Time after which no further round begins; one is always measured.
        warm: Whether one round goes before that is not measured.

    Returns:
        Times by name.
    """
    walls: dict[str, list[float]] = {name: [] for name in calls}
    cpus: dict[str, list[float]] = {name: [] for name in calls}
    if warm:
        for call in calls.values():
            call()
    started = time.perf_counter()
    for number in range(repeats):
        if number and time.perf_counter() - started > seconds:
            break
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
    return {
        name: Times(statistics.median(walls[name]), statistics.median(cpus[name]), len(walls[name])) for name in calls
    }


def run(command: Sequence[str], *, threads: int, seconds: float = 300.0) -> Times:
    """Runs a command and measures its time and its peak.

    Raises:
        RuntimeError: It fails, or takes longer than `seconds`.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    started, peak = time.perf_counter(), 0.0
    before = os.times()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors) as process,
    ):
        while process.poll() is None:
            peak = max(peak, _high_water(process.pid))
            if time.perf_counter() - started > seconds:
                process.kill()
                raise RuntimeError(f"{_shown(command)}: not finished after {seconds:.0f} s, peak {peak / 1e9:.2f} GB")
            time.sleep(_POLL)
        wall = time.perf_counter() - started
        errors.seek(0)
        message = errors.read()
    after = os.times()
    if process.returncode:
        raise RuntimeError(f"{_shown(command)}: status {process.returncode}: {message.strip()[-300:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Times(wall, cpu, 1, peak)


def run_alternately(
    commands: Mapping[str, Sequence[str]], *, threads: int, repeats: int = 3, seconds: float = 90.0
) -> dict[str, Times]:
    """Runs commands in turns. Times are medians, peaks are the largest; the first round is not measured.

    Args:
        commands: Commands by name.
        threads: Threads of torch and NumPy.
        repeats: Number of rounds that are measured.
        seconds: Time after which no further round begins; one is always measured.
    """
    found: dict[str, list[Times]] = {name: [] for name in commands}
    started = time.perf_counter()
    for number in range(repeats + 1):
        if number > 1 and time.perf_counter() - started > seconds:
            break
        for name, command in commands.items():
            times = run(command, threads=threads)
            found[name] += [times] if number else []
    return {
        name: Times(
            statistics.median(one.wall for one in some),
            statistics.median(one.cpu for one in some),
            len(some),
            max(one.peak or 0 for one in some),
        )
        for name, some in found.items()
    }


def _high_water(process: int) -> float:
    """Returns the largest resident size so far of a process, in bytes; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0.0)


def resident() -> float:
    """Returns the resident size of this process in bytes."""
    return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _shown(command: Sequence[str]) -> str:
    words = ["sne", *command[len(SNE) :]] if tuple(command[: len(SNE)]) == SNE else command
    return " ".join(words)


def floor(of: str, *, bytes: float = 0.0, multiply_adds: float = 0.0, exponentials: float = 0.0) -> Floor:
    """Returns a floor with its time on this machine, with torch's present number of threads.

    The time is that of the slowest of the three kinds of work: the others could in principle go on beside it.
    """
    import torch

    def rate(call: Callable[[], object], work: float) -> float:
        call()
        return work / min(_seconds(call) for _ in range(5))

    found = [0.0]
    if bytes:
        source = torch.zeros(1 << 24)
        target = torch.zeros(1 << 24)
        found.append(bytes / rate(lambda: target.copy_(source), 8.0 * len(source)))
    if multiply_adds:
        square = torch.randn(1024, 1024)
        found.append(multiply_adds / rate(lambda: square @ square, 1024.0**3))
    if exponentials:
        values = torch.randn(1 << 16)
        found.append(exponentials / rate(lambda: torch.exp(values), len(values)))
    return Floor(bytes, multiply_adds, exponentials, max(found), of)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def multiply_adds(call: Callable[[], object]) -> float:
    """Counts the multiply-adds of matrix products, convolutions and attention in a call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2
