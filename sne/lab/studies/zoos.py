"""The zoos of studies: made where they are missing, joined where a task learns from several."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from sne.errors import StudyError
from sne.lab.studies.images import find_images
from sne.lab.studies.study import StudyTask, ZooNeed
from sne.making import FAMILIES, Settings
from sne.making.executors import Executor, ProcessPool
from sne.making.families.overriding import override
from sne.making.make import make_recipe
from sne.making.stacked import group_units, train_stack
from sne.zoo import Split, Zoo, merge, split_by_run

VALIDATION, TEST = 0.15, 0.25
"""Shares of the runs of every zoo of a study."""

Progress = Callable[[int, int], None]


class ZooShelf:
    """A folder of zoos that studies share.

    Args:
        folder: where they are; made where it is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._digests: dict[str, str] = {}

    def make(self, need: ZooNeed, *, images: Path | None, executor: Executor, progress: Progress | None = None) -> None:
        """Makes a zoo, or what is missing of it.

        Args:
            need: which.
            images: folder of image sets; None: what SNE_IMAGES names.
            executor: trains the networks, but for those of a GPU.
            progress: called with networks done and networks in all.

        Raises:
            StudyError: its images are missing, or there is no GPU for it.
            ZooError: the folder holds a zoo of another recipe, or a network cannot be trained.
        """
        source = find_images(need.images, images, self.folder / "images")
        spaces = {
            name: override(FAMILIES[name], changes, f"zoo {need.name}: [{name}]").space
            for name, changes in need.overrides.items()
        }
        recipe, loaded = Settings(
            families=need.families,
            images=source,
            networks=need.networks,
            steps=need.steps,
            epochs=need.epochs,
            keep=need.keep,
            seed=need.seed,
            device=need.device,
            eval_images=need.eval_images,
            spaces=spaces,
            where=f"zoo {need.name}",
        ).plan()
        self.folder.mkdir(parents=True, exist_ok=True)
        if need.device == "cpu":
            make_recipe(self.folder / need.name, recipe, loaded, executor, progress=progress)
            return
        import torch

        if not torch.cuda.is_available():
            raise StudyError(f"zoo {need.name} is made on {need.device}; torch finds no GPU")
        make_recipe(
            self.folder / need.name,
            recipe,
            loaded,
            ProcessPool(1),
            trainer=partial(train_stack, device=need.device),
            grouping=group_units(recipe, loaded),
            progress=progress,
        )

    def join(self, names: Sequence[str]) -> None:
        """Writes the zoo that holds all networks of several, unless it is there."""
        if len(names) == 1 or (out := self._joined(names)).is_dir():
            return
        draft = out.with_name(f".{out.name}.{os.getpid()}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        merge(draft, [self.folder / name for name in names], prefix=True)
        try:
            draft.replace(out)
        except OSError:
            if not out.is_dir():  # else another study has just made the same
                raise
            shutil.rmtree(draft)

    def open(self, names: Sequence[str]) -> "ShelvedZoo":
        """The zoo of one name, or the joined zoo of several, which `join` has made."""
        path = self.folder / names[0] if len(names) == 1 else self._joined(names)
        return ShelvedZoo(Zoo.open(path), self, tuple(names))

    def split(self, name: str) -> Split:
        """The split of a zoo: the same whichever study asks."""
        zoo = Zoo.open(self.folder / name)
        return zoo.split or split_by_run(zoo.runs, val=VALIDATION, test=TEST, seed=0, families=zoo.families)

    def digest(self, name: str) -> str:
        """Tells a zoo from every other: of all labels, notes and checksums of weights."""
        if name not in self._digests:
            table = Zoo.open(self.folder / name).table
            text = json.dumps(table.to_pydict(), sort_keys=True, default=str)
            self._digests[name] = hashlib.sha256(text.encode()).hexdigest()
        return self._digests[name]

    def paths(self, task: StudyTask) -> list[Path]:
        """Folders of every zoo that a task reads."""
        joined = [self._joined(task.train)] if len(task.train) > 1 else []
        return [self.folder / name for name in task.zoos] + joined

    def _joined(self, names: Sequence[str]) -> Path:
        text = "\n".join(f"{name} {self.digest(name)}" for name in names)
        return self.folder / "joined" / hashlib.sha256(text.encode()).hexdigest()[:12]


class ShelvedZoo:
    """A zoo of the shelf with its split.

    Args:
        zoo: opened.
        shelf: where it is.
        names: the zoos that it was joined from, or its own name.
    """

    def __init__(self, zoo: Zoo, shelf: ZooShelf, names: tuple[str, ...]) -> None:
        self.zoo = zoo
        self._shelf = shelf
        self._names = names

    @cached_property
    def split(self) -> Split:
        """That of the zoo; of a joined one, the splits of its parts together."""
        if len(self._names) == 1:
            return self._shelf.split(self._names[0])
        parts = [(name, self._shelf.split(name)) for name in self._names]
        train, val, test = (
            tuple(f"{name}/{run}" for name, split in parts for run in getattr(split, piece))
            for piece in ("train", "val", "test")
        )
        return Split(train, val, test)

    def part(self, fraction: float, seed: int) -> Split:
        """The split with a share of the training and validation runs, drawn by the seed; smaller parts lie in larger.

        Args:
            fraction: above 0, at most 1.
            seed: of the draw.
        """
        split = self.split
        if fraction == 1:
            return split
        return Split(_some(split.train, fraction, seed, 4), _some(split.val, fraction, seed, 2), split.test)


def _some(runs: Iterable[str], fraction: float, seed: int, least: int) -> tuple[str, ...]:
    order = np.random.default_rng(seed).permutation(sorted(runs))
    return tuple(str(run) for run in order[: max(round(fraction * len(order)), least)])
