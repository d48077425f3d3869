"""Writing a zoo folder: shards of flat vectors, the layouts, and the index last."""

import json
import re
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from sne.zoo.atomic import write_atomically
from sne.zoo.errors import ZooError
from sne.zoo.layout import Layout, flatten
from sne.zoo.splitting import SPLIT, Split

INDEX = "networks.parquet"
LAYOUTS = "layouts.json"
RESERVED = ("id", "run", "family", "dataset", "step", "layout", "shard", "checksum")
HYPERPARAMETER_PREFIX = "config."
STORAGE = {"float32": torch.float32, "float16": torch.float16}
LARGEST_WEIGHT = 65504.0  # of float16, so that what a zoo may hold does not depend on how it is stored
_DRAFTS = ".writing"
_OURS = re.compile(r"weights-\d{5}\.safetensors|layouts\.json|split\.json|recipe\.json|\.making|\.writing|\..*\.draft")

Value = str | int | float | bool | None


class ZooWriter:
    """Writes a zoo folder; a context manager. The zoo appears when the block ends well, and not before.

    Args:
        path: the folder; made if missing. It must not hold a zoo already.
        storage: "float32" or "float16", how weights are stored.
        shard_bytes: size at which a shard of weights is closed.
        split: runs to train, select and test on, stored with the zoo.

    Raises:
        ZooError: the folder holds a zoo or other files, or is not a folder.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        storage: str = "float32",
        shard_bytes: int = 64 << 20,
        split: Split | None = None,
    ) -> None:
        self._path = Path(path)
        if storage not in STORAGE:
            raise ZooError(f"storage {storage!r} is not known, expected one of {', '.join(STORAGE)}")
        if self._path.exists() and not self._path.is_dir():
            raise ZooError(f"{self._path} is a file, expected a folder for the zoo")
        if (self._path / INDEX).exists():
            raise ZooError(f"{self._path} holds a zoo already; choose another folder")
        if self._path.exists() and not all(_OURS.fullmatch(file.name) for file in self._path.iterdir()):
            raise ZooError(f"{self._path} holds other files; choose a new folder")
        self._split = split
        self._drafts = self._path / _DRAFTS
        self._dtype = STORAGE[storage]
        self._shard_bytes = shard_bytes
        self._shard: dict[str, Tensor] = {}
        self._shard_size = 0
        self._num_shards = 0
        self._rows: list[dict[str, Value]] = []
        self._ids: set[str] = set()
        self._layouts: dict[str, Layout] = {}

    def __enter__(self) -> "ZooWriter":
        shutil.rmtree(self._drafts, ignore_errors=True)
        self._drafts.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._drafts, ignore_errors=True)

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

        Raises:
            ZooError: the id is taken, a name is reserved, or a weight is not finite or beyond float16.
        """
        layout, vector = flatten(state)
        self.add_flat(
            id=id, run=run, family=family, dataset=dataset, step=step, layout=layout, vector=vector,
            properties=properties, hyperparameters=hyperparameters,
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
        stored = vector.to(self._dtype).contiguous()
        size = stored.numel() * stored.element_size()
        if self._shard and self._shard_size + size > self._shard_bytes:
            self._close_shard()
        self._ids.add(id)
        self._shard[id] = stored
        self._shard_size += size
        self._layouts.setdefault(layout.id, layout)
        self._rows.append(
            {
                "id": id, "run": run, "family": family, "dataset": dataset, "step": step,
                "layout": layout.id, "shard": _shard_name(self._num_shards), "checksum": checksum(stored),
            }
            | dict(properties)
            | {HYPERPARAMETER_PREFIX + name: value for name, value in hyperparameters.items()}
        )  # fmt: skip

    def _close_shard(self) -> None:
        shard = self._shard
        write_atomically(self._drafts / _shard_name(self._num_shards), lambda p: save_file(shard, p))
        self._shard, self._shard_size = {}, 0
        self._num_shards += 1

    def _finish(self) -> None:
        if self._shard:
            self._close_shard()
        layouts = {key: layout.to_json() for key, layout in self._layouts.items()}
        write_atomically(self._drafts / LAYOUTS, lambda p: _write_json(p, layouts))
        table = _table(self._rows)
        write_atomically(self._drafts / INDEX, lambda p: pq.write_table(table, p))
        if self._split is not None:
            self._split.save(self._path / SPLIT)
        names = [_shard_name(i) for i in range(self._num_shards)]
        for name in [*names, LAYOUTS, INDEX]:  # the index last: with it the folder becomes a zoo
            (self._drafts / name).replace(self._path / name)


def checksum(stored: Tensor) -> str:
    """CRC-32 of a tensor's bytes as they are stored, eight hex digits."""
    return f"{zlib.crc32(stored.numpy().tobytes()):08x}"


def _shard_name(number: int) -> str:
    return f"weights-{number:05d}.safetensors"


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, separators=(",", ":")) + "\n")


def _table(rows: list[dict[str, Value]]) -> pa.Table:
    names = list(RESERVED)
    seen = {name: None for row in rows for name in row if name not in RESERVED}
    names += [n for n in seen if not n.startswith(HYPERPARAMETER_PREFIX)]
    names += [n for n in seen if n.startswith(HYPERPARAMETER_PREFIX)]
    arrays = [_column(name, [row.get(name) for row in rows]) for name in names]
    return pa.table(arrays, names=names, metadata={"sne_zoo": "1"})


def _column(name: str, values: list[Value]) -> pa.Array:
    """One typed column: text if any value is text, else integers or booleans if all are, else doubles."""
    present = [v for v in values if v is not None and v == v]
    kinds = {type(v) for v in present}
    if name in RESERVED and name != "step":
        return pa.array(values, pa.string())
    if str in kinds:
        return pa.array([None if v is None or v != v else str(v) for v in values], pa.string())
    if kinds == {bool}:
        return pa.array([None if v is None or v != v else v for v in values], pa.bool_())
    if kinds <= {int, bool} and (kinds or name == "step"):
        return pa.array([None if v is None or v != v else int(v) for v in values], pa.int64())
    return pa.array([None if v is None or v != v else float(v) for v in values], pa.float64())
