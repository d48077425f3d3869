"""Importing implicit networks of sine waves in the layout of Navon et al."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from sne.errors import ZooError
from sne.symmetry.by_name.known import Known
from sne.zoo.importing.beside_tensors import read_numbers
from sne.zoo.importing.contract import Checkpoint, Found, Tell
from sne.zoo.importing.symmetries import SymmetriesByName
from sne.zoo.importing.values import as_value, read_json_object
from sne.zoo.importing.weights import read_weights
from sne.zoo.store.splitting import SPLIT, Split
from sne.zoo.store.writing import Value

_FAMILY = "sine_inr"
_PIECES = ("train", "val", "test")
_NOT_WEIGHTS = ("coef", "x", "y")
_SIREN = Known(activation="sine", is_sequential=True)


def find_sine_inr(source: Path, dataset: str | None, tell: Tell) -> Found:
    """Finds `.pth` files, one a network, and the JSON split beside them; or the split, and the files beside it.

    A file is the state dict of an INR 1-32-32-1 (`seq.0.weight`, `seq.0.bias`, `seq.1.weight`, ...) with three
    more entries: `coef`, a list [a, b] of the wave y = a sin(b x), and the NumPy arrays `x` and `y` it was fitted
    to. The properties are `amplitude` (a) and `frequency` (b); a `coef` of one number is a frequency.
    The arrays are passed over; nothing of a pickle is executed. The data set is called "sine" where nothing else is
    said.

    The split is a JSON file in the folder or the one above it: {"train": [paths], "val": ..., "test": ...}, or
    {"train": {"path": [paths], "label": [...]}, ...}, whose labels become the property `label`. The paths were
    written on the authors' machine; a file is known again by the longest common end. A network is a run.

    Source: Navon et al., "Equivariant Architectures for Learning in Deep Weight Spaces", arXiv 2301.12780; the
        layout as github.com/AvivNavon/DWSNets writes and reads it (`experiments/ssl/inr_trainer.py`,
        `generate_data_splits.py`, `data/inr_dataset.py`; `experiments/mnist` for splits with labels).
    Differs: nothing but names. The files of the paper's sine regression (sine-regression-inrs.zip) were not seen
        and no published code reads them; they are taken to be laid out as the others.
    """
    folder = source if source.is_dir() else source.parent
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.pth"))}
    if not source.exists() or not paths:
        raise ZooError(f"{source}: expected a folder of .pth files, or a JSON split with such files beside or below it")
    table = source if source.is_file() else _find_split(folder)
    split, labels = _read_split(table, list(paths), tell) if table else (None, {})
    symmetries = SymmetriesByName(tell)

    def read(name: str) -> Checkpoint:
        return Checkpoint(
            id=name,
            run=name,
            family=_FAMILY,
            dataset=dataset or "sine",
            step=0,
            weights=read_weights(paths[name], symmetries, _SIREN, left_out=_NOT_WEIGHTS),
            properties=_properties(paths[name], labels.get(name)),
            hyperparameters={},
        )

    return Found([partial(read, name) for name in paths], split)


def _properties(path: Path, label: Value) -> dict[str, Value]:
    known: dict[str, Value] = {} if label is None else {"label": label}
    match read_numbers(path, "coef"):
        case None if known:
            return known
        case None:
            raise ZooError(f"{path}: has no entry 'coef' with the amplitude and frequency of its wave")
        case (frequency,):
            return {"frequency": frequency} | known
        case (amplitude, frequency):
            return {"amplitude": amplitude, "frequency": frequency} | known
        case coef:
            raise ZooError(f"{path}: 'coef' holds {len(coef)} numbers, expected amplitude and frequency")


def _find_split(folder: Path) -> Path | None:
    """The one JSON file with train, val and test in the folder, or else in the one above."""
    for place in (folder, folder.resolve().parent):
        files = sorted(path for path in place.glob("*.json") if _is_split(path))
        if len(files) > 1:
            raise ZooError(f"{place}: holds several splits ({', '.join(f.name for f in files)}); name one of them")
        if files:
            return files[0]
    return None


def _is_split(path: Path) -> bool:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return path.name == SPLIT or "split" in path.stem.lower()  # damaged: reading it will tell
    return isinstance(values, dict) and all(piece in values for piece in _PIECES)


def _read_split(path: Path, names: Sequence[str], tell: Tell) -> tuple[Split, dict[str, Value]]:
    """The split in terms of our names, and the labels of networks, where the file gives any."""
    values = read_json_object(path)
    ends = _index_ends(names)
    pieces: list[tuple[str, ...]] = []
    labels: dict[str, Value] = {}
    missing: list[str] = []
    for piece in _PIECES:
        found = [(_same(file, ends), file, label) for file, label in _entries(path, piece, values.get(piece))]
        missing += [file for name, file, _ in found if name is None]
        pieces.append(tuple(name for name, _, _ in found if name is not None))
        labels |= {name: label for name, _, label in found if name is not None and label is not None}
    if not any(pieces):
        raise ZooError(f"{path}: none of the {len(names)} .pth files here is named in it")
    if missing:
        tell(f"{path}: {len(missing)} files that it names are not here, such as {missing[0]}")
    return Split(*pieces), labels


def _entries(path: Path, piece: str, entry: Any) -> list[tuple[str, Value]]:
    """Files and labels of one piece."""
    files, labels = (entry.get("path"), entry.get("label")) if isinstance(entry, Mapping) else (entry, None)
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise ZooError(f"{path}: expected a list of paths under {piece!r}, or under its 'path'")
    labels = [None] * len(files) if labels is None else labels
    if not isinstance(labels, list) or len(labels) != len(files):
        raise ZooError(f"{path}: {piece!r} has {len(files)} paths, and its 'label' is no list of as many")
    return [(file, as_value(label)) for file, label in zip(files, labels, strict=True)]


def _index_ends(names: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    """The networks whose paths end in given parts: authors give many files one name in folders of their own."""
    ends: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        parts = PurePosixPath(name).parts
        for length in range(1, len(parts) + 1):
            ends.setdefault(parts[-length:], []).append(name)
    return ends


def _same(file: str, ends: Mapping[tuple[str, ...], Sequence[str]]) -> str | None:
    """The network that shares the longest end of its path with a file; None where none or several do."""
    parts = PurePosixPath(file).parts
    longest = next((parts[start:] for start in range(len(parts)) if parts[start:] in ends), ())
    found = ends.get(longest, ())
    whole = "/".join(longest)
    return whole if whole in found else found[0] if len(found) == 1 else None
