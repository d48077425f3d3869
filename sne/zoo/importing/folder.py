"""Importing a user's own zoo: checkpoints, and a CSV that says what is known of each."""

from collections.abc import Callable, Mapping
from pathlib import Path

from sne.zoo.errors import ZooError
from sne.zoo.importing.rows import Checkpoint, import_each, split_in
from sne.zoo.importing.tables import as_text, read_table
from sne.zoo.importing.weights import read_state
from sne.zoo.store.symmetries import SYMMETRIES, Symmetries
from sne.zoo.store.writing import HYPERPARAMETER_PREFIX, Value
from sne.zoo.store.zoo import Zoo

_TEXT = ("path", "id", "run", "family", "dataset")
_NAMES = (*_TEXT, "step")


def import_folder(
    source: Path | str,
    out: Path | str,
    *,
    dataset: str | None = None,
    skip_bad: bool = False,
    storage: str = "float32",
    report: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Zoo:
    """Imports checkpoints of any kind that `read_network` reads.

    The column `path` of the CSV names the file, relative to the CSV. The columns `run` (checkpoints of one
    training run), `family`, `dataset`, `step` and `id` are used where present; columns that begin with
    "config." are hyper-parameters, all others properties. A `split.json` beside the CSV is carried over, and so is a
    `symmetries.json`, whose ids stand in the column `symmetry`.

    Args:
        source: the CSV, or a folder with one CSV in it.
        out: the new zoo's folder.
        dataset: what the networks were trained on, where there is no such column.
        skip_bad: leave out checkpoints that cannot be read, in place of an error.
        storage: as `ZooWriter` takes it.
        report: called with one line for each checkpoint that cannot be imported.
        progress: called with rows done and rows in all.

    Raises:
        ZooError: the table does not fit, or a checkpoint cannot be imported; no zoo is written then.
    """
    file = _find_table(Path(source))
    symmetries = Symmetries.load(file.parent / SYMMETRIES)
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
        properties, hyperparameters = _sort(values)
        symmetry = names["symmetry"][row] if len(symmetries) else None
        if symmetry is not None and symmetry not in symmetries:
            raise ZooError(f"row {row + 1}: {SYMMETRIES} does not describe symmetry {symmetry!r}")
        return Checkpoint(
            id=names["id"][row] or path,
            run=names["run"][row] or path,
            family=names["family"][row] or "unknown",
            dataset=names["dataset"][row] or dataset or "unknown",
            step=int(steps[row] or 0),
            state=read_state(file.parent / path),
            properties=properties,
            hyperparameters=hyperparameters,
            symmetry=None if symmetry is None else symmetries[symmetry],
        )

    return import_each(
        range(count),
        read,
        out,
        source=file,
        storage=storage,
        split=split_in(file.parent),
        skip_bad=skip_bad,
        report=report,
        progress=progress,
    )


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


def _sort(values: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Properties, and hyper-parameters without their prefix."""
    hyperparameters = {
        key.removeprefix(HYPERPARAMETER_PREFIX): value
        for key, value in values.items()
        if key.startswith(HYPERPARAMETER_PREFIX)
    }
    properties = {key: v for key, v in values.items() if not key.startswith(HYPERPARAMETER_PREFIX)}
    return properties, hyperparameters
