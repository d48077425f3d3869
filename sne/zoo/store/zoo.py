"""Reading a zoo folder: the index whole, the weights one tensor at a time from memory-mapped shards."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sne.errors import ZooError
from sne.networks import Layer, Network, Note, TensorInfo, recognise
from sne.symmetry import Symmetry
from sne.zoo.store.drafts import split_file
from sne.zoo.store.index import HYPERPARAMETER_PREFIX, RESERVED, read_index
from sne.zoo.store.layout import LAYOUTS, Layout, Layouts, Slot
from sne.zoo.store.shards import Shards
from sne.zoo.store.splitting import Split
from sne.zoo.store.symmetries import SYMMETRIES, Symmetries
from sne.zoo.store.twins import group_runs

_MOST_RECOGNISED = 4096  # layouts whose layers are kept at hand; a zoo of MLPs may have one for each network


class Zoo:
    """Trained networks with measured properties, one row a checkpoint. Made by `Zoo.open`."""

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
        """Opens a zoo folder; reads the index, the layouts and the symmetries, no weights.

        Args:
            path: the folder.

        Raises:
            ZooError: it is not a zoo, or its index, layouts, symmetries or split cannot be read.
        """
        path = Path(path)
        table, split = read_index(path), split_file(path)
        symmetries = Symmetries.load(path / SYMMETRIES)
        return cls(
            path, table, Layouts.load(path / LAYOUTS), Split.load(split) if split.is_file() else None, symmetries
        )

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def ids(self) -> list[str]:
        """The name of each row."""
        return self._list("id")

    @cached_property
    def runs(self) -> list[str]:
        """The training run of each row."""
        return self._list("run")

    @cached_property
    def families(self) -> list[str]:
        """The family of each row."""
        return self._list("family")

    @cached_property
    def groups(self) -> list[str]:
        """The group of each row: what no split may part (see `sne.zoo.store.twins`); its run, where it has no twins."""
        return group_runs(self.table)

    @property
    def property_names(self) -> list[str]:
        """Columns that were measured: all that are neither reserved nor hyper-parameters."""
        return [n for n in self.table.column_names if n not in RESERVED and not n.startswith(HYPERPARAMETER_PREFIX)]

    @property
    def hyperparameter_names(self) -> list[str]:
        """Columns that say how a network was trained, with their prefix "config."."""
        return [n for n in self.table.column_names if n.startswith(HYPERPARAMETER_PREFIX)]

    def column(self, name: str) -> np.ndarray:
        """One column: float64 with NaN where missing for numbers and booleans, else objects, str or None.

        Raises:
            ZooError: there is no such column.
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
        """The network of one row; its values are read when asked for.

        Raises:
            ZooError: the row's layout is not described.
        """
        layout = self._recognise(row)
        source = ZooTensors(self, row, layout)
        return Network(self.ids[row], layout.layers, source, layout.notes)

    def networks(self, rows: Sequence[int] | np.ndarray) -> list[Network]:
        """The networks of some rows, in the order given."""
        return [self.network(int(row)) for row in rows]

    def weights(self, row: int) -> Float[Tensor, " entries"]:
        """All weights of a row as one flat float32 vector, in the order of its layout.

        Raises:
            ZooError: the row's shard or layout is missing or damaged.
        """
        return self.stored(row).to(torch.float32, copy=True)

    def weight_rows(
        self, rows: Sequence[int] | np.ndarray
    ) -> tuple[Float[Tensor, " total"], Int[Tensor, " rows_plus_one"]]:
        """The weights of many rows at once, the quickest way through a zoo.

        Args:
            rows: row numbers, in any order.

        Returns:
            The rows' vectors end to end in float32, and where each begins, with the end of the last. Rows of one
            layout make a matrix: `vectors.view(len(rows), -1)`.

        Raises:
            ZooError: the shard or layout of a row is missing or damaged.
        """
        stored = [self.stored(int(row)) for row in rows]
        starts = torch.zeros(len(stored) + 1, dtype=torch.int64)
        starts[1:] = torch.tensor([len(vector) for vector in stored], dtype=torch.int64).cumsum(0)
        vectors = torch.empty(int(starts[-1]), dtype=torch.float32)
        for begin, vector in zip(starts.tolist(), stored, strict=False):
            vectors[begin : begin + len(vector)] = vector
        return vectors, starts

    def stored(self, row: int) -> Float[Tensor, " entries"]:
        """All weights of a row in the type they are stored in: a view of the shard, to be read and never written to.

        Raises:
            ZooError: the row's shard or layout is missing or damaged.
        """
        if row in self._other_weights:
            return self._other_weights[row]
        shard, count = self._row_shards[row], self.layout(row).num_entries
        if not self._row_offsets:
            return self._shards.vector_by_id(str(shard), self.ids[row], count)
        offset = self._row_offsets[row]
        if not isinstance(shard, str) or not isinstance(offset, int):
            raise ZooError(f"{self.path}: {self.ids[row]} points nowhere (shard {shard}, offset {offset})")
        return self._shards.vector(shard, offset, count)

    def num_weights(self, row: int) -> int:
        """How many weights the network of a row has."""
        return self.layout(row).num_entries

    def layout(self, row: int) -> Layout:
        """How the flat vector of a row is cut into tensors.

        Raises:
            ZooError: the layout is not described, or its description is damaged.
        """
        try:
            return self.layouts[self._row_layouts[row]]
        except KeyError:
            raise ZooError(f"{self.path / LAYOUTS} does not describe layout {self._row_layouts[row]!r}") from None

    def symmetry(self, row: int) -> Symmetry | None:
        """Which changes of a row's weights leave what the network does alone; None where that is not known.

        Raises:
            ZooError: the symmetry is not described, or its description is damaged.
        """
        key = self._row_symmetries[row] if self._row_symmetries else None
        try:
            return None if key is None else self.symmetries[key]
        except KeyError:
            raise ZooError(f"{self.path / SYMMETRIES} does not describe symmetry {key!r}") from None

    def with_weights(self, weights: Mapping[int, Float[Tensor, " entries"]]) -> "Zoo":
        """The same zoo as if some rows had other weights; nothing is written.

        Args:
            weights: of these rows, each as long as the vector that the row has; kept in memory.

        Raises:
            ZooError: a vector has another length.
        """
        for row, vector in weights.items():
            if len(vector) != self.num_weights(row):
                raise ZooError(f"{self.ids[row]}: {len(vector)} weights came, expected {self.num_weights(row)}")
        other = copy.copy(self)
        other._other_weights = {**self._other_weights, **weights}
        return other

    @cached_property
    def _row_symmetries(self) -> list[Any]:
        """Empty in zoos that were written before symmetries were kept."""
        return self.table["symmetry"].to_pylist() if "symmetry" in self.table.column_names else []

    @cached_property
    def _row_layouts(self) -> list[Any]:
        return self._list("layout")

    @cached_property
    def _row_shards(self) -> list[Any]:
        return self._list("shard")

    @cached_property
    def _row_offsets(self) -> list[Any]:
        """Empty in the first format of zoos."""
        return self.table["offset"].to_pylist() if "offset" in self.table.column_names else []

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
    """A layout with the layers recognised in it, shared by all rows that have it."""

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
        """Folder and id."""
        return f"{self._zoo.path}:{self._zoo.ids[self._row]}"

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Every stored tensor, by name."""
        return self._layout.infos

    @property
    def symmetry(self) -> Symmetry | None:
        """Which changes of the weights leave what the network does alone; None where that is not known."""
        return self._zoo.symmetry(self._row)

    def load(self, name: str) -> Tensor:
        """The values of one tensor, float32."""
        slot = self._layout.slots[name]
        piece = self._zoo.stored(self._row)[slot.offset : slot.offset + slot.num_entries]
        return piece.to(torch.float32, copy=True).view(slot.shape)
