"""The vectors of an index in memory, for many questions to one index."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, UInt32

from sne.provenance.fingerprint import LEAST_MARKS

MOST_BYTES = 1 << 30
"""Largest number of bytes of the vectors of a column that are kept in memory."""

EUCLIDEAN = ("chain",)
"""Columns whose vectors are compared by squared distance; others are compared by cosine."""


@dataclass(frozen=True)
class Vectors:
    """One column of vectors, with what names its rows.

    Args:
        versions: Names of the versions that the table had.
        column: Name of the column.
        values: The vectors; at norm 1 where cosines are compared.
        squares: Squared norm of each vector.
        names: Columns path and stamp.
    """

    versions: tuple[str, ...]
    column: str
    values: Float[np.ndarray, "rows numbers"]
    squares: Float[np.ndarray, " rows"]
    names: pa.Table

    @classmethod
    def of_rows(cls, rows: pa.Table, column: str, versions: tuple[str, ...]) -> "Vectors":
        """Takes the vectors from rows with the columns path, stamp and the given one."""
        stored = pa.concat_arrays([chunk.flatten() for chunk in rows[column].chunks]).to_numpy()
        values = torch.from_numpy(stored.reshape(len(rows), -1).copy()).float()  # numpy takes ten times as long
        if column not in EUCLIDEAN:
            values /= values.norm(dim=1, keepdim=True).clamp_min(1e-20)
        names = rows.select(["path", "stamp"])
        return cls(versions, column, values.numpy(), values.square().sum(1).numpy(), names)

    def nearest(self, vector: Float[np.ndarray, " numbers"], count: int) -> list[dict[str, Any]]:
        """Returns path, stamp and `_distance` of the nearest rows, the nearest first."""
        vector = vector.astype(np.float32)
        if self.column not in EUCLIDEAN:
            vector = vector / max(float(np.linalg.norm(vector)), 1e-20)
        distances = self.squares - 2 * (self.values @ vector)
        count = min(count, len(distances))
        rows = np.argpartition(distances, count - 1)[:count]
        exact = np.square(self.values[rows] - vector).sum(1)  # without the rounding errors of the difference above
        if self.column not in EUCLIDEAN:
            exact = exact / 2  # of vectors of norm 1, that is 1 - cosine
        order = np.lexsort((rows, exact))
        found = self.names.take(pa.array(rows[order])).to_pylist()
        return [{**row, "_distance": float(distance)} for row, distance in zip(found, exact[order], strict=True)]


@dataclass(frozen=True)
class Marks:
    """The marks of all networks of an index, see `sne.provenance.fingerprint.Fingerprint`.

    Args:
        versions: Names of the versions that the table had.
        values: Marks of each row.
        names: Columns path and stamp.
    """

    versions: tuple[str, ...]
    values: UInt32[np.ndarray, "rows marks"]
    names: pa.Table

    @classmethod
    def of_rows(cls, rows: pa.Table, versions: tuple[str, ...]) -> "Marks":
        """Takes the marks from rows with the columns path, stamp and marks."""
        stored = [chunk.flatten().to_numpy() for chunk in rows["marks"].chunks] if len(rows) else []
        values = np.concatenate(stored) if stored else np.zeros(0, np.uint32)
        return cls(
            versions, values.reshape(len(rows), len(values) // max(1, len(rows))), rows.select(["path", "stamp"])
        )

    def sharing(self, marks: UInt32[np.ndarray, " marks"], count: int) -> list[dict[str, Any]]:
        """Returns path and stamp of the rows with most of some marks, `LEAST_MARKS` at least, the best first."""
        shared = np.isin(self.values, marks[marks != 0]).sum(1)
        rows = np.nonzero(shared >= LEAST_MARKS)[0]
        rows = rows[np.argsort(-shared[rows], kind="stable")][:count]
        return self.names.take(pa.array(rows)).to_pylist()
