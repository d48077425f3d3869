"""Exporting a zoo to a plain folder: one file a network and a CSV, as `import_folder` reads them."""

import csv
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

from sne.errors import ZooError
from sne.zoo.store.layout import Layout, unflatten
from sne.zoo.store.splitting import SPLIT, Split
from sne.zoo.store.symmetries import SYMMETRIES, write_symmetries
from sne.zoo.store.zoo import Zoo

TABLE = "zoo.csv"
FILES = ("safetensors", "pt")
_PATH = "path"
_NAMES = ("id", "run", "family", "dataset", "step")
_SYMMETRY = "symmetry"
_A_FOLDER = 1000  # files a folder, so that it can be listed
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
    """Writes networks as single checkpoints beside a CSV. Inverse: `import_folder`.

    The folder holds `zoo.csv` with the columns `path`, `id`, `run`, `family`, `dataset`, `step`, the
    properties and `config.*`; `networks/000/000000.safetensors` and so on, tensors in the types and the order in
    which they came into the zoo (wider types first, where a safetensors file has several); `split.json`, where
    the zoo has one, of the runs that are exported; and `symmetries.json` with a column `symmetry`, where any symmetry
    is known. It appears whole or not at all. What is lost: a column of texts
    that all look like numbers is read back as numbers.

    Args:
        zoo: an open zoo.
        out: the new folder; it must not exist yet, or be empty.
        files: "safetensors", or "pt" for torch state dicts.
        split: "train", "val" or "test" of the zoo's split, or "all" for every network.
        families: export only networks of these.
        progress: called with networks done and networks in all.

    Returns:
        How many networks were written.

    Raises:
        ZooError: the folder holds something, no network is chosen, or a network cannot be read; nothing is
            written then.
    """
    if files not in FILES:
        raise ZooError(f"files {files!r} is not known, expected one of {', '.join(FILES)}")
    rows = _choose(zoo, split, families)
    known = zoo.table.take(rows)
    measured = [*zoo.property_names, *zoo.hyperparameter_names]
    symmetries = [] if _SYMMETRY not in known.column_names else known[_SYMMETRY].drop_null().to_pylist()
    columns = [
        *_NAMES,
        *([_SYMMETRY] if symmetries else []),
        *(name for name in measured if known[name].null_count < len(known)),
    ]
    if _PATH in columns:
        raise ZooError(f"{zoo.path}: the property {_PATH!r} cannot be exported, that column names the files")
    table = known.select(columns).to_pydict()
    out = Path(out)
    with _new_folder(out) as draft:
        with (draft / TABLE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([_PATH, *columns])
            for number, row in enumerate(rows):
                name = f"networks/{number // _A_FOLDER:03d}/{number:06d}.{files}"
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
    """The tensors of a network in the types they had before they were stored, as far as no value changes by it.

    Args:
        layout: how the vector is cut, with the types.
        vector: all weights of the network, float32.

    Returns:
        Tensors by name, in order; float32 where the former type cannot hold a stored value.
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
        raise ZooError(f"{zoo.path} has no {SPLIT}, so it has no networks for {split!r}")
    rows = range(len(zoo)) if zoo.split is None else zoo.split.rows(zoo.runs, split).tolist()
    if families is not None:
        unknown = sorted(set(families) - set(zoo.families))
        if unknown:
            known = ", ".join(sorted(set(zoo.families)))
            raise ZooError(f"{zoo.path} has no networks of family {unknown[0]!r}; it has {known}")
        rows = [row for row in rows if zoo.families[row] in set(families)]
    if not len(rows):
        raise ZooError(f"{zoo.path} has no networks of that choice")
    return list(rows)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A draft beside the folder, renamed to it when the block ends well, and gone if it does not."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ZooError(f"{out} exists already; choose a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".draft", dir=out.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp makes folders that only their owner may open
        draft.replace(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_network(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if path.suffix == ".pt":
        torch.save({name: tensor.clone() for name, tensor in tensors.items()}, path)  # views would save the whole
    else:
        _write_safetensors(path, tensors)


def _write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes the tensors in their order; the library's own writer sorts them by name, and 10 comes before 2.

    Wider types come first, as the format advises, so that each tensor lies at a multiple of its width.
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
    """A value as the CSV holds it: nothing for what is missing; floats so that they are read back the same."""
    return "" if value is None or value != value else str(value)
