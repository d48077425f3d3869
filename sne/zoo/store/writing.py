"""Writing a zoo folder: shards of flat vectors, the descriptions of networks, and the index last."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from sne.errors import ZooError
from sne.symmetry import Symmetry
from sne.work import check_can_write_folder
from sne.zoo.store.columns import (
    HYPERPARAMETER_PREFIX,
    RESERVED,
    WALL_TIME,
    TableRows,
    Value,
    join_tables,
)
from sne.zoo.store.descriptions import (
    LAYOUTS,
    SYMMETRIES,
    Layouts,
    Symmetries,
    check_symmetry_fits,
    symmetry_id,
    write_layouts,
    write_symmetries,
)
from sne.zoo.store.folder import COPY, DRAFTS, INDEX, TIMINGS, FolderLock, clear_drafts, is_locked_here, publish
from sne.zoo.store.index import read_index, write_index, write_timings
from sne.zoo.store.layout import Layout, flatten
from sne.zoo.store.shards import SHARD_BYTES, STORAGE, ShardWriter, next_shard
from sne.zoo.store.split import SPLIT, Split

LARGEST_WEIGHT = 65504.0
"""The largest float16, so that the networks a zoo may hold do not depend on how it is stored."""

_MAKING = ".making"  # its lock is held by the process that makes a zoo; all other writers stay out
_OURS = re.compile(
    r"weights-\d{5,}\.safetensors|(layouts|symmetries|split|recipe)\.json|timings\.parquet|networks\.copy\.parquet"
    r"|\.making|\.writing|\..*\.partial"
)


class ZooWriter:
    """Writes a zoo folder; a context manager. Nothing appears before the block has ended without an error.

    While the block runs, no other writer may enter the folder. The property `wall_time` (seconds) is stored in
    a file of its own, so that zoos made twice from one seed have the same bytes in all other files.

    Args:
        path: Folder of the zoo, created if it does not exist. It must not hold a zoo, unless `append` is set.
        storage: Type in which weights are stored: "float32", "float16" or "bfloat16".
        shard_bytes: Size at which a shard of weights is closed, in bytes.
        split: Runs for training, validation and test, stored with the zoo. If `append` is set, it replaces
            the split of the zoo.
        append: Add to the zoo in the folder. Its shards are not changed.

    Raises:
        ZooError: The folder holds a zoo (to append: no zoo) or other files, is a file, or is being written by another
            process.
        WriteError: The folder cannot be created or written.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with ZooWriter(f"{folder}/my_zoo") as writer:
        ...         writer.add(id="a@10", run="a", family="mlp", dataset="mnist", step=10,
        ...                    state={"0.weight": torch.ones(2, 3)}, properties={"test_accuracy": 0.9},
        ...                    hyperparameters={"learning_rate": 0.1})
        ...     sorted(path.name for path in Path(f"{folder}/my_zoo").iterdir())
        ['layouts.json', 'networks.copy.parquet', 'networks.parquet', 'weights-00000.safetensors']
    """

    def __init__(
        self,
        path: Path | str,
        *,
        storage: str = "float32",
        shard_bytes: int = SHARD_BYTES,
        split: Split | None = None,
        append: bool = False,
    ) -> None:
        self._path = Path(path)
        if storage not in STORAGE:
            raise ZooError(f"storage {storage!r} is not known, expected one of {', '.join(STORAGE)}")
        self.split = split
        self._append = append
        self._lock = FolderLock(self._path)
        self._dtype = STORAGE[storage]
        self._shard_bytes = shard_bytes
        self._tables: list[tuple[str, pa.Table]] = []
        self._rows = TableRows()
        self._ids: set[str] = set()
        self._layouts: dict[str, Layout] = {}
        self._layout_ids: dict[Layout, str] = {}
        self._symmetries: dict[str, Symmetry] = {}
        self._symmetry_ids: dict[int, tuple[Symmetry, str]] = {}  # by identity, because a symmetry has no hash
        self._fitting: set[tuple[str, str]] = set()  # ids of symmetries and of layouts that they fit
        self._check_folder()
        self._is_new = not self._path.exists()

    def __enter__(self) -> "ZooWriter":
        if not self._append:
            self._path.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        try:
            self._check_folder()  # again: another writer may have been first
            clear_drafts(self._path)
            first = self._read_base() if self._append else 0
            (self._path / DRAFTS).mkdir()
            self._shards = ShardWriter(self._path / DRAFTS, shard_bytes=self._shard_bytes, first=first)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            clear_drafts(self._path)
            self._lock.release()
            if self._is_new and not any(self._path.iterdir()):
                self._path.rmdir()

    def add(
        self,
        *,
        id: str,
        run: str,
        family: str,
        dataset: str,
        step: int,
        state: Mapping[str, Tensor],
        properties: Mapping[str, Value],
        hyperparameters: Mapping[str, Value],
        symmetry: Symmetry | None = None,
    ) -> None:
        """Adds one checkpoint.

        Args:
            id: Name of the checkpoint, unique in the zoo.
            run: Training run that it comes from. A split keeps the checkpoints of one run together.
            family: Kind of architecture.
            dataset: Data set that it was trained on.
            step: Number of optimiser steps taken.
            state: Tensors by name. Integer tensors are left out.
            properties: Measured values by name. NaN is stored as missing.
            hyperparameters: Training settings by name, without the prefix "config.".
            symmetry: Changes of its weights that keep its function; None if they are not known.

        Raises:
            ZooError: The id is taken, a name is reserved, a weight is not finite or is too large for float16, or the
                symmetry belongs to another network.
        """
        layout, vector = flatten(state)
        self.add_flat(
            id=id, run=run, family=family, dataset=dataset, step=step, layout=layout, vector=vector,
            properties=properties, hyperparameters=hyperparameters, symmetry=symmetry,
        )  # fmt: skip

    def add_flat(
        self,
        *,
        id: str,
        run: str,
        family: str,
        dataset: str,
        step: int,
        layout: Layout,
        vector: Float[Tensor, " entries"],
        properties: Mapping[str, Value],
        hyperparameters: Mapping[str, Value],
        symmetry: Symmetry | None = None,
    ) -> None:
        """Adds one checkpoint whose weights are flat already; otherwise as `add`."""
        if id in self._ids:
            raise ZooError(f"{id} is given twice; ids must differ")
        clash = [n for n in properties if n in RESERVED or n.startswith(HYPERPARAMETER_PREFIX)]
        if clash:
            raise ZooError(f"{id}: a property cannot be called {clash[0]!r}")
        if len(vector) != layout.num_entries or len(vector) == 0:
            raise ZooError(f"{id}: {len(vector)} weights, expected {layout.num_entries} and at least one")
        if not bool((vector.abs() <= LARGEST_WEIGHT).all()):
            raise ZooError(f"{id}: a weight is NaN or larger than {LARGEST_WEIGHT:g}")
        keys: dict[str, Value] = {"layout": self._layout_id(layout), "symmetry": None}
        if symmetry is not None:
            keys["symmetry"] = self._symmetry_id(symmetry, layout, id)
        place = self._shards.add(vector.detach().to("cpu", self._dtype, copy=True).contiguous())
        self._ids.add(id)
        row: dict[str, Value] = {
            "id": id, "run": run, "family": family, "dataset": dataset, "step": step, **keys, **place._asdict(),
        }  # fmt: skip
        row.update(properties)
        row.update({HYPERPARAMETER_PREFIX + name: value for name, value in hyperparameters.items()})
        self._rows.add(row)

    def add_table(
        self,
        where: str,
        table: pa.Table,
        networks: Iterable[tuple[Layout, Tensor]],
        symmetries: Mapping[str, Symmetry] | None = None,
    ) -> None:
        """Adds the rows of another zoo, with the weights as they are stored there.

        Args:
            where: Name of the other zoo in messages.
            table: Rows of the other zoo.
            networks: Layout and stored vector of each row, in order.
            symmetries: Symmetries of these rows by id.

        Raises:
            ZooError: An id is taken.
        """
        ids = table["id"].to_pylist()
        taken = next((id for id in ids if id in self._ids), None)
        if taken is not None:
            raise ZooError(f"{where}: {taken} is in {self._path} already; ids must differ")
        self._ids.update(ids)
        placed: dict[str, list[str | int]] = {name: [] for name in ("layout", "shard", "offset", "checksum")}
        for layout, stored in networks:
            row = {"layout": self._layout_id(layout), **self._shards.add(stored)._asdict()}
            for name, value in row.items():
                placed[name].append(value)
        free = table.select([name for name in table.column_names if name not in placed])
        self._close_rows()
        for name, values in placed.items():
            free = free.append_column(name, pa.array(values))
        self._tables.append((where, free))
        self._symmetries.update(symmetries or {})

    @property
    def table(self) -> pa.Table:
        """The rows added so far, with their durations."""
        self._close_rows()
        return join_tables(self._tables or [(str(self._path), self._rows.table())])

    @property
    def mixed_hyperparameters(self) -> list[str]:
        """One line for each hyper-parameter that will be text because it is a number in some rows, text in others."""
        return self._rows.mixed_hyperparameters()

    def _check_folder(self) -> None:
        if self._path.exists() and not self._path.is_dir():
            raise ZooError(f"{self._path} is a file, expected a folder for the zoo")
        if (self._path / INDEX).exists() != self._append:
            say = "is not a zoo: it has no " + INDEX if self._append else "holds a zoo already; choose another folder"
            raise ZooError(f"{self._path} {say}")
        check_can_write_folder(self._path)
        if self._append or not self._path.exists():
            return
        if (self._path / _MAKING).exists() and not is_locked_here(self._path / _MAKING):
            raise ZooError(f"{self._path} holds a zoo that is being made; choose another folder")
        if not all(_OURS.fullmatch(file.name) for file in self._path.iterdir()):
            raise ZooError(f"{self._path} holds other files; choose a new folder")

    def _read_base(self) -> int:
        """Takes over the content of the zoo, and returns the number of the first new shard."""
        table = read_index(self._path)
        layouts = Layouts.load(self._path / LAYOUTS)
        self._layouts = {key: layouts[key] for key in layouts}
        self._layout_ids = {layout: key for key, layout in self._layouts.items()}
        symmetries = Symmetries.load(self._path / SYMMETRIES)
        self._symmetries = {key: symmetries[key] for key in symmetries}
        self._ids = set(table["id"].to_pylist())
        self._tables = [(str(self._path), table)]
        return next_shard({str(name) for name in table["shard"].to_pylist()})

    def _layout_id(self, layout: Layout) -> str:
        if layout not in self._layout_ids:
            self._layout_ids[layout] = layout.id
            self._layouts.setdefault(layout.id, layout)
        return self._layout_ids[layout]

    def _symmetry_id(self, symmetry: Symmetry, layout: Layout, where: str) -> str:
        if id(symmetry) not in self._symmetry_ids:
            self._symmetry_ids[id(symmetry)] = symmetry, symmetry_id(symmetry)
        key = self._symmetry_ids[id(symmetry)][1]
        if (key, layout.id) not in self._fitting:
            check_symmetry_fits(symmetry, layout, where)
            self._fitting.add((key, layout.id))
        self._symmetries.setdefault(key, symmetry)
        return key

    def _close_rows(self) -> None:
        """Makes a table of the rows that were added one by one, so that those of another zoo can follow."""
        if len(self._rows):
            self._tables.append((str(self._path), self._rows.table()))
            self._rows = TableRows()

    def _finish(self) -> None:
        """Writes all files into the drafts, and publishes them."""
        table, drafts = self.table, self._path / DRAFTS
        self._shards.close()
        names = [*self._shards.names, LAYOUTS, INDEX]
        write_layouts(drafts / LAYOUTS, self._layouts)
        if self._symmetries:
            write_symmetries(drafts / SYMMETRIES, self._symmetries)
            names.append(SYMMETRIES)
        elif not self._append:
            (self._path / SYMMETRIES).unlink(missing_ok=True)  # of a writer that died before its index moved
        if WALL_TIME in table.column_names:
            write_timings(drafts / TIMINGS, table)
            names.append(TIMINGS)
        elif not self._append:
            (self._path / TIMINGS).unlink(missing_ok=True)  # of a writer that died before its index moved
        write_index(drafts / INDEX, table)
        write_index(drafts / COPY, table)
        names.append(COPY)
        if self.split is not None:
            self.split.save(drafts / SPLIT)  # after the index, see `clear_drafts`
            names.append(SPLIT)
        publish(self._path, names)
