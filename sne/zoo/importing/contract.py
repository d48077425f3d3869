"""The contract of formats: where the checkpoints are and what is known of each; the rest of an import is not theirs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sne.zoo.importing.weights import Weights
from sne.zoo.store.splitting import SPLIT, Split
from sne.zoo.store.writing import Value

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Checkpoint:
    """One row of a zoo to be; the fields are those of `ZooWriter.add`, with tensors and symmetry in `weights`."""

    id: str
    run: str
    family: str
    dataset: str
    step: int
    weights: Weights
    properties: Mapping[str, Value]
    hyperparameters: Mapping[str, Value]


@dataclass(frozen=True)
class Found:
    """What a format found in a source.

    Args:
        checkpoints: in the order of rows; each is read when it is called, and raises `ZooError` where it cannot be.
        split: stored with the zoo.
    """

    checkpoints: Sequence[Callable[[], Checkpoint]]
    split: Split | None = None


class Format(Protocol):
    """A layout of zoos that others have written."""

    def __call__(self, source: Path, dataset: str | None, tell: Tell) -> Found:
        """Looks through a source. Loads no weights.

        Args:
            source: a folder or file.
            dataset: what the networks were trained on, where the source does not say.
            tell: called with one line for what is missing or left out, and does not end the import.

        Raises:
            ZooError: nothing of this format is there, or its parts do not fit each other.
        """
        ...


def split_in(folder: Path) -> Split | None:
    """The `split.json` of a folder, where there is one."""
    return Split.load(folder / SPLIT) if (folder / SPLIT).is_file() else None
