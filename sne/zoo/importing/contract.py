"""The contract of import formats: a format finds the checkpoints and the facts about each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from sne.zoo.importing.weights import Weights
from sne.zoo.store.columns import Value
from sne.zoo.store.split import SPLIT, Split

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Checkpoint:
    """One row of a new zoo. The fields are those of `ZooWriter.add`; `weights` holds tensors and symmetry."""

    id: str
    run: str
    family: str
    dataset: str
    step: int
    weights: Weights
    properties: Mapping[str, Value]
    hyperparameters: Mapping[str, Value]


@dataclass(frozen=True)
class ColumnUse:
    """The role of a column of a user's table in the zoo.

    Args:
        column: Name of the column in the table.
        becomes: Its role, such as "run" or "property test_accuracy"; "left out" if it has none.
        values: Kind of its values, with their range or some examples.
        missing: Number of rows without a value.
        note: How the values were converted, or why the column is left out; empty if there is nothing to say.
    """

    column: str
    becomes: str
    values: str
    missing: int
    note: str = ""


@dataclass(frozen=True)
class Found:
    """The findings of a format in a source.

    Args:
        checkpoints: One function per row, in the order of rows. It reads the checkpoint, or raises `ZooError`.
        split: Split to be stored with the zoo.
        num_missing: Number of rows whose checkpoint does not exist; the format has named them.
        columns: Use of each column, if the format reads a user's own table.
    """

    checkpoints: Sequence[Callable[[], Checkpoint]]
    split: Split | None = None
    num_missing: int = 0
    columns: Sequence[ColumnUse] = ()


@runtime_checkable
class Format(Protocol):
    """A way in which other people have stored zoos."""

    def __call__(self, source: Path, dataset: str | None, tell: Tell) -> Found:
        """Finds the checkpoints of a source. Loads no weights.

        Args:
            source: Folder or file.
            dataset: Data set that the networks were trained on, used where the source names none.
            tell: Called with one line about anything that is missing or left out without ending the import.

        Raises:
            ZooError: The source has nothing of this format, or its parts contradict each other.
        """
        ...


def split_in(folder: Path) -> Split | None:
    """Reads the `split.json` of a folder, if there is one."""
    return Split.load(folder / SPLIT) if (folder / SPLIT).is_file() else None
