"""Reading a zoo folder: the index as a whole, the weights one tensor at a time from memory-mapped shards."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.errors import ZooError, counted
from sne.networks import Layer, Network, Note, TensorInfo, TensorSource, recognise
from sne.symmetry import Symmetry
from sne.zoo.store.columns import HYPERPARAMETER_PREFIX, RESERVED, some
from sne.zoo.store.descriptions import LAYOUTS, SYMMETRIES, Layouts, Symmetries
from sne.zoo.store.folder import split_file
from sne.zoo.store.index import read_index
from sne.zoo.store.layout import Layout, Slot
from sne.zoo.store.shards import Shards
from sne.zoo.store.split import Split
from sne.zoo.store.splitting import group_runs

_MOST_RECOGNISED = 4096  # layouts whose layers are kept in memory; a zoo of MLPs may have one for each network


class Zoo:
    """Trained networks with measured properties, one row per checkpoint. Created by `Zoo.open`.

    Args:
        path: Folder of the zoo.
        table: Rows of the index.
        layouts: Layouts by id.
        split: Runs for training, validation and test; None if the zoo has no split.
        symmetries: Symmetries by id.
    """

    def __init__(
        self,
        path: Path,
        table: pa.Table,
        layouts: Layouts | Mapping[str, Layout],
        split: Split | None,
        symmetries: Symmetries | Mapping[str, Symmetry] | None = None,
    ) -> None:
        self.path = path
        self.table = table
        self.layouts = layouts
        self.split = split
        self.symmetries = {} if symmetries is None else symmetries
        self._other_weights: Mapping[int, Tensor] = {}
        self._recognised: dict[str, _RecognisedLayout] = {}
        self._shards = Shards(path)

    @classmethod
    def open(cls, path: Path | str) -> "Zoo":
        """Opens a zoo folder. Reads the index, the layouts and the symmetries, but no weights.

        Args:
            path: Folder of the zoo.

        Raises:
            ZooError: The folder is not a zoo, or its index, layouts, symmetries or split cannot be read.
        """
        path = Path(path)
        table, split = read_index(path), split_file(path)
        symmetries = Symmetries.load(path / SYMMETRIES)
        return cls(
            path, table, Layouts.load(path / LAYOUTS), Split.load(split) if split.is_file() else None, symmetries
        )

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        families = list(dict.fromkeys(self.families))
        return (
            f"Zoo({str(self.path)!r}: {counted(len(self), 'network')}, {counted(len(set(self.runs)), 'run')}, "
            f"families: {some(families, 6) or 'none'}; properties: {some(self.property_names, 8) or 'none'})"
        )

    @cached_property
    def ids(self) -> list[str]:
        """Id of each row."""
        return self._list("id")

    @cached_property
    def runs(self) -> list[str]:
        """Training run of each row."""
        return self._list("run")

    @cached_property
    def families(self) -> list[str]:
        """Family of each row."""
        return self._list("family")

    @cached_property
    def groups(self) -> list[str]:
        """Group of each row, which a split keeps together: its run, or the run of its first twin, see `group_runs`."""
        return group_runs(self.table)

    @property
    def property_names(self) -> list[str]:
        """Columns of measured values: all that are neither reserved nor hyper-parameters."""
        return [n for n in self.table.column_names if n not in RESERVED and not n.startswith(HYPERPARAMETER_PREFIX)]

    @property
    def hyperparameter_names(self) -> list[str]:
        """Columns of training settings, with their prefix "config."."""
        return [n for n in self.table.column_names if n.startswith(HYPERPARAMETER_PREFIX)]

    def column(self, name: str) -> np.ndarray:
        """Returns one column.

        Args:
            name: Name of the column.

        Returns:
            For numbers and booleans float64, with NaN where a value is missing; else objects, str or None.

        Raises:
            ZooError: There is no such column.
        """
        if name not in self.table.column_names:
            known = ", ".join(self.property_names + self.hyperparameter_names)
            raise ZooError(f"{self.path} has no column {name!r}; it has {known}")
        column = self.table[name]
        kind = column.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            return column.cast(pa.float64(), safe=False).to_numpy().copy()
        return np.array([None if v is None else str(v) for v in column.to_pylist()], dtype=object)

    def network(self, row: int) -> Network:
        """Returns the network of one row. Its weights are read when they are used.

        Raises:
            ZooError: The layout of the row is missing or damaged.
        """
        layout = self._recognise(row)
        source = ZooTensors(self, row, layout)
        return Network(self.ids[row], layout.layers, source, layout.notes)

    def networks(self, rows: Sequence[int] | np.ndarray) -> list[Network]:
        """Returns the networks of some rows, in the order given."""
        return [self.network(int(row)) for row in rows]

    def weights(self, row: int) -> Float[Tensor, " entries"]:
        """Returns all weights of a row as one flat float32 vector, in the order of its layout.

        Raises:
            ZooError: The shard or layout of the row is missing or damaged.
        """
        return self.stored(row).to(torch.float32, copy=True)

    def weight_rows(
        self, rows: Sequence[int] | np.ndarray
    ) -> tuple[Float[Tensor, " total"], Int[Tensor, " rows_plus_one"]]:
        """Returns the weights of many rows at once; this is the fastest way to read a zoo.

        Args:
            rows: Row numbers, in any order.

        Returns:
            The vectors of the rows end to end in float32, and the index at which each begins, followed by the end of
            the last. Rows of one layout form a matrix: `vectors.view(len(rows), -1)`.

        Raises:
            ZooError: The shard or layout of a row is missing or damaged.
        """
        stored = [self.stored(int(row)) for row in rows]
        starts = torch.zeros(len(stored) + 1, dtype=torch.int64)
        starts[1:] = torch.tensor([len(vector) for vector in stored], dtype=torch.int64).cumsum(0)
        vectors = torch.empty(int(starts[-1]), dtype=torch.float32)
        for begin, vector in zip(starts.tolist(), stored, strict=False):
            vectors[begin : begin + len(vector)] = vector
        return vectors, starts

    def stored(self, row: int) -> Float[Tensor, " entries"]:
        """Returns all weights of a row in their stored type, as a view of the shard that must not be changed.

        Raises:
            ZooError: The shard or layout of the row is missing or damaged.
        """
        if row in self._other_weights:
            return self._other_weights[row]
        shard, offset, count = self._row_shards[row], self._row_offsets[row], self.layout(row).num_entries
        if not isinstance(shard, str) or not isinstance(offset, int):
            raise ZooError(f"{self.path}: {self.ids[row]} has no place in a shard (shard {shard}, offset {offset})")
        return self._shards.vector(shard, offset, count)

    def stored_slices(self, rows: Sequence[int], start: int, count: int) -> Float[Tensor, "rows count"]:
        """Returns the same slice of the flat vectors of rows of one layout, in float32.

        Args:
            rows: Rows of one layout.
            start: First entry of the slice in the flat vector.
            count: Number of entries.

        Raises:
            ZooError: The shard or layout of a row is missing or damaged.
        """
        length = self.layout(rows[0]).num_entries
        pieces = [vectors.view(-1, length)[:, start : start + count] for vectors in self._stored_together(rows, length)]
        return torch.cat(pieces).to(torch.float32)

    def _stored_together(self, rows: Sequence[int], length: int) -> Iterator[Float[Tensor, " entries"]]:
        """Yields the flat vectors of rows of one layout; those of rows that follow one another in a shard as one."""
        shards, offsets, others = self._row_shards, self._row_offsets, self._other_weights
        begin = 0
        while begin < len(rows):
            row, end = rows[begin], begin + 1
            shard, offset = shards[row], offsets[row]
            if others or not isinstance(shard, str) or not isinstance(offset, int):
                yield self.stored(row)
            else:
                while end < len(rows) and (shards[rows[end]], offsets[rows[end]]) == (
                    shard,
                    offset + (end - begin) * length,
                ):
                    end += 1
                yield self._shards.vector(shard, offset, (end - begin) * length)
            begin = end

    def num_weights(self, row: int) -> int:
        """Returns the number of weights of a row."""
        return self.layout(row).num_entries

    def layout(self, row: int) -> Layout:
        """Returns the layout of a row, which cuts its flat vector into tensors.

        Raises:
            ZooError: The layout is missing or damaged.
        """
        try:
            return self.layouts[self._row_layouts[row]]
        except KeyError:
            raise ZooError(f"{self.path / LAYOUTS} has no layout {self._row_layouts[row]!r}") from None

    def symmetry(self, row: int) -> Symmetry | None:
        """Returns the changes of a row's weights that keep the network's function; None if they are not known.

        Raises:
            ZooError: The symmetry is missing or damaged.
        """
        key = self._row_symmetries[row]
        try:
            return None if key is None else self.symmetries[key]
        except KeyError:
            raise ZooError(f"{self.path / SYMMETRIES} has no symmetry {key!r}") from None

    def with_weights(self, weights: Mapping[int, Float[Tensor, " entries"]]) -> "Zoo":
        """Returns the same zoo with other weights for some rows. Nothing is written.

        Args:
            weights: Flat vectors by row, kept in memory. Each is as long as the vector that it replaces.

        Raises:
            ZooError: A vector has another length.
        """
        for row, vector in weights.items():
            if len(vector) != self.num_weights(row):
                raise ZooError(f"{self.ids[row]}: {len(vector)} weights, expected {self.num_weights(row)}")
        other = copy.copy(self)
        other._other_weights = {**self._other_weights, **weights}
        return other

    @cached_property
    def _row_symmetries(self) -> list[Any]:
        return self.table["symmetry"].to_pylist()  # None stays None, which NumPy would not grant

    @cached_property
    def _row_layouts(self) -> list[Any]:
        return self._list("layout")

    @cached_property
    def _row_shards(self) -> list[Any]:
        return self._list("shard")

    @cached_property
    def _row_offsets(self) -> list[Any]:
        return self.table["offset"].to_pylist()

    def _list(self, name: str) -> list[Any]:
        return self.table[name].to_numpy().tolist()

    def _recognise(self, row: int) -> "_RecognisedLayout":
        key, layout = self._row_layouts[row], self.layout(row)
        if key not in self._recognised:
            infos = {s.name: TensorInfo(s.name, s.shape, s.dtype) for s in layout.slots}
            layers, notes = recognise(infos)
            slots = {s.name: s for s in layout.slots}
            if len(self._recognised) >= _MOST_RECOGNISED:
                self._recognised.clear()
            self._recognised[key] = _RecognisedLayout(infos, slots, tuple(layers), tuple(notes))
        return self._recognised[key]


@dataclass(frozen=True)
class _RecognisedLayout:
    """A layout and the layers recognised in it, shared by all rows that have it."""

    infos: Mapping[str, TensorInfo]
    slots: Mapping[str, Slot]
    layers: tuple[Layer, ...]
    notes: tuple[Note, ...]


class ZooTensors:
    """The tensors of one row of a zoo; a `TensorSource`."""

    def __init__(self, zoo: Zoo, row: int, layout: _RecognisedLayout) -> None:
        self._zoo = zoo
        self._row = row
        self._layout = layout

    @property
    def name(self) -> str:
        """Folder of the zoo and id of the row."""
        return f"{self._zoo.path}:{self._zoo.ids[self._row]}"

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Name, shape and type of every stored tensor, by name."""
        return self._layout.infos

    @property
    def symmetry(self) -> Symmetry | None:
        """Changes of the weights that keep the network's function; None if they are not known."""
        return self._zoo.symmetry(self._row)

    def load(self, name: str) -> Tensor:
        """Returns the values of one tensor in float32."""
        slot = self._layout.slots[name]
        piece = self._zoo.stored(self._row)[slot.offset : slot.offset + slot.num_entries]
        return piece.to(torch.float32, copy=True).view(slot.shape)

    def load_range(self, name: str, start: int, stop: int) -> Tensor:
        """Returns some entries of one tensor in float32."""
        slot = self._layout.slots[name]
        return self._zoo.stored(self._row)[slot.offset + start : slot.offset + stop].to(torch.float32, copy=True)

    def load_stack(self, name: str, sources: Sequence[TensorSource]) -> Tensor | None:
        """Returns one tensor of several rows of a layout in float32; rows that are neighbours are read at once."""
        rows: list[int] = []
        for source in sources:
            if not isinstance(source, ZooTensors) or source._zoo is not self._zoo or source._layout is not self._layout:
                return None
            rows.append(source._row)
        slot = self._layout.slots[name]
        return self._zoo.stored_slices(rows, slot.offset, slot.num_entries).view(len(rows), *slot.shape)
