"""Imports a user's own zoo: checkpoints, and a CSV file with the facts about each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sne.checkpoints.formats.known import SUFFIXES
from sne.errors import ZooError, counted
from sne.zoo.importing.column_roles import ColumnChoice, ColumnRoles, accuracies_as_fractions
from sne.zoo.importing.contract import Checkpoint, Found, Tell, split_in
from sne.zoo.importing.tables import Column, CsvTable, read_table, without_prefix
from sne.zoo.importing.weights import SymmetriesByName, read_weights
from sne.zoo.store.columns import Value, some
from sne.zoo.store.descriptions import SYMMETRIES, Symmetries

_LOOKED_AT = 200  # rows in which files are looked for


def find_folder(source: Path, dataset: str | None, tell: Tell, choice: ColumnChoice | None = None) -> Found:
    """Finds the checkpoints that a CSV file lists, of any kind that `read_network` reads.

    One column holds the file names, relative to the CSV: the one called "path", or else the one whose entries are
    files; the ending of a name may be missing. The columns `run` (checkpoints of one training run), `family`,
    `dataset`, `step` and `id` are used if they exist, in upper or lower case. Columns that begin with "config." are
    hyper-parameters, all others properties. A `split.json` next to the CSV is copied, and so are the symmetries of a
    `symmetries.json`, whose ids are in the column `symmetry`; without that file, symmetries come from names and shapes.

    Args:
        source: The CSV file, or a folder that holds one CSV file.
        dataset: Data set that the networks were trained on, used where the table names none.
        tell: Called with one line about rows without a checkpoint, and about checkpoints without a row.
        choice: Columns that the user has chosen.

    Raises:
        ZooError: There is no table, a column is ambiguous, missing or of mixed kinds, or two rows have one id.
    """
    file = _find_table(source)
    table, choice = read_table(file), choice or ColumnChoice()
    if not table.rows:
        raise ZooError(f"{file} has no rows below the column names")
    if table.delimiter_note:
        tell(table.delimiter_note)
    files = _Files(file.parent)
    symmetries = Symmetries.load(file.parent / SYMMETRIES)
    roles = ColumnRoles.find(table, choice, files.share, has_symmetries=len(symmetries) > 0)
    measured = accuracies_as_fractions(table, table.columns(list(roles.measured)), roles)
    if "run" not in roles.names and len(table.rows) > 1:
        tell(
            f"{file} has no column run: each checkpoint counts as a training run of its own, so that a split may have "
            "checkpoints of one run on both sides"
        )
    steps = _steps(table, roles.names.get("step"))
    rows = _Rows(
        table, roles, measured, steps, dataset, symmetries, None if len(symmetries) else SymmetriesByName(tell)
    )
    present = rows.find_files(files, tell)
    rows.check_ids(present)
    files.tell_of_others(tell, file, set(present.values()), below=source.is_dir())
    return Found(
        [partial(rows.read, row, path) for row, path in present.items()],
        split_in(file.parent),
        num_missing=len(table.rows) - len(present),
        columns=roles.describe(table, measured),
    )


def _find_table(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise ZooError(f"{source}: no such folder or CSV file")
    tables = sorted(path for path in source.iterdir() if path.name.lower().endswith((".csv", ".csv.gz", ".tsv")))
    if len(tables) != 1:
        if not tables:
            raise ZooError(
                f"{source}: no CSV file found; a table is expected that has a row per checkpoint and the "
                "columns path (file, relative to the CSV), run (training run), and what was measured, "
                "such as test_accuracy"
            )
        found = ", ".join(path.name for path in tables)
        raise ZooError(f"{source}: expected one CSV file, found {found}; give the path of the file itself")
    return tables[0]


class _Files:
    """The checkpoint files of a folder, found by the names that people write into tables."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stems: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str | None) -> Path | None:
        """Returns the file of that name, with the ending that the name may lack; None if there is none."""
        if name is None:
            return None
        path = self._folder / name
        if path.exists():
            return None if path == self._folder else path
        if path.parent not in self._stems:
            self._stems[path.parent] = {}
            for other in sorted(path.parent.iterdir()) if path.parent.is_dir() else ():
                if other.suffix in SUFFIXES:
                    self._stems[path.parent].setdefault(other.stem, []).append(other.name)
        found = self._stems[path.parent].get(path.name, [])
        return path.parent / found[0] if len(found) == 1 else None

    def share(self, names: Sequence[str | None]) -> float:
        """Returns the share of names that are files."""
        known = [name for name in names if name is not None][:_LOOKED_AT]
        found = [path for name in known if (path := self.find(name)) is not None]
        return len([path for path in found if path.is_file()] or found) / max(len(known), 1)

    def tell_of_others(self, tell: Tell, table: Path, named: set[Path], *, below: bool) -> None:
        """Counts the checkpoints that no row names, in the folders of those that are named and, on request, below."""
        known = {path.resolve() for path in named}
        folders = {path.parent for path in named if path.is_file()}
        files = self._folder.rglob("*") if below else (file for folder in folders for file in folder.iterdir())
        others = sorted(
            file.relative_to(self._folder).as_posix() if file.is_relative_to(self._folder) else str(file)
            for file in files
            if file.suffix in SUFFIXES
            and file.is_file()
            and known.isdisjoint((file.resolve(), *file.resolve().parents))
        )
        if others:
            verb = "has" if len(others) == 1 else "have"
            tell(f"{counted(len(others), 'checkpoint')} {verb} no row in {table.name}, left out: {some(others, 5)}")


