"""Embeddings as tables of pandas and pyarrow."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from sne.encoders import NetworkEncoder
from sne.errors import PredictorError, install_hint
from sne.predictors.kept_rows import to_column
from sne.predictors.predictor import Predictor

FrameKind: TypeAlias = Literal["pandas", "pyarrow"]
"""Library of a table."""

PATH = "path"
"""Name of the column, or of the index, that names the networks."""


def embedding_names(encoder: Predictor | NetworkEncoder) -> list[str]:
    """Names the numbers of an embedding: those of the description if they are one, otherwise "embedding0" and so on.

    Example:
        >>> embedding_names(Predictor.from_pretrained())[:2]
        ['embedding0', 'embedding1']
    """
    if isinstance(encoder, Predictor) and encoder.embeds_description:
        return list(encoder.encoder.summary_names)
    return [f"embedding{number}" for number in range(encoder.dim)]


def check_frame_kind(kind: str) -> None:
    """Checks, before long work, that a table of some library can be made.

    Raises:
        PredictorError: There is no such kind of table, or the library is not installed.
    """
    if kind not in ("pandas", "pyarrow"):
        raise PredictorError(f"as_frame is {kind!r}, expected 'pandas' or 'pyarrow'")
    if kind == "pandas":
        try:
            import pandas  # noqa: F401
        except ImportError:
            raise PredictorError(f"as_frame='pandas' needs pandas; {install_hint('pandas')}") from None


def to_frame(
    names: Sequence[str], rows: Float[np.ndarray, "networks dim"], columns: Sequence[str], kind: FrameKind
) -> Any:
    """Makes a table of embeddings.

    Args:
        names: Names of the networks.
        rows: Their embeddings.
        columns: Names of the numbers of an embedding, for pandas.
        kind: "pandas": one column per number, indexed by the names. "pyarrow": the columns path and embedding, as in
            the file that `sne encode` writes.

    Returns:
        A `pandas.DataFrame` or a `pyarrow.Table`.

    Example:
        >>> to_frame(["a.pt"], np.ones((1, 2), dtype=np.float32), ["x", "y"], "pyarrow").to_pylist()
        [{'path': 'a.pt', 'embedding': [1.0, 1.0]}]
    """
    if kind == "pandas":
        import pandas as pd

        return pd.DataFrame(rows, index=pd.Index(list(names), name=PATH, dtype=object), columns=list(columns))
    return embedding_table(names, rows)


def embedding_table(names: Sequence[str], rows: Float[np.ndarray, "networks dim"]) -> Any:
    """Makes a `pyarrow.Table` of embeddings, with the columns path and embedding.

    Args:
        names: Names of the networks.
        rows: Their embeddings.
    """
    import pyarrow as pa

    return pa.table([pa.array(list(names), pa.string()), to_column(rows)], schema=embedding_schema(rows.shape[1]))


def embedding_schema(dim: int) -> Any:
    """Returns the `pyarrow.Schema` of tables of embeddings of some length."""
    import pyarrow as pa

    return pa.schema([(PATH, pa.string()), ("embedding", pa.list_(pa.float32(), dim))])
