"""Exporting a zoo to a plain folder: one file per network and a CSV, as `import_zoo` reads them."""

import csv
import io
import json
import shutil
import struct
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import WriteError, ZooError
from sne.work import check_can_write_folder
from sne.zoo.store.descriptions import SYMMETRIES, write_symmetries
from sne.zoo.store.layout import Layout, unflatten
from sne.zoo.store.split import SPLIT, Split
from sne.zoo.store.zoo import Zoo

TABLE = "zoo.csv"
FILES = ("safetensors", "pt")
_PATH = "path"
_NAMES = ("id", "run", "family", "dataset", "step")
_SYMMETRY = "symmetry"
_FILES_PER_FOLDER = 1000  # so that a folder can be listed quickly
_CODES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def export_folder(
    zoo: Zoo,
    out: Path | str,
    *,
    files: str = "safetensors",
    split: str = "all",
    families: Collection[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes the networks of a zoo as single checkpoints next to a CSV. Inverse: `import_zoo` with the format "folder".

    The folder holds `zoo.csv` with the columns `path`, `id`, `run`, `family`, `dataset`, `step`, the properties and
    `config.*`; `networks/000/000000.safetensors` and so on, whose tensors have the types and the order with which they
    came into the zoo (wider types first, if a safetensors file has several); `split.json` with the exported runs, if
    the zoo has a split; and `symmetries.json` with a column `symmetry`, if any symmetry is known. The folder appears
    completely or not at all. One thing is lost: a column of texts that all look like numbers is imported as numbers.

    Args:
        zoo: The zoo.
        out: New folder. It must not exist, or be empty.
        files: Kind of checkpoints: "safetensors", or "pt" for torch state dicts.
        split: Piece of the zoo's split to export: "train", "val" or "test"; or "all" for every network.
        families: Export only networks of these families.
        progress: Called with the number of networks done and the number of all.

    Returns:
        The number of networks written.

    Raises:
        ZooError: The folder is not empty, no network is selected, or a network cannot be read. Nothing is written then.
        WriteError: The folder cannot be written, or the disk is full. Nothing is left then.
    """
    if files not in FILES:
        raise ZooError(f"files {files!r} is not known, expected one of {', '.join(FILES)}")
    rows = _choose(zoo, split, families)
    known = zoo.table.take(rows)
    measured = [*zoo.property_names, *zoo.hyperparameter_names]
    symmetries = known[_SYMMETRY].drop_null().to_pylist()
    columns = [
        *_NAMES,
        *([_SYMMETRY] if symmetries else []),
        *(name for name in measured if known[name].null_count < len(known)),
    ]
    if _PATH in columns:
        raise ZooError(f"{zoo.path}: the property {_PATH!r} cannot be exported, that column holds the file names")
    table = known.select(columns).to_pydict()
    out = Path(out)
    with _new_folder(out) as draft:
        with (draft / TABLE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([_PATH, *columns])
            for number, row in enumerate(rows):
                name = f"networks/{number // _FILES_PER_FOLDER:03d}/{number:06d}.{files}"
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                _write_network(draft / name, tensors_as_they_came(zoo.layout(row), zoo.weights(row)))
                writer.writerow([name, *(_entry(table[column][number]) for column in columns)])
                if progress:
                    progress(number + 1, len(rows))
        if symmetries:
            write_symmetries(draft / SYMMETRIES, {key: zoo.symmetries[key] for key in dict.fromkeys(symmetries)})
        if zoo.split is not None:
            chosen = {zoo.runs[row] for row in rows} if len(rows) < len(zoo) else None
            _restrict(zoo.split, chosen).save(draft / SPLIT)
    return len(rows)


def tensors_as_they_came(layout: Layout, vector: Float[Tensor, " entries"]) -> dict[str, Tensor]:
    """Returns the tensors of a network in the types they had before they were stored, if that changes no value.

    Args:
        layout: Places and types of the tensors.
        vector: All weights of the network in float32.

    Returns:
        Tensors by name, in order; a tensor stays float32 if its former type cannot hold a stored value.
    """
    tensors = unflatten(layout, vector)
    for slot in layout.slots:
        dtype = getattr(torch, slot.dtype, None)
        if dtype in _CODES:
            typed = tensors[slot.name].to(dtype)
            if torch.equal(typed.to(torch.float32), tensors[slot.name]):
                tensors[slot.name] = typed
    return tensors


def _choose(zoo: Zoo, split: str, families: Collection[str] | None) -> list[int]:
    if split != "all" and zoo.split is None:
        raise ZooError(f"{zoo.path} has no {SPLIT}, so that there are no networks for {split!r}")
    rows = range(len(zoo)) if zoo.split is None else zoo.split.rows(zoo.runs, split).tolist()
    if families is not None:
        unknown = sorted(set(families) - set(zoo.families))
        if unknown:
            known = ", ".join(sorted(set(zoo.families)))
            raise ZooError(f"{zoo.path} has no networks of family {unknown[0]!r}; it has {known}")
        rows = [row for row in rows if zoo.families[row] in set(families)]
    if not len(rows):
        raise ZooError(f"{zoo.path} has no networks of these families in {split!r}")
    return list(rows)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Gives a hidden folder, which becomes `out` when the block ends without an error, and is removed otherwise."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ZooError(f"{out} exists already; choose a new folder")
    check_can_write_folder(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp makes folders that only their owner may open
        draft.replace(out)
    except OSError as error:
        raise WriteError.from_os_error(out, error) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_network(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if path.suffix == ".pt":
        buffer = io.BytesIO()  # torch reports a full disk with an error that does not say so
        torch.save({name: tensor.clone() for name, tensor in tensors.items()}, buffer)  # a view would save the whole
        path.write_bytes(buffer.getvalue())
    else:
        _write_safetensors(path, tensors)


def _write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes the tensors in their order; the library's own writer sorts them by name, with 10 before 2.

    Wider types come first, as the format recommends, so that the offset of each tensor is a multiple of its width.
    """
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    header, end = {}, 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in ordered:
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _restrict(split: Split, runs: Collection[str] | None) -> Split:
    if runs is None:
        return split
    return Split(**{piece: tuple(run for run in named if run in runs) for piece, named in asdict(split).items()})


def _entry(value: object) -> str:
    """Returns a value as it is written to the CSV: nothing if it is missing, and floats with all digits."""
    return "" if value is None or value != value else str(value)
