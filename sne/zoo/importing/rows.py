"""The loop that all imports share: one checkpoint at a time into a new zoo, bad ones named."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from sne.symmetry import Symmetry
from sne.zoo.errors import ZooError
from sne.zoo.store.splitting import SPLIT, Split
from sne.zoo.store.writing import Value, ZooWriter
from sne.zoo.store.zoo import Zoo

Item = TypeVar("Item")


@dataclass(frozen=True)
class Checkpoint:
    """One row of a zoo to be, with its weights; the fields are those of `ZooWriter.add`."""

    id: str
    run: str
    family: str
    dataset: str
    step: int
    state: Mapping[str, Tensor]
    properties: Mapping[str, Value]
    hyperparameters: Mapping[str, Value]
    symmetry: Symmetry | None = None


def import_each(
    items: Sequence[Item],
    read: Callable[[Item], Checkpoint],
    out: Path | str,
    *,
    source: Path,
    storage: str,
    split: Split | None,
    skip_bad: bool,
    report: Callable[[str], None] | None,
    progress: Callable[[int, int], None] | None,
) -> Zoo:
    """Reads checkpoints one by one and writes them to a new zoo; never holds more than a shard of weights.

    Args:
        items: what stands for each checkpoint: a row number, a path.
        read: reads the checkpoint of one item; raises `ZooError` where it cannot.
        out: the new zoo's folder.
        source: what messages call the whole.
        storage: as `ZooWriter` takes it.
        split: stored with the zoo.
        skip_bad: leave out checkpoints that cannot be imported, in place of an error.
        report: called with one line for each of them.
        progress: called with items done and items in all.

    Raises:
        ZooError: a checkpoint cannot be imported and none may be left out, or none can be; no zoo is written then.
    """
    bad = 0
    with ZooWriter(out, storage=storage, split=split) as writer:
        for done, item in enumerate(items, 1):
            try:
                writer.add(**vars(read(item)))
            except ZooError as error:
                bad += 1
                if report:
                    report(str(error))
            if progress:
                progress(done, len(items))
        if bad and (bad == len(items) or not skip_bad):
            raise ZooError(f"{bad} of {len(items)} checkpoints of {source} cannot be imported")
    return Zoo.open(out)


def split_in(folder: Path) -> Split | None:
    """The `split.json` of a folder, where there is one."""
    return Split.load(folder / SPLIT) if (folder / SPLIT).is_file() else None