@dataclass(frozen=True)
class _Rows:
    """The rows of a table, from which checkpoints are read."""

    table: CsvTable
    roles: ColumnRoles
    measured: dict[str, Column]
    steps: Sequence[int | None]
    dataset: str | None
    symmetries: Symmetries
    by_name: SymmetriesByName | None

    def find_files(self, files: _Files, tell: Tell) -> dict[int, Path]:
        """Returns the file of every row that has one, and names the other rows."""
        present: dict[int, Path] = {}
        missing: list[str] = []
        for row, name in enumerate(self.table.text(self.roles.path)):
            found = files.find(name)
            if found is not None:
                present[row] = found
            else:
                missing.append(f"{name or 'empty'} (row {self.table.rows[row]})")
        if missing:
            verb = "names no file that exists" if len(missing) == 1 else "name no file that exists"
            tell(f"{self.table.path}: {counted(len(missing), 'row')} {verb}: {some(missing, 5)}")
        return present

    def check_ids(self, rows: dict[int, Path]) -> None:
        """Raises ZooError if two rows have the same id."""
        first: dict[str, int] = {}
        for row in rows:
            id = self._id(row)
            if id in first:
                numbers = f"rows {self.table.rows[first[id]]} and {self.table.rows[row]}"
                raise ZooError(f"{self.table.path}: {numbers} are both {id!r}; give them ids in a column 'id'")
            first[id] = row

    def read(self, row: int, path: Path) -> Checkpoint:
        """Reads the checkpoint of one row."""
        values: dict[str, Value] = {
            self.roles.measured[name]: column.values[row] for name, column in self.measured.items()
        }
        properties, hyperparameters = without_prefix(values)
        symmetry = self._name("symmetry", row)
        if symmetry is not None and symmetry not in self.symmetries:
            raise ZooError(f"row {self.table.rows[row]}: {SYMMETRIES} has no symmetry {symmetry!r}")
        weights = read_weights(path, self.by_name)
        return Checkpoint(
            id=self._id(row),
            run=self._name("run", row) or self._path(row),
            family=self._name("family", row) or "unknown",
            dataset=self._name("dataset", row) or self.dataset or "unknown",
            step=self.steps[row] or 0,
            weights=weights if symmetry is None else replace(weights, symmetry=self.symmetries[symmetry]),
            properties=properties,
            hyperparameters=hyperparameters,
        )

    def _id(self, row: int) -> str:
        return self._name("id", row) or self._path(row)

    def _path(self, row: int) -> str:
        return self.table.cells[self.roles.path][row]

    def _name(self, role: str, row: int) -> str | None:
        column = self.roles.names.get(role)
        return None if column is None else self.table.cells[column][row] or None


def _steps(table: CsvTable, name: str | None) -> list[int | None]:
    if name is None:
        return [None] * len(table.rows)
    steps = [float(cell) if re.fullmatch(r"\d+(\.0*)?", cell) else None for cell in table.cells[name]]
    bad = next((row for row, cell in enumerate(table.cells[name]) if cell and steps[row] is None), None)
    if bad is not None:
        raise ZooError(
            f"{table.path}: column {name!r} must hold whole numbers, found {table.cells[name][bad]!r} in row "
            f"{table.rows[bad]}"
        )
    return [None if step is None else int(step) for step in steps]
