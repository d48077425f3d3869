"""What the files of a folder are: checkpoints, indexes of shards, state of a training."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.known import FORMATS, SUFFIXES
from sne.checkpoints.remote.path import FilePath, RemotePath
from sne.errors import CheckpointError, RemoteError

USUAL = ("model", "pytorch_model", "diffusion_pytorch_model", "consolidated", "adapter_model")
"""Names, without suffix, of the file that holds the whole network of a folder. They are preferred to other files."""

ADAPTER = "adapter_model"
SHARD = re.compile(r"^(.*)-(\d+)-of-(\d+)(?:\..*)?$")
PARALLEL = re.compile(r"^(consolidated\.|mp_rank_)(\d+)(?:_model_states)?\.[a-z]+$")
_INDEX = re.compile(r"\.index(\.\w+)?\.json$")
_TRAINING = re.compile(
    r"^(training_args|optimizer|optim|scheduler|lr_scheduler|scaler|rng_state|random_states|sampler|custom_checkpoint)"
    r"([_-]?\d+)*$|optim_states$|^bf16_zero_|^optimizer[_.-]"
)
_PLAIN = frozenset({
    ".json", ".txt", ".md", ".py", ".yaml", ".yml", ".csv", ".log", ".png", ".jpg", ".jpeg", ".gif", ".pdf", ".html",
    ".svg", ".toml", ".cfg", ".ini", ".sh", ".lock", ".jsonl", ".tsv", ".ipynb", ".data",
})  # fmt: skip
_FAMILIES = {"torch pickle": "torch"}
_MOST_DEPTH = 8


@dataclass
class FolderFiles:
    """The files of one folder, without those below it.

    Args:
        folder: The folder.
        checkpoints: Names of the checkpoints by the name of their format, formats in order of preference.
        indexes: Names of the indexes of shards.
        training: Names of files with the state of a training.
        folders: Names of the folders in it, but for hidden ones.
    """

    folder: FilePath
    checkpoints: dict[str, list[str]] = field(default_factory=dict)
    indexes: list[str] = field(default_factory=list)
    training: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names of all checkpoints, in order of preference of their formats."""
        return [name for names in self.checkpoints.values() for name in names]

    @property
    def is_one_network(self) -> bool:
        """Whether the folder is laid out as one network: a file with a usual name, an index, or shards.

        An adapter is one only where it stands alone, since `open_folder` passes over it beside other checkpoints.
        """
        names = [name for name in self.names if stem_of(name) != ADAPTER] or self.names
        return bool(self.indexes) or any(
            stem_of(name) in USUAL or SHARD.match(stem_of(name)) or PARALLEL.match(name) for name in names
        )


def list_folder(folder: FilePath, *, trust_names: bool = False) -> FolderFiles:
    """Lists a folder. Checkpoints are recognised by their content, whatever they are called.

    Args:
        folder: Path of an existing folder.
        trust_names: Whether to open only those files whose names do not show that they are checkpoints. Their formats
            are then those of their names. In a remote folder, others are not opened in any case.
    """
    found = FolderFiles(folder)
    formats: dict[str, list[str]] = {}
    for name, is_folder in _entries(folder):
        if name.startswith("."):
            continue
        if is_folder:
            found.folders.append(name)
        elif _INDEX.search(name):
            found.indexes.append(name)
        elif (kind := _format_of(folder / name, trust_names or isinstance(folder, RemotePath))) is None:
            continue
        elif _TRAINING.search(stem_of(name)):
            found.training.append(name)
        else:
            formats.setdefault(kind, []).append(name)
    if {"blobs", "snapshots"} <= set(found.folders):  # in the cache of Hugging Face, the latter are links to the former
        found.folders.remove("blobs")
    order = list(dict.fromkeys(_FAMILIES.get(known.name, known.name) for known in FORMATS))
    found.checkpoints = {name: formats[name] for name in order if name in formats}
    return found


def _entries(folder: FilePath) -> list[tuple[str, bool]]:
    """Returns the names of files and folders in a folder, sorted, and whether each is a folder."""
    if isinstance(folder, RemotePath):
        return [(entry.name, entry.is_folder) for entry in folder.entries()]
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    folders = [_answers(entry.is_dir) for entry in ordered]
    return [
        (entry.name, is_folder)
        for entry, is_folder in zip(ordered, folders, strict=True)
        if is_folder or _answers(entry.is_file)
    ]


def _answers(question: Callable[[], bool]) -> bool:
    """Asks something of an entry of a folder; the answer is no for links that lead nowhere."""
    try:
        return question()
    except OSError:
        return False


def stem_of(name: str) -> str:
    """Returns the name of a file without the suffix of a checkpoint.

    Example:
        >>> stem_of("consolidated.00.pth"), stem_of("model.safetensors"), stem_of("weights")
        ('consolidated.00', 'model', 'weights')
    """
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def find_checkpoints(
    folder: FilePath,
    refuse: Callable[[FilePath], None] | None = None,
    pass_over: Callable[[FilePath, list[str]], None] | None = None,
) -> Iterator[FilePath]:
    """Finds the networks in a folder and below.

    Args:
        folder: Path of an existing folder.
        refuse: Called with each folder before it is read; may raise an error.
        pass_over: Called with a folder and the names of its NumPy files that are passed over.

    Yields:
        Paths that can be read one by one: folders that are laid out as one network, and files. NumPy files are passed
        over beside checkpoints of other formats, where they hold data as a rule.
    """
    pending, seen = [(folder, 0)], {folder.resolve()}
    while pending:
        here, depth = pending.pop()
        if refuse is not None:
            refuse(here)
        files = list_folder(here, trust_names=True)
        if files.is_one_network:
            yield here
            continue
        others = [name for kind, names in files.checkpoints.items() if kind != "NumPy" for name in names]
        if others and "NumPy" in files.checkpoints and pass_over is not None:
            pass_over(here, files.checkpoints["NumPy"])
        yield from (here / name for name in sorted(others or files.names))
        for name in reversed(files.folders):
            real = (here / name).resolve()
            if depth < _MOST_DEPTH and real not in seen:
                seen.add(real)
                pending.append((here / name, depth + 1))


def _format_of(file: FilePath, trust_name: bool) -> str | None:
    """Returns the name of a file's format by its content, or by its suffix if it is damaged; None for other files."""
    suffix = file.suffix.lower()
    if suffix in _PLAIN:
        return None
    by_name = next((known.name for known in FORMATS if suffix in known.suffixes), None)
    if trust_name and by_name not in (None, "NumPy"):  # what NumPy's files hold decides whether they are checkpoints
        return _FAMILIES.get(by_name, by_name)
    try:
        start = FileStart.read(file)
        name = next((known.name for known in FORMATS if known.recognises(start)), by_name)
        if start.foreign_first is not None:
            name = by_name
    except RemoteError:
        raise
    except CheckpointError:
        name = by_name
    return None if name is None else _FAMILIES.get(name, name)
