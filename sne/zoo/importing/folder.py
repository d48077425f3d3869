"""Importing a user's own zoo: checkpoints, and a CSV that says what is known of each."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from sne.errors import ZooError
from sne.zoo.importing.contract import Checkpoint, Found, Tell, split_in
from sne.zoo.importing.symmetries import SymmetriesByName
from sne.zoo.importing.tables import as_text, read_table, without_prefix
from sne.zoo.importing.weights import read_weights
from sne.zoo.store.symmetries import SYMMETRIES, Symmetries

_TEXT = ("path", "id", "run", "family", "dataset")
_NAMES = (*_TEXT, "step")


def find_folder(source: Path, dataset: str | None, tell: Tell) -> Found:
    """Finds checkpoints of any kind that `read_network` reads, in a CSV or in a folder with one CSV in it.

    The column `path` of the CSV names the file, relative to the CSV. The columns `run` (checkpoints of one
    training run), `family`, `dataset`, `step` and `id` are used where present; columns that begin with
    "config." are hyper-parameters, all others properties. A `split.json` beside the CSV is carried over, and so is a
    `symmetries.json`, whose ids stand in the column `symmetry`; without that file, names and shapes alone speak of
    symmetries.
    """
    file = _find_table(source)
    symmetries = Symmetries.load(file.parent / SYMMETRIES)
    by_name = None if len(symmetries) else SymmetriesByName(tell)
    known = (*_NAMES, "symmetry") if len(symmetries) else _NAMES  # else a column of that name is the user's own
    table = read_table(file, text=(*_TEXT, "symmetry") if len(symmetries) else _TEXT)
    if "path" not in table:
        raise ZooError(f"{file} has no column 'path'; it has {', '.join(table)}")
    paths = as_text(table["path"])
    count = len(paths)
    if count == 0:
        raise ZooError(f"{file} has no rows")
    names = {key: as_text(table[key]) if key in table else [None] * count for key in known}
    steps = table.get("step", [0] * count)
    if not all(isinstance(step, int) for step in steps):
        raise ZooError(f"{file}: column 'step' must hold whole numbers")

    def read(row: int) -> Checkpoint:
        path = paths[row]
        if path is None:
            raise ZooError(f"row {row + 1}: path is empty")
        values = {key: column[row] for key, column in table.items() if key not in known}
        properties, hyperparameters = without_prefix(values)
        symmetry = names["symmetry"][row] if len(symmetries) else None
        if symmetry is not None and symmetry not in symmetries:
            raise ZooError(f"row {row + 1}: {SYMMETRIES} does not describe symmetry {symmetry!r}")
        weights = read_weights(file.parent / path, by_name)
        return Checkpoint(
            id=names["id"][row] or path,
            run=names["run"][row] or path,
            family=names["family"][row] or "unknown",
            dataset=names["dataset"][row] or dataset or "unknown",
            step=int(steps[row] or 0),
            weights=weights if symmetry is None else replace(weights, symmetry=symmetries[symmetry]),
            properties=properties,
            hyperparameters=hyperparameters,
        )

    return Found([partial(read, row) for row in range(count)], split_in(file.parent))


def _find_table(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise ZooError(f"{source}: no such folder or CSV file")
    tables = sorted(path for path in source.iterdir() if path.name.endswith((".csv", ".csv.gz")))
    if len(tables) != 1:
        found = ", ".join(path.name for path in tables) or "none"
        raise ZooError(f"{source}: expected one CSV file, found {found}; name the file itself")
    return tables[0]
