"""The zoos of studies: made if they are missing, and merged if a task learns from several; and their image sets."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from sne.errors import Remedy, StudyError
from sne.lab.studies.study import StudyTask, ZooNeed
from sne.making import FAMILIES, Settings, load_images
from sne.making.families.overriding import override
from sne.making.make import make_recipe
from sne.making.stacked import group_runs, train_stack
from sne.work import Executor, ProcessPool
from sne.zoo import Split, Zoo, merge, split_by_run

VALIDATION, TEST = 0.15, 0.25
"""Shares of the training runs of every zoo that are used for validation and for the test."""

FOLDER_VARIABLE = "SNE_IMAGES"
DIGITS = "digits"
TURNED = "digits_turned"
"""The digits, rotated by 90 degrees: a second data set for the smallest scale that needs no download."""

Progress = Callable[[int, int], None]


class ZooShelf:
    """A folder of zoos that studies share.

    Args:
        folder: The folder; it is created if it is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._digests: dict[str, str] = {}

    def make(self, need: ZooNeed, *, images: Path | None, executor: Executor, progress: Progress | None = None) -> None:
        """Makes a zoo, or the networks that it still lacks.

        Args:
            need: The zoo.
            images: Folder of image sets; the value of the environment variable SNE_IMAGES if None.
            executor: Executor that trains the networks, except on a GPU.
            progress: Function called with the number of networks done and their total number.

        Raises:
            StudyError: If the images are missing, or the zoo needs a GPU and there is none.
            ZooError: If the folder contains a zoo of another recipe, or a network cannot be trained.
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
            raise StudyError(f"zoo {need.name} is made on {need.device}, but torch finds no GPU")
        make_recipe(
            self.folder / need.name,
            recipe,
            loaded,
            ProcessPool(1),
            trainer=partial(train_stack, device=need.device),
            grouping=group_runs(recipe, loaded),
            progress=progress,
        )

    def join(self, names: Sequence[str]) -> None:
        """Writes the zoo that merges several zoos, unless it exists."""
        if len(names) == 1 or (out := self._joined(names)).is_dir():
            return
        draft = out.with_name(f".{out.name}.{os.getpid()}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        merge(draft, [self.folder / name for name in names], prefix=True)
        try:
            draft.replace(out)
        except OSError:
            if not out.is_dir():  # otherwise another study has just made the same zoo
                raise
            shutil.rmtree(draft)

    def open(self, names: Sequence[str]) -> "ShelvedZoo":
        """Opens the zoo of one name, or the merged zoo of several, which `join` has written."""
        path = self.folder / names[0] if len(names) == 1 else self._joined(names)
        return ShelvedZoo(Zoo.open(path), self, tuple(names))

    def split(self, name: str) -> Split:
        """Returns the split of a zoo, which is the same for all studies."""
        zoo = Zoo.open(self.folder / name)
        return zoo.split or split_by_run(zoo.runs, val=VALIDATION, test=TEST, seed=0, families=zoo.families)

    def digest(self, name: str) -> str:
        """Returns a digest of all labels, hyper-parameters and weight checksums of a zoo."""
        if name not in self._digests:
            table = Zoo.open(self.folder / name).table
            text = json.dumps(table.to_pydict(), sort_keys=True, default=str)
            self._digests[name] = hashlib.sha256(text.encode()).hexdigest()
        return self._digests[name]

    def paths(self, task: StudyTask) -> list[Path]:
        """Returns the folders of all zoos that a task reads."""
        joined = [self._joined(task.train)] if len(task.train) > 1 else []
        return [self.folder / name for name in task.zoos] + joined

    def _joined(self, names: Sequence[str]) -> Path:
        text = "\n".join(f"{name} {self.digest(name)}" for name in names)
        return self.folder / "joined" / hashlib.sha256(text.encode()).hexdigest()[:12]


class ShelvedZoo:
    """A zoo of the shelf with its split.

    Args:
        zoo: The opened zoo.
        shelf: Shelf of the zoo.
        names: Names of the zoos that it merges, or its own name.
    """

    def __init__(self, zoo: Zoo, shelf: ZooShelf, names: tuple[str, ...]) -> None:
        self.zoo = zoo
        self._shelf = shelf
        self._names = names

    @cached_property
    def split(self) -> Split:
        """The split of the zoo; for a merged zoo, the union of the splits of its parts."""
        if len(self._names) == 1:
            return self._shelf.split(self._names[0])
        parts = [(name, self._shelf.split(name)) for name in self._names]
        train, val, test = (
            tuple(f"{name}/{run}" for name, split in parts for run in getattr(split, piece))
            for piece in ("train", "val", "test")
        )
        return Split(train, val, test)

    def part(self, fraction: float, seed: int) -> Split:
        """Returns the split with a random share of the training and validation runs.

        With one seed, a smaller share is contained in every larger one.

        Args:
            fraction: Share of the runs, above 0 and at most 1.
            seed: Random seed of the draw.
        """
        split = self.split
        if fraction == 1:
            return split
        return Split(_some(split.train, fraction, seed, 4), _some(split.val, fraction, seed, 2), split.test)


def _some(runs: Iterable[str], fraction: float, seed: int, least: int) -> tuple[str, ...]:
    order = np.random.default_rng(seed).permutation(sorted(runs))
    return tuple(str(run) for run in order[: max(round(fraction * len(order)), least)])


def find_images(name: str, folder: Path | None, made: Path) -> str:
    """Finds an image set, as a value for `sne.making.load_images`.

    Args:
        name: "digits", "digits_turned", or the name of an .npz file without its ending.
        folder: Folder of .npz files; the value of the environment variable SNE_IMAGES if None.
        made: Folder where derived image sets are kept.

    Raises:
        StudyError: If there is no such file.
    """
    if name == DIGITS:
        return DIGITS
    if name == TURNED:
        return str(_turned_digits(made / f"{TURNED}.npz"))
    chosen = folder or (Path(os.environ[FOLDER_VARIABLE]) if os.environ.get(FOLDER_VARIABLE) else None)
    if chosen is None:
        raise StudyError(
            f"the study needs {name}.npz, and the environment variable {FOLDER_VARIABLE} is not set",
            Remedy("images", None, "names the folder of the file"),
        )
    path = chosen / f"{name}.npz"
    if not path.is_file():
        raise StudyError(
            f"{path}: no such file; expected an .npz file with the arrays x_train, y_train, x_test and y_test"
        )
    return str(path)


def _turned_digits(path: Path) -> Path:
    """Writes the rotated digits unless they exist."""
    if path.is_file():
        return path
    digits = load_images(DIGITS)
    x_train, x_test = (
        np.ascontiguousarray(np.rot90(images[:, 0].numpy(), axes=(1, 2))) for images in (digits.x_train, digits.x_test)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft.npz")
    np.savez_compressed(
        draft, x_train=x_train, y_train=digits.y_train.numpy(), x_test=x_test, y_test=digits.y_test.numpy()
    )
    draft.replace(path)
    return path
