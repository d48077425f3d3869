"""From what a caller holds (paths, globs, folders, modules, state dicts, networks) to blocks of networks."""

import glob
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast

from torch import Tensor, nn

from sne.errors import PredictorError
from sne.networks import Network

Source: TypeAlias = Network | str | Path | nn.Module | Mapping[str, Tensor]
"""What `sne.read_network` reads, a glob, a folder of checkpoints, or a network that was read before."""

Result = TypeVar("Result")

OnError: TypeAlias = Literal["raise", "skip"] | Callable[[str, Exception], None]
"""What to do with a bad source: stop, log a warning and continue, or call a function with its name and the error."""

BLOCK_WEIGHTS = 4_000_000
"""Number of weights per forward pass beyond which a block is closed early, so that large networks go one by one."""


def expand_sources(sources: Source | Iterable[Source], *, warn: Callable[[str], None] | None = None) -> list[Source]:
    """Replaces globs and folders of checkpoints by the checkpoints that they stand for.

    Args:
        sources: One source or several. A path that does not exist and holds `*`, `?` or `[` is a glob. A folder is one
            network if it is laid out as one (model.safetensors, shards); otherwise it stands for all checkpoints in it
            and below, NumPy files only where there are no others.
        warn: Called with a line about the NumPy files of a folder that are passed over. Default: the line is logged.

    Returns:
        The sources in the order given, each path once. Paths that do not exist, and folders without
        checkpoints, stay for the reader to report. An address of a remote file or folder stands for one network, and
        is returned without the password or signature that it may hold (see `sne.checkpoints.remote.conceal`).

    Raises:
        PredictorError: A folder is a zoo, whose shards would be read as one odd network.
    """
    return list(_expand(sources, warn))


def read_sources(
    sources: Source | Iterable[Source],
    *,
    errors: OnError = "raise",
    select: str | None = None,
    allow_nonfinite: bool = False,
    tell: Callable[[str, list[str]], None] | None = None,
    look: Callable[[Network], str | None] | None = None,
) -> Iterator[Network]:
    """Reads sources one at a time, as they are asked for.

    Args:
        sources: One source or several, see `expand_sources`.
        errors: What to do with a source that cannot be read.
        select: Name of the network to read where a source holds several, see `sne.read_network`.
        allow_nonfinite: Whether networks with NaN or infinite weights are read, see `sne.read_network`.
        tell: Called with the name of each network that was read in part or in doubt, and the reasons (see
            `sne.predictors.doubts`); None to log them as a warning.
        look: Finds one more reason to doubt a network, or None. It is the only reason that is told of networks that
            were read before.

    Yields:
        One network per source, in order.

    Raises:
        sne.CheckpointError: A source cannot be read whole.
    """
    for source in _expand(sources):
        if isinstance(source, Network):
            if look is not None and (found := look(source)) is not None:
                report_doubts(tell, source.name, [found])
            yield source
            continue
        try:
            network = _read(source, select, allow_nonfinite)
        except (ValueError, OSError) as error:
            if errors == "raise":
                if isinstance(sources, str | Path) and str(source) != str(sources):  # one of many in a folder
                    error.add_note("errors='skip' leaves out files that cannot be read, with a warning each")
                raise
            handle_error(errors, str(source) if isinstance(source, str | Path) else type(source).__name__, error)
            continue
        log = logging.getLogger(__name__)
        log.info("read %s: %d layers, %d weights", network.name, len(network.layers), network.num_weights)
        more = None if look is None else look(network)
        if found := [*_doubts(network), *([] if more is None else [more])]:
            report_doubts(tell, network.name, found)
        yield network


def handle_error(errors: OnError, name: str, error: Exception) -> None:
    """Reports a source that is skipped, in the way that the caller asked for."""
    if callable(errors):
        errors(name, error)
    else:
        reason = " ".join(str(error).split())
        line = reason if reason.startswith(f"{name}: ") else f"{name}: {reason}"
        logging.getLogger(__name__).warning("skipped %s", line)


