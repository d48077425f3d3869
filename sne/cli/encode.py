"""`sne encode`: checkpoints become vectors in a file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sne.cli.files import Doubts, Failures, expand, load_predictor, put_in_order
from sne.cli.options import (
    AllowNonfinite,
    BatchSize,
    Budget,
    Device,
    Files,
    Memory,
    PredictorFolder,
    Ray,
    Select,
    Workers,
)
from sne.cli.progress import file_progress, stopped_by_user
from sne.cli.tables import warn
from sne.errors import SneError, counted


def encode(
    files: Files,
    predictor: PredictorFolder = "default",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="File for the vectors: .parquet (columns path and embedding) or .npy (float32 array, rows in the "
            "order of the files). [default: embeddings.parquet, which must not be there yet]",
        ),
    ] = None,
    batch_size: BatchSize = 64,
    device: Device = "auto",
    workers: Workers = None,
    ray: Ray = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted command. Files that have changed since are encoded again. Another predictor, "
            "or another --select, --budget or --allow-nonfinite, is refused.",
        ),
    ] = False,
    memory: Memory = None,
    budget: Budget = None,
    select: Select = None,
    allow_nonfinite: AllowNonfinite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Encode checkpoints as vectors.

    Each checkpoint becomes one vector: the embeddings of the predictor's experts side by side, or its description if no
    expert has an embedding. Files that cannot be read are named on stderr; the .parquet file then holds the others, and
    no .npy file is written. Finished work is kept while the command runs; if it is interrupted, --resume continues it.
    """
    from sne.work.collection import kept_imports

    with kept_imports():
        import pyarrow.parquet  # noqa: F401 (before --memory is compared with the size of the process)

        import sne.checkpoints  # noqa: F401 (read with the first file)
        from sne.predictors import encode_to_file, parts_folder
        from sne.work import check_can_write

    if out is None:
        out = Path("embeddings.parquet")
        if out.exists() and not resume:
            raise SneError(f"{out} is there already; name another file, or this one, with --out")
    if out.suffix not in (".parquet", ".npy"):
        raise SneError(f"--out is {out}, expected a name that ends in .parquet or .npy")
    check_can_write(out)
    sources, failures, doubts = expand(files), Failures(), Doubts()
    loaded, executor = load_predictor(predictor, device, sources, workers, ray)
    with stopped_by_user(parts_folder(out), option="--resume"), file_progress() as progress:
        done = encode_to_file(
            sources, out, predictor=loaded, resume=resume, batch_size=batch_size, errors=failures, memory=memory,
            budget=budget, executor=executor, select=select, allow_nonfinite=allow_nonfinite, tell=doubts,
            progress=progress,
        )  # fmt: skip
    for notes in (doubts, failures):
        put_in_order(notes, sources)
    if done.is_written:
        summary = {"out": str(out), "networks": done.num_rows, "dim": done.dim, "failed": len(failures)}
        summary |= {"resumed": done.num_kept} if resume else {}
        summary |= {"warnings": dict(doubts)} if doubts else {}
        kept = f"; {done.num_kept} of them were encoded before" if resume else ""
        line = f"{out}: {counted(done.num_rows, 'network')}, {done.dim} numbers each{kept}"
        print(json.dumps(summary) if as_json else line)
    elif done.num_rows:
        warn(
            f"{out}: not written, because its rows would not be those of the files given; finished work is kept in "
            f"{parts_folder(out)}; once the files below are repaired or left out, the same command with --resume "
            "reuses it"
        )
    doubts.report()
    failures.report(len(sources))
