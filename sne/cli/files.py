"""FILE arguments: paths, globs, folders and `-`. Files that cannot be read are skipped, counted and named."""

import glob
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from sne.cli.tables import warn
from sne.errors import SneError

if TYPE_CHECKING:
    from sne.networks import Network

Result = TypeVar("Result")

log = logging.getLogger(__name__)


def read_stdin(arguments: Sequence[str]) -> list[str]:
    """Replaces `-` by the paths on stdin, one path per line.

    Raises:
        SneError: There are no paths on stdin.
    """
    paths: list[str] = []
    for argument in arguments:
        lines = [line.strip() for line in sys.stdin if line.strip()] if argument == "-" else [argument]
        if not lines:
            raise SneError("-: stdin is empty, expected one path per line")
        paths += lines
    return paths


def expand(arguments: Sequence[str]) -> list[str]:
    """Lists the checkpoints that FILE arguments stand for.

    Args:
        arguments: Paths; `-` for one path per line on stdin; globs that the shell did not expand; folders. A folder is
            one network if it is laid out as one (model.safetensors, shards); otherwise it stands for all checkpoints
            in it and below.

    Returns:
        Paths in the order given, each once. Paths that do not exist and folders without checkpoints stay, for the
        reader to report.

    Raises:
        SneError: A folder is a zoo, whose shards would be read as one odd network, or stdin is empty.
    """
    paths: list[str] = []
    for argument in read_stdin(arguments):
        if not Path(argument).exists() and any(sign in argument for sign in "*?["):
            paths += sorted(glob.glob(argument, recursive=True)) or [argument]  # noqa: PTH207 (absolute globs too)
        else:
            paths.append(argument)
    found: list[str] = []
    for path in paths:
        found += (Path(path).is_dir() and _checkpoints_below(Path(path))) or [path]
    return list(dict.fromkeys(found))


def apply_to_files(
    paths: Iterable[str],
    work: Callable[[list["Network"]], Sequence[Result]],
    *,
    batch_size: int,
    failures: dict[str, str],
) -> Iterator[tuple[str, Result]]:
    """Reads files in batches and applies a function to them; a batch that fails is repeated file by file.

    Args:
        paths: The files.
        work: From networks to one result per network.
        batch_size: Number of networks per call of `work`.
        failures: Receives the path and the reason of each file that cannot be read.

    Yields:
        Path and result of each file that can be read, in order.
    """
    from sne.checkpoints import read_network

    batch: list[tuple[str, Network]] = []
    for path in paths:
        try:
            network = read_network(path)
        except (ValueError, OSError) as error:
            failures[path] = str(error)
            continue
        log.info("read %s: %d layers, %d weights", path, len(network.layers), network.num_weights)
        batch.append((path, network))
        if len(batch) >= batch_size:
            yield from _work_on(batch, work, failures)
            batch = []
    yield from _work_on(batch, work, failures)


def report_failures(failures: dict[str, str], num_files: int) -> None:
    """Names and counts the files that were skipped, on stderr, and ends the command with status 2 if there are any.

    Args:
        failures: Reasons by path.
        num_files: Number of files that were given.
    """
    for path, reason in failures.items():
        text = " ".join(reason.split())
        warn(text if path in text else f"{path}: {text}")
    if failures and num_files > 1:
        warn(f"{len(failures)} of {num_files} files skipped")
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
    from sne.zoo.store.index import INDEX

    if (folder / INDEX).is_file():
        raise SneError(f"{folder}: a zoo, expected checkpoints; see sne zoo info and sne evaluate")
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
