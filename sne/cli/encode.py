"""`sne encode`: checkpoints become vectors in a file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sne.cli.files import Doubts, Failures, expand
from sne.cli.options import AllowNonfinite, BatchSize, Budget, Device, Files, Memory, PredictorFolder, Select
from sne.cli.tables import warn
from sne.errors import SneError, counted

if TYPE_CHECKING:
    import numpy as np


def encode(
    files: Files,
    predictor: PredictorFolder,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="File for the vectors: .parquet (columns path and embedding) or .npy (float32 array, rows in the "
            "order of the files).",
        ),
    ],
    batch_size: BatchSize = 64,
    device: Device = "auto",
    memory: Memory = None,
    budget: Budget = None,
    select: Select = None,
    allow_nonfinite: AllowNonfinite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Encode checkpoints as vectors.

    Each checkpoint becomes one vector, the embedding of the predictor's encoder. Files that cannot be read are named on
    stderr; the .parquet file then holds the others, and no .npy file is written.
    """
    from sne.work.collection import kept_imports

    with kept_imports():
        import sne.checkpoints  # noqa: F401 (read with the first file)
        from sne.predictors import Predictor, choose_device
        from sne.predictors.sources import read_sources
        from sne.work import check_can_write

    if out.suffix not in (".parquet", ".npy"):
        raise SneError(f"--out is {out}, expected a name that ends in .parquet or .npy")
    check_can_write(out)
    loaded = Predictor.load(predictor).to(choose_device(device))
    sources, failures, doubts = expand(files), Failures(), Doubts()
    networks = read_sources(sources, errors=failures, select=select, allow_nonfinite=allow_nonfinite, tell=doubts)
    rows = loaded.encode(networks, batch_size=batch_size, errors=failures, memory=memory, budget=budget)
    if out.suffix == ".npy" and failures:
        warn(f"{out}: not written, because its rows would not be those of the files given")
    elif len(rows):
        _write(out, [path for path in sources if path not in failures], rows)
        summary = {"out": str(out), "networks": len(rows), "dim": loaded.dim, "failed": len(failures)}
        summary |= {"warnings": dict(doubts)} if doubts else {}
        line = f"{out}: {counted(len(rows), 'network')}, {loaded.dim} numbers each"
        print(json.dumps(summary) if as_json else line)
    doubts.report()
    failures.report(len(sources))


def _write(out: Path, paths: list[str], rows: "np.ndarray") -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sne.work import replacing

    with replacing(out) as partial, partial.open("wb") as file:
        if out.suffix == ".npy":
            np.save(file, rows, allow_pickle=False)
            return
        embedding = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
        pq.write_table(pa.table({"path": pa.array(paths), "embedding": embedding}), file)
