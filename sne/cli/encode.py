"""`sne encode`: checkpoints to vectors in a file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sne.cli.files import apply_to_files, expand, report_failures

if TYPE_CHECKING:
    import numpy as np


def encode(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Checkpoints, folders, globs; - reads paths from stdin."),
    ],
    predictor: Annotated[str, typer.Option(help="Folder of the predictor whose encoder is used.")],
    out: Annotated[
        Path, typer.Option(help="A .parquet file (columns path, embedding) or an .npy file (rows as given).")
    ],
    batch_size: Annotated[int, typer.Option(min=1, help="Networks at a time.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Encode checkpoints as vectors."""
    from sne.predictors import Predictor, choose_device
    from sne.work import write_atomically

    if out.suffix not in (".parquet", ".npy"):
        raise typer.BadParameter(f"{out}: expected a name that ends in .parquet or .npy", param_hint="--out")
    loaded = Predictor.load(predictor).to(choose_device(device))
    failures: dict[str, str] = {}
    paths, rows = [], []
    for path, row in apply_to_files(
        expand(files),
        lambda networks: list(loaded.embed(networks, batch_size=batch_size)),
        batch_size=batch_size,
        failures=failures,
    ):
        paths.append(path)
        rows.append(row)
    if out.suffix == ".npy" and failures:
        failures[str(out)] = "not written, its rows would not be those of the files given"
    elif rows:
        content = _parquet(paths, rows) if out.suffix == ".parquet" else _npy(rows)
        write_atomically(out, content)
        summary = {"out": str(out), "networks": len(rows), "dim": loaded.dim, "failed": len(failures)}
        print(json.dumps(summary) if as_json else f"{out}: {len(rows)} networks, {loaded.dim} numbers each")
    report_failures(failures)


def _parquet(paths: list[str], rows: "list[np.ndarray]") -> bytes:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(np.concatenate(rows))
    table = pa.table({"path": pa.array(paths), "embedding": pa.FixedSizeListArray.from_arrays(flat, len(rows[0]))})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def _npy(rows: "list[np.ndarray]") -> bytes:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, np.stack(rows), allow_pickle=False)
    return buffer.getvalue()