def without_bad(
    block: list[Network], compute: Callable[[list[Network]], Result], errors: OnError
) -> Iterator[tuple[list[Network], Result]]:
    """Computes something of networks together; if that fails, of each alone, and the bad ones are taken out.

    Args:
        block: The networks.
        compute: The function; it raises ValueError or OSError if one of the networks is bad.
        errors: What to do with a bad network.

    Yields:
        Networks and what was computed of them.
    """
    try:
        found = compute(block)
    except (ValueError, OSError) as error:
        if errors == "raise":
            raise
        if len(block) == 1:
            handle_error(errors, block[0].name, error)
            return
        for network in block:
            yield from without_bad([network], compute, errors)
        return
    yield block, found


def report_doubts(tell: Callable[[str, list[str]], None] | None, name: str, reasons: list[str]) -> None:
    """Reports why to doubt what is said about a network, in the way that the caller asked for."""
    if tell is None:
        logging.getLogger(__name__).warning("%s: %s", name, "; ".join(reasons))
    else:
        tell(name, reasons)


def blocks(networks: Iterable[Network], batch_size: int) -> Iterator[list[Network]]:
    """Cuts networks, in order, into blocks of up to `batch_size` networks and `BLOCK_WEIGHTS` weights."""
    if batch_size < 1:
        raise PredictorError(f"batch_size is {batch_size}, expected 1 or more")
    block: list[Network] = []
    weights = 0
    for network in networks:
        own = network.num_weights  # a sum over its parts
        if block and (len(block) == batch_size or weights + own > BLOCK_WEIGHTS):
            yield block
            block, weights = [], 0
        block.append(network)
        weights += own
    if block:
        yield block


def _expand(sources: Source | Iterable[Source], warn: Callable[[str], None] | None = None) -> Iterator[Source]:
    """Yields what `expand_sources` returns; networks are not kept."""
    seen: set[str] = set()
    for source in cast(Iterable[Source], sources if _is_several(sources) else [sources]):
        if not isinstance(source, str | Path):
            yield source
            continue
        for path in _expand_path(str(source), warn or logging.getLogger(__name__).warning):
            if path not in seen:
                seen.add(path)
                yield path


def _is_several(sources: Any) -> bool:
    return not isinstance(sources, Network | str | Path | nn.Module | Mapping)


def _read(source: Any, select: str | None, allow_nonfinite: bool) -> Network:
    from sne.checkpoints import read_network  # file formats are not needed where networks come from a zoo

    name = str(source) if isinstance(source, str | Path) else None
    return read_network(source, name=name, select=select, allow_nonfinite=allow_nonfinite)


def _doubts(network: Network) -> list[str]:
    from sne.predictors.doubts import doubts

    return doubts(network)


def _expand_path(path: str, warn: Callable[[str], None]) -> list[str]:
    if ":/" in path:
        from sne.checkpoints.remote import conceal, is_remote

        if is_remote(path):
            return [conceal(path)]
    paths = [path]
    if any(sign in path for sign in "*?[") and not Path(path).exists():
        paths = sorted(glob.glob(path, recursive=True)) or [path]  # noqa: PTH207 (absolute globs too)
    if len(paths) == 1 and not os.path.isdir(paths[0]):  # noqa: PTH112 (many paths, quickly)
        return paths
    return [
        str(found) for one in paths for found in (checkpoints_below(one, warn) if Path(one).is_dir() else []) or [one]
    ]


def checkpoints_below(folder: str, warn: Callable[[str], None] | None = None) -> list[Path]:
    """Returns the checkpoints in a folder and below; the folder itself if it is laid out as one network.

    Args:
        folder: Path of an existing folder.
        warn: Called with a line about the NumPy files of a folder that are passed over. Default: nothing is said.

    Raises:
        PredictorError: A folder is a zoo, whose shards would be read as one odd network.
        OSError: A folder cannot be listed.
    """
    from sne.checkpoints.folder_files import find_checkpoints
    from sne.checkpoints.remote import FilePath
    from sne.zoo.store.folder import INDEX

    def refuse_zoo(path: FilePath) -> None:
        if (path / INDEX).is_file():
            raise PredictorError(f"{path}: a zoo, expected checkpoints; see sne zoo info and sne evaluate")

    def pass_over(path: FilePath, names: list[str]) -> None:
        files = f"{names[0]} is" if len(names) == 1 else f"{len(names)} NumPy files ({names[0]}, ...) are"
        hint = "NumPy files beside other checkpoints are taken for data; to read one, name it"
        if warn is not None:
            warn(f"{path}: {files} passed over: {hint}")

    return [Path(str(path)) for path in find_checkpoints(Path(folder), refuse_zoo, pass_over)]
