"""Reading a zoo folder: the index whole, the weights one tensor at a time from memory-mapped shards."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sne.networks import Layer, Network, Note, TensorInfo, recognise
from sne.zoo.errors import ZooError
from sne.zoo.layout import Layout, Slot
from sne.zoo.splitting import SPLIT, Split
from sne.zoo.writing import HYPERPARAMETER_PREFIX, INDEX, LAYOUTS, RESERVED


class Zoo:
    """Trained networks with measured properties, one row a checkpoint. Made by `Zoo.open`."""

    def __init__(self, path: Path, table: pa.Table, layouts: Mapping[str, Layout], split: Split | None) -> None:
        self.path = path
        self.table = table
        self.split = split
        self.ids: list[str] = table["id"].to_pylist()
        self.runs: list[str] = table["run"].to_pylist()
        self.families: list[str] = table["family"].to_pylist()
        self._row_layouts: list[str] = table["layout"].to_pylist()
        self._row_shards: list[str] = table["shard"].to_pylist()
        self._layouts = dict(layouts)
        self._cache: dict[str, _RecognisedLayout] = {}
        self._shards: dict[str, Any] = {}

    @classmethod
    def open(cls, path: Path | str) -> "Zoo":
        """Opens a zoo folder; reads the index and the layouts, no weights.

        Args:
            path: the folder.

        Raises:
            ZooError: it is not a zoo, or its index, layouts or split cannot be read.
        """
        path = Path(path)
        if not (path / INDEX).is_file():
            raise ZooError(f"{path} is not a zoo: it has no {INDEX}")
        try:
            table = pq.read_table(path / INDEX)
        except (pa.ArrowException, OSError) as error:
            raise ZooError(f"{path / INDEX} cannot be read: {str(error).splitlines()[0]}") from None
        missing = [name for name in RESERVED if name not in table.column_names]
        if missing:
            raise ZooError(f"{path / INDEX} lacks the column {missing[0]!r}")
        split = Split.load(path / SPLIT) if (path / SPLIT).is_file() else None
        return cls(path, table, _read_layouts(path / LAYOUTS), split)

    def __len__(self) -> int:
        return len(self.ids)

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
            values = [np.nan if v is None else v for v in column.to_pylist()]
            return np.array(values, dtype=np.float64)
        return np.array([None if v is None else str(v) for v in column.to_pylist()], dtype=object)

    def network(self, row: int) -> Network:
        """The network of one row; its values are read when asked for.

        Raises:
            ZooError: the row's layout is not described.
        """
        layout = self._recognised(row)
        source = ZooTensors(self, row, layout)
        return Network(self.ids[row], layout.layers, source, layout.notes)

    def networks(self, rows: Sequence[int] | np.ndarray) -> list[Network]:
        """The networks of some rows, in the order given."""
        return [self.network(int(row)) for row in rows]

    def weights(self, row: int) -> Float[Tensor, " entries"]:
        """All weights of a row as one flat float32 vector, in the order of its layout."""
        return self._slice(row).to(torch.float32)

    def num_weights(self, row: int) -> int:
        """How many weights the network of a row has."""
        return self.layout(row).num_entries

    def layout(self, row: int) -> Layout:
        """How the flat vector of a row is cut into tensors.

        Raises:
            ZooError: the layout is not described.
        """
        key = self._row_layouts[row]
        if key not in self._layouts:
            raise ZooError(f"{self.path / LAYOUTS} does not describe layout {key!r}")
        return self._layouts[key]

    def _recognised(self, row: int) -> "_RecognisedLayout":
        key, layout = self._row_layouts[row], self.layout(row)
        if key not in self._cache:
            infos = {s.name: TensorInfo(s.name, s.shape, s.dtype) for s in layout.slots}
            layers, notes = recognise(infos)
            slots = {s.name: s for s in layout.slots}
            self._cache[key] = _RecognisedLayout(infos, slots, tuple(layers), tuple(notes))
        return self._cache[key]

    def _slice(self, row: int, slot: Slot | None = None) -> Tensor:
        """A row's whole vector, or one slot of it, as stored."""
        shard, key = self._row_shards[row], self.ids[row]
        path = self.path / shard
        try:
            if shard not in self._shards:
                if Path(shard).name != shard:
                    raise ZooError(f"{self.path / INDEX}: shard {shard!r} is not a plain file name")
                self._shards[shard] = safe_open(path, framework="pt")
            view = self._shards[shard].get_slice(key)
            expected = self.layout(row).num_entries
            if view.get_shape() != [expected]:
                raise ZooError(f"{path}: {key} has shape {view.get_shape()}, its layout has {expected} entries")
            return view[:] if slot is None else view[slot.offset : slot.offset + slot.num_entries]
        except (SafetensorError, OSError) as error:
            raise ZooError(f"{path}: {key} cannot be read: {error}") from None


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

    def load(self, name: str) -> Tensor:
        """The values of one tensor, float32."""
        slot = self._layout.slots[name]
        return self._zoo._slice(self._row, slot).to(torch.float32).view(slot.shape)


def _read_layouts(path: Path) -> dict[str, Layout]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ZooError(f"{path} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ZooError(f"{path}: expected an object from layout ids to lists of tensors")
    return {key: Layout.from_json(slots, f"{path}: {key}") for key, slots in values.items()}
