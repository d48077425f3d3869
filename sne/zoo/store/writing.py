"""Writing a zoo folder: shards of flat vectors, the layouts, and the index last."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from sne.errors import ZooError
from sne.symmetry import Symmetry
from sne.work import replacing
from sne.zoo.store.drafts import DRAFTS, clear_drafts, publish
from sne.zoo.store.index import COPY, TIMINGS, WALL_TIME, IndexRows, join_tables, read_index, write_index, write_timings
from sne.zoo.store.index import HYPERPARAMETER_PREFIX as HYPERPARAMETER_PREFIX
from sne.zoo.store.index import INDEX as INDEX
from sne.zoo.store.index import RESERVED as RESERVED
from sne.zoo.store.index import Value as Value
from sne.zoo.store.layout import LAYOUTS as LAYOUTS
from sne.zoo.store.layout import Layout, Layouts, flatten, write_layouts
from sne.zoo.store.locking import FolderLock, is_locked_here
from sne.zoo.store.shards import SHARD_NAME, ShardWriter
from sne.zoo.store.shards import STORAGE as STORAGE
from sne.zoo.store.splitting import SPLIT, Split
from sne.zoo.store.symmetries import SYMMETRIES, Symmetries, check_fits, symmetry_id, write_symmetries

LARGEST_WEIGHT = 65504.0  # of float16, so that what a zoo may hold does not depend on how it is stored
_MAKING = ".making"  # the maker of a zoo holds its lock; all other writers keep out
SHARD_BYTES = 64 << 20
_OURS = re.compile(
    r"weights-\d{5,}\.safetensors|(layouts|symmetries|split|recipe)\.json|timings\.parquet|networks\.copy\.parquet|\.making|\.writing|\..*\.partial"
)


class ZooWriter:
    """Writes a zoo folder; a context manager. What was added appears when the block ends well, and not before.

    While the block runs no other writer is let into the folder. The property `wall_time` (seconds, as measured) goes
    into a file of its own, so that zoos made twice from one seed have the same bytes in all other files.

    Args:
        path: the folder; made if missing. It must not hold a zoo already, unless `append` is set.
        storage: "float32", "float16" or "bfloat16", how weights are stored.
        shard_bytes: size at which a shard of weights is closed.
        split: runs to train, select and test on, stored with the zoo; while appending, in place of the zoo's own.
        append: add to the zoo that stands in the folder; its shards stay as they are.

    Raises:
        ZooError: the folder holds a zoo (or, to append, none) or other files, is not a folder, or another process
            writes to it.
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
        self._rows = IndexRows()
        self._ids: set[str] = set()
        self._layouts: dict[str, Layout] = {}
        self._layout_ids: dict[Layout, str] = {}
        self._symmetries: dict[str, Symmetry] = {}
        self._symmetry_ids: dict[int, tuple[Symmetry, str]] = {}  # by identity, for a symmetry has no hash
        self._fitting: set[tuple[str, str]] = set()  # ids of symmetries, with those of layouts that they fit
        self._check_folder()

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
            id: its name, unique in the zoo.
            run: the training run it comes from; checkpoints of one run are never cut apart by a split.
            family: the kind of architecture.
            dataset: what it was trained on.
            step: optimiser steps taken.
            state: its tensors by name; integer tensors are left out.
            properties: what was measured. NaN is stored as missing.
            hyperparameters: how it was trained, names without the prefix "config.".
            symmetry: which changes of its weights leave what it does alone; None where that is not known.

        Raises:
            ZooError: the id is taken, a name is reserved, a weight is not finite or beyond float16, or the symmetry is
                of another network.
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
            raise ZooError(f"{id} comes twice; ids must differ")
        clash = [n for n in properties if n in RESERVED or n.startswith(HYPERPARAMETER_PREFIX)]
        if clash:
            raise ZooError(f"{id}: a property cannot be called {clash[0]!r}")
        if len(vector) != layout.num_entries or len(vector) == 0:
            raise ZooError(f"{id}: {len(vector)} weights came, its layout has {layout.num_entries} (at least one)")
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
        """Adds rows of another zoo, weights as they are stored there.

        Args:
            where: what messages call the other zoo.
            table: its rows.
            networks: layout and stored vector of each row, in order.
            symmetries: those that its rows name, by id.

        Raises:
            ZooError: an id is taken.
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
        """The rows that stand so far, durations among them."""
        self._close_rows()
        return join_tables(self._tables or [(str(self._path), self._rows.table())])

    def _check_folder(self) -> None:
        if self._path.exists() and not self._path.is_dir():
            raise ZooError(f"{self._path} is a file, expected a folder for the zoo")
        if (self._path / INDEX).exists() != self._append:
            say = "is not a zoo: it has no " + INDEX if self._append else "holds a zoo already; choose another folder"
            raise ZooError(f"{self._path} {say}")
        if self._append or not self._path.exists():
            return
        if (self._path / _MAKING).exists() and not is_locked_here(self._path / _MAKING):
            raise ZooError(f"{self._path} holds a zoo that is being made; choose another folder")
        if not all(_OURS.fullmatch(file.name) for file in self._path.iterdir()):
            raise ZooError(f"{self._path} holds other files; choose a new folder")

    def _read_base(self) -> int:
        """Takes over what the zoo holds; the number of the first new shard."""
        table = read_index(self._path)
        if "offset" not in table.column_names:
            raise ZooError(f"{self._path} has the first format of zoos; `sne zoo merge NEW {self._path}` renews it")
        layouts = Layouts.load(self._path / LAYOUTS)
        self._layouts = {key: layouts[key] for key in layouts}
        self._layout_ids = {layout: key for key, layout in self._layouts.items()}
        symmetries = Symmetries.load(self._path / SYMMETRIES)
        self._symmetries = {key: symmetries[key] for key in symmetries}
        self._ids = set(table["id"].to_pylist())
        self._tables = [(str(self._path), table)]
        numbers = [match[1] for name in set(table["shard"].to_pylist()) if (match := SHARD_NAME.fullmatch(str(name)))]
        return max((int(number) for number in numbers), default=-1) + 1

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
            check_fits(symmetry, layout, where)
            self._fitting.add((key, layout.id))
        self._symmetries.setdefault(key, symmetry)
        return key

    def _close_rows(self) -> None:
        """Turns rows that came one by one into a table, so that those of another zoo can follow."""
        if len(self._rows):
            self._tables.append((str(self._path), self._rows.table()))
            self._rows = IndexRows()

    def _finish(self) -> None:
        self._shards.close()
        table, drafts = self.table, self._path / DRAFTS
        names = [*self._shards.names, LAYOUTS, INDEX]
        with replacing(drafts / LAYOUTS) as path:
            write_layouts(path, self._layouts)
        if self._symmetries:
            with replacing(drafts / SYMMETRIES) as path:
                write_symmetries(path, self._symmetries)
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
