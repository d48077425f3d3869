"""FILE arguments: `-` and the files that are skipped, which are counted and named."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import typer

from sne.cli.options import told
from sne.cli.tables import warn
from sne.errors import SneError

if TYPE_CHECKING:
    from sne.predictors import Predictor
    from sne.predictors.sources import Source
    from sne.work import Executor


def expand(arguments: Sequence[str]) -> list[str]:
    """Lists the checkpoints that FILE arguments stand for.

    Args:
        arguments: Paths, globs and folders, see `sne.predictors.sources.expand_sources`; `-` for one path per line on
            stdin.

    Returns:
        Paths in the order given, each once.

    Raises:
        SneError: A folder is a zoo, or stdin is empty.
    """
    return _expand_paths(_with_stdin(arguments))


def _expand_paths(paths: Sequence[str]) -> list[str]:
    """Lists the checkpoints that paths stand for, as `expand` does; a path `-` is a file of this name."""
    from sne.predictors.sources import expand_sources

    return [str(path) for path in expand_sources(cast("list[Source]", paths), warn=warn)]


def expand_with_zoos(arguments: Sequence[str]) -> list[str]:
    """Lists the checkpoints and zoos that SOURCE arguments stand for, see `expand_except`."""
    from sne.provenance.entries import is_zoo

    return expand_except(arguments, is_zoo)


def expand_except(arguments: Sequence[str], is_kept: Callable[[str], bool]) -> list[str]:
    """Lists what SOURCE arguments stand for, where some are not checkpoints and stay as they are.

    Args:
        arguments: As for `expand`, and those that stay.
        is_kept: Whether an argument stays as it is, such as the folder of a zoo.

    Returns:
        The arguments that stay, then paths of checkpoints, each in the order given.

    Raises:
        SneError: Stdin is empty.
    """
    listed = _with_stdin(arguments)
    kept = [source for source in listed if is_kept(source)]
    others = [source for source in listed if source not in kept]
    return [*kept, *(_expand_paths(others) if others else [])]


def _with_stdin(arguments: Sequence[str]) -> list[str]:
    """Replaces the argument `-` by the lines of stdin.

    Raises:
        SneError: Stdin is empty.
    """
    paths: list[str] = []
    for argument in arguments:
        lines = [line.strip() for line in sys.stdin if line.strip()] if argument == "-" else [argument]
        if not lines:
            raise SneError("-: stdin is empty, expected one path per line")
        paths += lines
    return paths


def load_predictor(
    folder: str, device: str, paths: Sequence[str], workers: int | None, ray: str | None
) -> tuple["Predictor", "Executor | None"]:
    """Loads a predictor, and chooses what reads files for it.

    Args:
        folder: Folder of the predictor, or name of a packaged one.
        device: Value of --device.
        paths: The files.
        workers: Value of --workers.
        ray: Value of --ray.

    Returns:
        The predictor on its device, and the executor; None to read in this process.

    Raises:
        SneError: The options contradict each other, or the folder is no predictor.
    """
    from sne.predictors import Predictor, choose_device, choose_executor

    spreads = bool(workers) or ray is not None
    if spreads and device == "cuda":
        raise SneError("--workers and --ray compute on the CPU, and cannot be combined with --device cuda")
    chosen = choose_device("cpu" if spreads and device == "auto" else device)
    loaded = Predictor.from_pretrained(folder).to(chosen)
    if chosen.type != "cpu":
        return loaded, None
    return loaded, choose_executor(paths, workers=workers, ray=ray)


class Typed:
    """Names of files as the user has typed them, of the absolute paths by which maps, indexes and lineages know them.

    Args:
        files: Files and zoos as they were typed.
    """

    def __init__(self, files: Sequence[str] = ()) -> None:
        from sne.provenance.entries import ROW, full_path

        self._separator = ROW
        self._typed = {full_path(file): file for file in files}

    def __call__(self, path: str) -> str:
        """Returns a path as it was typed; as it is if nobody has typed it."""
        folder, separator, row = path.rpartition(self._separator)
        if path not in self._typed and folder in self._typed:  # a network of a zoo
            return f"{self._typed[folder]}{separator}{row}"
        return self._typed.get(path, path)


def _as_it_is(path: str) -> str:
    return path


class Doubts(dict[str, list[str]]):
    """Reasons by path to doubt what is said about a network; to be called as the argument `tell` of the library.

    Args:
        typed: Gives the name of a path.
    """

    def __init__(self, typed: Callable[[str], str] = _as_it_is) -> None:
        super().__init__()
        self._typed = typed

    def __call__(self, path: str, reasons: list[str]) -> None:
        """Keeps the reasons, after those that are known."""
        name = self._typed(path)
        self[name] = [*self.get(name, []), *reasons]

    def as_json(self, path: str) -> dict[str, list[str]]:
        """Returns the field "warnings" for the JSON line of a file; empty if there are none."""
        return {"warnings": self[path]} if path in self else {}

    def report(self) -> None:
        """Warns on stderr, in one line per file."""
        for path, reasons in self.items():
            warn(f"{path}: {'; '.join(reasons)}")


class Failures(dict[str, str]):
    """Reasons by path of the files that cannot be read; to be called as the argument `errors` of the library.

    Args:
        typed: Gives the name of a path.
    """

    def __init__(self, typed: Callable[[str], str] = _as_it_is) -> None:
        super().__init__()
        self._typed = typed

    def __call__(self, path: str, error: Exception) -> None:
        """Notes why a file is skipped."""
        name = self._typed(path)

        def typed(file: str) -> str:
            return name + file.removeprefix(path) if file.startswith(path) else file

        self[name] = typed(told(error, typed))

    def line(self, path: str) -> str:
        """Returns the line that names a file and says why it is skipped."""
        return self[path] if path in self[path] else f"{path}: {self[path]}"

    def report(self, num_files: int) -> None:
        """Names and counts the files on stderr, and ends the command with status 2 if there are any.

        Args:
            num_files: Number of files that were given.
        """
        for path in self:
            warn(self.line(path))
        if self and num_files > 1:
            warn(f"{len(self)} of {num_files} files skipped")
        if self:
            raise typer.Exit(2)


def put_in_order(notes: dict[str, Any], files: Sequence[str]) -> None:
    """Puts notes by path, which processes made in any order, into the order of the files."""
    for file in files:
        if file in notes:
            notes[file] = notes.pop(file)
