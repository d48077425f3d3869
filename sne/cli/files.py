"""FILE arguments: paths, globs, folders and `-`; one unreadable file does not stop the others."""

import glob
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from sne.networks import Network

Result = TypeVar("Result")


def expand(arguments: Sequence[str]) -> list[str]:
    """The paths that FILE arguments stand for.

    Args:
        arguments: paths; `-` reads one path a line from stdin; a glob that the shell left alone; a folder,
            which is one network where it is laid out as one (model.safetensors, shards), and otherwise
            stands for the checkpoints in it and below.

    Returns:
        Paths in the order given, each once; paths that do not exist stay, for the reader to complain of.

    Raises:
        typer.BadParameter: a folder that is a zoo, whose shards would read as one network of odd tensors.
    """
    paths: list[str] = []
    for argument in arguments:
        if argument == "-":
            paths += [line.strip() for line in sys.stdin if line.strip()]
        elif not Path(argument).exists() and any(sign in argument for sign in "*?["):
            paths += sorted(glob.glob(argument, recursive=True)) or [argument]  # noqa: PTH207 (absolute too)
        else:
            paths.append(argument)
    found: list[str] = []
    for path in paths:
        found += _checkpoints_below(Path(path)) if Path(path).is_dir() else [path]
    return list(dict.fromkeys(found))


def apply_to_files(
    paths: Iterable[str],
    work: Callable[[list["Network"]], Sequence[Result]],
    *,
    batch_size: int,
    failures: dict[str, str],
) -> Iterator[tuple[str, Result]]:
    """Reads files in batches and works on them; a batch that fails is gone through file by file.

    Args:
        paths: what to read.
        work: from networks to one result each.
        batch_size: networks at a time.
        failures: receives the path and reason of each file that could not be read.

    Yields:
        Path and result of each file that could, in order.
    """
    from sne.checkpoints import read_network

    batch: list[tuple[str, Network]] = []
    for path in paths:
        try:
            batch.append((path, read_network(path)))
        except (ValueError, OSError) as error:
            failures[path] = str(error)
        if len(batch) >= batch_size:
            yield from _work_on(batch, work, failures)
            batch = []
    yield from _work_on(batch, work, failures)


def report_failures(failures: dict[str, str]) -> None:
    """Lists unreadable files on stderr and, where there are any, ends the command with status 2."""
    for path, reason in failures.items():
        text = " ".join(reason.split())
        print(f"sne: {text if path in text else f'{path}: {text}'}", file=sys.stderr)
    if failures:
        raise typer.Exit(2)


def _work_on(
    batch: list[tuple[str, "Network"]],
    work: Callable[[list["Network"]], Sequence[Result]],
    failures: dict[str, str],
) -> Iterator[tuple[str, Result]]:
    if not batch:
        return
    try:
        yield from list(zip([path for path, _ in batch], work([network for _, network in batch]), strict=True))
    except (ValueError, OSError) as error:
        if len(batch) == 1:
            failures[batch[0][0]] = str(error)
            return
        for one in batch:
            yield from _work_on([one], work, failures)


def _checkpoints_below(folder: Path) -> list[str]:
    from sne.checkpoints.folder import USUAL
    from sne.checkpoints.formats.known import SUFFIXES
    from sne.zoo.store.writing import INDEX

    if (folder / INDEX).is_file():
        raise typer.BadParameter(f"{folder}: a zoo, expected checkpoints; see sne zoo info and sne evaluate")
    usual = {f"{stem}{suffix}" for stem in USUAL for suffix in SUFFIXES}
    names = [path.name for path in folder.iterdir()]
    if any(name in usual or name.endswith(".index.json") or "-of-" in name for name in names):
        return [str(folder)]
    found: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            found += _checkpoints_below(path)
        elif path.suffix in SUFFIXES:
            found.append(str(path))
    return found
