"""Roles of the columns in a user's table: chosen by the user, or detected."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sne.errors import Remedy, ZooError, counted
from sne.zoo.importing.contract import ColumnUse
from sne.zoo.importing.tables import Column, CsvTable
from sne.zoo.store.columns import HYPERPARAMETER_PREFIX, RESERVED, some

_NAMES = ("run", "family", "dataset", "step", "id")  # columns with a role of their own, in upper or lower case
_PATHS = ("path", "file", "filename", "file_name", "checkpoint")  # preferred in this order if several name files
_ACCURACY = re.compile(r"(^|_)(accuracy|acc|top_?[15]|f1|auc)(_|$)")

ShareOfFiles = Callable[[Sequence[str | None]], float]


@dataclass(frozen=True)
class ColumnChoice:
    """A user's choice of columns in the table of a folder. Columns that are not chosen are detected.

    Args:
        path: Column with the file names of the checkpoints.
        run: Column that groups the checkpoints of one training run.
        properties: Columns that are properties. If any are chosen, columns without another role are left out.
        hyperparameters: Columns that are hyper-parameters, next to those called "config.*".
    """

    path: str | None = None
    run: str | None = None
    properties: Sequence[str] = ()
    hyperparameters: Sequence[str] = ()


@dataclass(frozen=True)
class ColumnRoles:
    """The roles of the columns of a table.

    Args:
        path: Column of file names.
        names: Columns of run, family, dataset, step, id and symmetry, by these names.
        measured: Names of properties and hyper-parameters in the zoo, by column.
        left_out: Reasons by column.
    """

    path: str
    names: dict[str, str]
    measured: dict[str, str]
    left_out: dict[str, str]

    @classmethod
    def find(
        cls, table: CsvTable, choice: ColumnChoice, share_of_files: ShareOfFiles, *, has_symmetries: bool
    ) -> "ColumnRoles":
        """Gives every column a role.

        Raises:
            ZooError: A chosen column does not exist or has two roles, or no column names the files.
        """
        properties = [_find_column(table, name) for name in choice.properties]
        hyperparameters = [_find_column(table, name) for name in choice.hyperparameters]
        path = _find_column(table, choice.path) if choice.path is not None else None
        run = _find_column(table, choice.run) if choice.run is not None else None
        chosen = [name for name in (path, run, *properties, *hyperparameters) if name is not None]
        twice = next((name for name in chosen if chosen.count(name) > 1), None)
        if twice is not None:
            raise ZooError(f"{table.path}: column {twice!r} is chosen for two roles")
        path = path or _find_path_column(table, share_of_files, [name for name in table.names if name not in chosen])
        names = {"run": run} if run is not None else {}
        for role in (*_NAMES, *(["symmetry"] if has_symmetries else [])):
            found = next((n for n in (role, *table.names) if n in table.names and n.lower() == role), None)
            if role not in names and found is not None and found not in (*chosen, path):
                names[role] = found
        measured: dict[str, str] = {}
        left_out: dict[str, str] = {}
        for name in table.names:
            if name in (path, *names.values()):
                continue
            if name in hyperparameters:
                measured[name] = HYPERPARAMETER_PREFIX + name.removeprefix(HYPERPARAMETER_PREFIX)
            elif name in properties or name.startswith(HYPERPARAMETER_PREFIX):
                measured[name] = name
            elif choice.properties:
                left_out[name] = "not chosen"
            elif name == "" or (name == "run" and run is not None):
                left_out[name] = "has no name" if name == "" else "another column holds the run"
            else:
                measured[name] = name
        return cls(path, names, _checked(table, measured, properties), left_out)

    def describe(self, table: CsvTable, measured: dict[str, Column]) -> list[ColumnUse]:
        """Describes the use of every column, in the order of the table."""
        uses = []
        for name in table.names:
            role = next((role for role, column in self.names.items() if column == name), None)
            if name in measured:
                become, column = self.measured[name], measured[name]
                kind = "hyper-parameter" if become.startswith(HYPERPARAMETER_PREFIX) else "property"
                uses.append(ColumnUse(name, f"{kind} {become}", _values(column), column.num_missing, column.note))
                continue
            cells = table.text(name)
            values = _values(Column([*cells], "text" if any(cells) else "empty"))
            becomes = "path" if name == self.path else role or "left out"
            uses.append(ColumnUse(name, becomes, values, cells.count(None), self.left_out.get(name, "")))
        return uses


def _find_column(table: CsvTable, name: str) -> str:
    """Returns the column of a name, in upper or lower case."""
    found = [column for column in table.names if column == name] or [
        column for column in table.names if column.lower() == name.lower()
    ]
    if len(found) != 1:
        problem = "has no column" if not found else "has several columns"
        raise ZooError(f"{table.path} {problem} {name!r}; it has {', '.join(table.names)}")
    return found[0]


def _find_path_column(table: CsvTable, share_of_files: ShareOfFiles, candidates: Sequence[str]) -> str:
    """Returns the column called "path", or else the one whose entries are files."""
    shares = {name: share_of_files(table.text(name)) for name in candidates}
    usual = [name for known in _PATHS for name in candidates if name.lower() == known]
    named = [name for name in usual if shares[name] > 0]
    holding = [name for name in candidates if shares[name] > 0.5]
    if named or len(holding) == 1:
        return (named or holding)[0]
    if holding:
        remedy = Remedy("path_column", None, "chooses one")
        raise ZooError(f"{table.path}: the columns {', '.join(holding)} all name files", remedy)
    if usual and usual[0].lower() == _PATHS[0]:
        return usual[0]
    raise ZooError(
        f"{table.path}: no column names files in {table.path.parent}; it has {', '.join(table.names)}; expected a "
        "column path with the file of each checkpoint, relative to the CSV, and a column run if several checkpoints "
        "come from one training run",
        Remedy("path_column", None, "chooses a column of another name"),
    )


def _checked(table: CsvTable, measured: dict[str, str], properties: Sequence[str]) -> dict[str, str]:
    """Raises ZooError where the name of a property is taken."""
    for name, become in measured.items():
        if become in RESERVED:
            raise ZooError(f"{table.path}: column {name!r} cannot be a property, the name is reserved; rename it")
        if name in properties and become.startswith(HYPERPARAMETER_PREFIX):
            raise ZooError(f"{table.path}: column {name!r} cannot be a property, 'config.' marks hyper-parameters")
    twice = [become for become in measured.values() if list(measured.values()).count(become) > 1]
    if twice:
        raise ZooError(f"{table.path}: two columns become {twice[0]!r}; rename one")
    return measured


def accuracies_as_fractions(table: CsvTable, columns: dict[str, Column], roles: ColumnRoles) -> dict[str, Column]:
    """Divides accuracies by 100 where a column holds them in percent."""
    changed = dict(columns)
    for name, column in columns.items():
        clean = re.sub(r"[^0-9a-z]+", "_", roles.measured[name].lower())
        values = [float(v) for v in column.values if isinstance(v, int | float)]
        if clean.startswith("config_") or column.kind != "number" or not values or not _ACCURACY.search(clean):
            continue
        if min(values) < 0 or not 1 < max(values) <= 100:
            continue
        small = [row for row, v in enumerate(column.values) if isinstance(v, int | float) and 0 < v < 1]
        if small:
            numbers = f"{counted(len(values) - len(small), 'value')} of 1 or more, {len(small)} between 0 and 1"
            raise ZooError(
                f"{table.path}: column {name}: {numbers} ({column.values[small[0]]}, row {table.rows[small[0]]}); "
                "write all of them as fractions, or all in percent as 97.5%"
            )
        note = "; ".join(filter(None, (column.note, "up to 100, divided by 100")))
        changed[name] = Column([v / 100 if isinstance(v, int | float) else v for v in column.values], "number", note)
    return changed


def _values(column: Column) -> str:
    """Returns the kind and range of a column, or its number of different texts with examples."""
    present = [value for value in column.values if value is not None]
    if column.kind == "empty" or not present:
        return "no values"
    if column.kind == "number":
        low, high = (
            min(v for v in present if not isinstance(v, str)),
            max(v for v in present if not isinstance(v, str)),
        )
        return f"number, {low:.6g} to {high:.6g}" if low != high else f"number, always {low:.6g}"
    if column.kind == "boolean":
        return f"boolean, {present.count(True)} true"
    different = list(dict.fromkeys(str(value) for value in present))
    shown = [text if len(text) <= 24 else f"{text[:21]}..." for text in different[:4]]
    return f"{counted(len(different), 'text')}: {some(shown)}"
