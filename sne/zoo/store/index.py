"""The index of a zoo on disk: its table, a copy of it, and the measured durations."""

import base64
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sne.errors import ZooError
from sne.work import replacing
from sne.zoo.store.columns import RESERVED, WALL_TIME
from sne.zoo.store.folder import COPY, INDEX, TIMINGS

MOST_GROWTH = 10
"""Number of bytes in memory that a byte of the index may become; a file of any size may become `MOST_MEMORY`."""
MOST_MEMORY = 100_000_000

_METADATA = {"sne_zoo": "1"}
_FEWEST, _MOST = 512, 4096  # rows that are read at once; reading in parts is not slower


def read_index(folder: Path) -> pa.Table:
    """Reads the index, and the durations if they are known, as one table. If it is damaged, its copy is read.

    Raises:
        ZooError: The folder is not a zoo, a column is missing, or the index and its copy are both damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        raise ZooError(
            f"{folder} is not a zoo: it has no {INDEX}; sne zoo import folder makes one of checkpoints and a CSV"
        )
    try:
        table = _read_either(folder)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ZooError(
            f"{path} cannot be read ({reason}): it is damaged or cut short, so that ids, labels and the places of the "
            f"weights are lost; the shards and {_intact(folder)} are not affected"
        ) from None
    missing = [name for name in RESERVED if name not in table.column_names]
    if missing:
        raise ZooError(f"{path} has no column {missing[0]!r}")
    timings = read_timings(folder)
    if timings is None or WALL_TIME in table.column_names:
        return table
    known = dict(zip(timings["id"].to_pylist(), timings[WALL_TIME].to_pylist(), strict=True))
    values = pa.array([known.get(id) for id in table["id"].to_pylist()], timings[WALL_TIME].type)
    return table.append_column(WALL_TIME, values)


def write_index(path: Path, table: pa.Table) -> None:
    """Writes the index without the durations; every page has a checksum. Inverse: `read_index`."""
    kept = table.drop_columns([WALL_TIME]) if WALL_TIME in table.column_names else table
    kept = kept.replace_schema_metadata(_METADATA)
    with replacing(path) as partial:
        pq.write_table(kept, partial, write_page_checksum=True, write_statistics=False)


def index_damage(folder: Path) -> str | None:
    """Returns why the index itself, and not its copy, cannot be read; None if it can."""
    try:
        _read_whole(folder / INDEX)
    except (pa.ArrowException, OSError, ValueError) as error:
        return str(error).splitlines()[0]
    return None


def read_timings(folder: Path) -> pa.Table | None:
    """Reads `timings.parquet`; None if it is missing or damaged, because a zoo is usable without durations."""
    try:
        timings = _read_whole(folder / TIMINGS)
        return timings if {"id", WALL_TIME} <= set(timings.column_names) else None
    except (pa.ArrowException, OSError, ValueError):
        return None


def write_timings(path: Path, table: pa.Table) -> None:
    """Writes ids and durations of the rows that have a duration. Inverse: `read_timings`."""
    timings = table.select(["id", WALL_TIME]).drop_null()
    with replacing(path) as partial:
        pq.write_table(timings, partial, write_page_checksum=True)


def _read_either(folder: Path) -> pa.Table:
    try:
        return _read_whole(folder / INDEX)
    except (pa.ArrowException, OSError, ValueError):
        if not (folder / COPY).is_file():
            raise
        return _read_whole(folder / COPY)


def _read_whole(path: Path) -> pa.Table:
    """Reads a Parquet file and detects a change of any byte that matters.

    The checksums of the pages protect the values. Names and types of columns have no checksum, but pyarrow writes them
    twice, in Parquet's own schema and in Arrow's.

    Raises:
        ValueError: The content has changed since it was written. pyarrow raises errors of its own.
    """
    size = path.stat().st_size
    most = MOST_GROWTH * size + MOST_MEMORY
    # A text that many rows share is stored once, but read for every row. It may be as long as the file.
    rows = min(max(MOST_MEMORY // max(size, 1), _FEWEST), _MOST)
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        _check_claims(file.metadata, size)
        arrow = (file.metadata.metadata or {}).get(b"ARROW:schema")
        batches: list[pa.RecordBatch] = []
        for batch in file.iter_batches(rows):
            batches.append(batch)
            most -= batch.nbytes
            if most < 0:
                raise ValueError("its content takes too much memory for the size of the file")
        table = pa.Table.from_batches(batches, file.schema_arrow).combine_chunks()
    written = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(arrow))) if arrow else table.schema
    if table.schema.names != written.names or table.schema.types != written.types:
        raise ValueError("its columns are not those that were written")
    table.validate(full=True)
    return table


def _check_claims(metadata: Any, size: int) -> None:
    """Refuses a Parquet file that claims more than its size allows: every row has an id, which takes some bytes.

    Args:
        metadata: Footer of the file, which pyarrow has parsed.
        size: Size of the file in bytes.

    Raises:
        ValueError: The claims do not fit the size of the file.
    """
    if metadata.num_rows > size or metadata.num_columns > size or metadata.num_row_groups > size:
        counts = f"{metadata.num_rows} rows, {metadata.num_columns} columns, {metadata.num_row_groups} groups"
        raise ValueError(f"it claims {counts} in {size} bytes")


def _intact(folder: Path) -> str:
    known = ("layouts.json", "symmetries.json", "split.json", "recipe.json", TIMINGS)
    names = [name for name in known if (folder / name).exists()]
    return ", ".join(names) or "the other files"
