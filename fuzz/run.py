"""Fuzzes everything that reads files, guided by coverage, and keeps inputs and counts in a folder.

usage: python fuzz/run.py --format torch --runs 100000

Needs atheris (`pip install atheris`) and the packages of the tests. Run again, it goes on with the inputs that are
there. An input that breaks a limit or raises an unexpected error is kept in `finds/`; `--repeat FILE` reads one again.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# Modules in Python that read what a file holds. Those written in C do not guide, but the limits hold for them too.
INSTRUMENTED = (
    "sne.checkpoints", "sne.networks", "sne.predictors", "sne.zoo", "sne.symmetry", "zipfile", "tarfile", "json",
    "gguf", "pickletools", "torch._weights_only_unpickler",
)  # fmt: skip
SAVE_EVERY = 500  # executions after which the counts are written
LONGEST = 60  # seconds after which an input counts as endless


def main() -> None:
    """Fuzzes one target or all of them."""
    options = _parse_options()
    if options.repeat:
        _repeat(options.format, options.repeat)
    elif options.child:
        _fuzz_here(options)
    else:
        for name in _names(options.format):
            _fuzz_in_children(name, options)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\nusage")[0])
    parser.add_argument("--format", default="all", help="a format, folder, predictor, zoo, or all (the default)")
    parser.add_argument("--runs", type=int, default=10_000, help="number of executions per target (default 10000)")
    parser.add_argument("--corpus", type=Path, default=Path("fuzz-corpus"), help="folder of inputs and counts")
    parser.add_argument("--seeds", type=Path, nargs="*", default=[], help="further files or folders to start from")
    parser.add_argument("--most-finds", type=int, default=20, help="number of finds after which a target is left")
    parser.add_argument("--repeat", type=Path, help="read one input of --format, without fuzzing")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _names(chosen: str) -> list[str]:
    from fuzz.targets import TARGETS

    if chosen != "all" and chosen not in TARGETS:
        sys.exit(f"--format {chosen!r} is not known, expected all or one of {', '.join(TARGETS)}")
    return list(TARGETS) if chosen == "all" else [chosen]


def _folder(corpus: Path, name: str) -> Path:
    return corpus / name.replace(" ", "-").replace("/", "-")


def _fuzz_in_children(name: str, options: argparse.Namespace) -> None:
    """Fuzzes one target in child processes, one after the other: some finds end the process."""
    folder = _folder(options.corpus, name)
    for inner in ("inputs", "finds"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    _write_seeds(options, name, folder)
    counts = folder / "counts.json"
    wanted = _executions(counts) + options.runs
    before = len(list((folder / "finds").iterdir()))
    while (left := wanted - _executions(counts)) > 0:
        options_of_child = ["--child", "--format", name, "--corpus", str(options.corpus), "--runs", str(left)]
        with (folder / "log.txt").open("a") as log:
            command = [sys.executable, __file__, *options_of_child]
            code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
        finds = len(list((folder / "finds").iterdir())) - before
        print(f"{name}: {_executions(counts):,} executions, {finds} finds", flush=True)
        if finds >= options.most_finds or (code and not finds):
            print(f"{name}: left; {folder / 'log.txt'} says why", flush=True)
            return


def _executions(counts: Path) -> int:
    return json.loads(counts.read_text())["executions"] if counts.is_file() else 0


def _write_seeds(options: argparse.Namespace, name: str, folder: Path) -> None:
    if (folder / "seeds").is_dir() and not options.seeds:
        return
    from fuzz.seeds import make_seeds

    with tempfile.TemporaryDirectory() as work:
        for target, seeds in make_seeds(Path(work), options.seeds).items():
            place = _folder(options.corpus, target) / "seeds"
            place.mkdir(parents=True, exist_ok=True)
            for number, seed in enumerate(seeds):
                (place / f"{number:04d}").write_bytes(seed)
    print(f"{name}: {len(list((folder / 'seeds').iterdir()))} seeds", flush=True)


@contextlib.contextmanager
def _work_folder():
    """A folder in memory where there is one, so that the disk takes no part."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


def _repeat(name: str, file: Path) -> None:
    from fuzz.seeds import make_seeds
    from fuzz.targets import TARGETS

    with _work_folder() as folder:
        for seed in make_seeds(folder / "seeds")[name]:  # what is imported late does not count
            TARGETS[name].run(seed, folder)
        print("read" if TARGETS[name].run(file.read_bytes(), folder) else "refused")


def _fuzz_here(options: argparse.Namespace) -> None:
    """Fuzzes one target in this process until an input breaks a limit or the executions are done.

    Unexpected errors end nothing: the first input of each is kept.
    """
    import atheris
    import torch  # noqa: F401 (not instrumented)

    with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
        from fuzz.mutations import mutate
        from fuzz.targets import TARGETS, LimitError

        target = TARGETS[options.format]
    folder = _folder(options.corpus, options.format)
    with _work_folder() as work:
        seeds = [file.read_bytes() for file in sorted((folder / "seeds").iterdir())]
        for seed in seeds:  # imports what is imported late
            with contextlib.suppress(Exception):
                target.run(seed, work)
        count = _Counts(folder / "counts.json")

        def run(data: bytes) -> None:
            count.begin(options.runs)
            try:
                count.done(target.run(data, work))
            except LimitError:
                count.save()
                raise  # the peak of this process has risen, so that it tells nothing more
            except Exception as error:
                _keep(error, data, folder / "finds")

        def change(data: bytes, most: int, seed: int) -> bytes:
            draw = Random(seed)
            choice = draw.random()
            if choice < 0.1:
                return atheris.Mutate(data, most)
            # Most of what is interesting is refused, and so are its mutations. Whole files get further.
            return mutate(draw.choice(seeds) if choice < 0.4 else data, draw)[:most]

        arguments = [sys.argv[0], f"-runs={options.runs}", "-max_len=400000", "-len_control=0", f"-timeout={LONGEST}",
                     "-rss_limit_mb=4096", f"-artifact_prefix={folder / 'finds'}/", "-reload=0", "-verbosity=0",
                     str(folder / "inputs"), str(folder / "seeds")]  # fmt: skip
        atheris.Setup(arguments, run, custom_mutator=change)
        try:
            atheris.Fuzz()
        finally:
            count.save()


def _keep(error: Exception, data: bytes, folder: Path) -> None:
    """Keeps the input of an unexpected error, unless there is one with an error of the same place."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    name = re.sub(r"\W+", "-", f"{type(error).__name__}-{Path(last.filename).stem}-{last.name}-{last.lineno}")
    if not (folder / name).exists():
        (folder / name).write_bytes(data)
        traceback.print_exception(error)


class _Counts:
    """Executions, inputs that were read, and processor time, of all runs of a target, kept in a file."""

    def __init__(self, file: Path):
        self.file = file
        self.values = json.loads(file.read_text()) if file.is_file() else {"executions": 0, "read": 0, "seconds": 0.0}
        self.before, self.start, self.here = self.values["seconds"], time.process_time(), 0

    def begin(self, most: int) -> None:
        """Counts an execution before it, so that one that ends the process is counted."""
        self.here += 1
        self.values["executions"] += 1
        if self.here % SAVE_EVERY == 0 or self.here >= most:
            self.save()

    def done(self, is_read: bool) -> None:
        """Counts what was read."""
        self.values["read"] += is_read

    def save(self) -> None:
        """Writes the counts."""
        self.values["seconds"] = round(self.before + time.process_time() - self.start, 1)
        partial = self.file.with_suffix(".partial")
        partial.write_text(json.dumps(self.values))
        partial.replace(self.file)


if __name__ == "__main__":
    main()
