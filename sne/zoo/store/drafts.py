"""What stands in a zoo folder while it is written, and how it becomes the zoo's: all of it or nothing."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from sne.work import sync
from sne.zoo.store.index import COPY, INDEX
from sne.zoo.store.splitting import SPLIT

DRAFTS = ".writing"


def publish(folder: Path, names: Sequence[str]) -> None:
    """Moves finished drafts into the zoo.

    The index decides: before it moves the zoo is the old one, after it the new one. Files that move earlier are
    such as the old index does not mind: new shards, and layouts and durations that hold the old ones too. The split
    moves after it; until then `split_file` finds it among the drafts. The copy of the index comes last: an old one
    is a copy of the old zoo.

    Args:
        folder: of the zoo.
        names: files to move, shards first.
    """
    last = [name for name in (INDEX, SPLIT, COPY) if name in names]
    for name in [name for name in names if name not in last]:
        (folder / DRAFTS / name).replace(folder / name)
    sync(folder)
    for name in last:
        (folder / DRAFTS / name).replace(folder / name)
        sync(folder)


def split_file(folder: Path) -> Path:
    """Where the split of a zoo stands, if it has one: among the drafts where a writer died between index and split."""
    draft = folder / DRAFTS / SPLIT
    return draft if draft.is_file() and not (folder / DRAFTS / INDEX).exists() else folder / SPLIT


def clear_drafts(folder: Path) -> None:
    """Ends what a writer that died left: a split whose index has moved follows it, all other drafts go."""
    if split_file(folder) != folder / SPLIT:
        split_file(folder).replace(folder / SPLIT)
        sync(folder)
    (folder / DRAFTS / SPLIT).unlink(missing_ok=True)  # before the index: a split alone counts as published
    shutil.rmtree(folder / DRAFTS, ignore_errors=True)
