"""`sne index`: fingerprints of many checkpoints, to be searched."""

import json
import warnings
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sne.cli.files import Failures, Typed, expand_with_zoos, put_in_order
from sne.cli.options import Ray, Workers
from sne.cli.progress import file_progress, stopped_by_user
from sne.errors import counted


def index(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            show_default=False,
            help="Checkpoints, globs, folders of checkpoints, zoos, or - to read one path per line from stdin.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", show_default=False, help="Folder of the index.")],
    workers: Workers = None,
    ray: Ray = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON line.")] = False,
) -> None:
    """Index checkpoints, so that relatives of a network can be found.

    Each network is stored with its fingerprint, its embedding, a hash of its values, and the properties that the
    packaged predictor predicts, in less than 2 kB per network. Networks that are in the index and have not changed are
    skipped, so that the same command updates an index, and continues one that was interrupted. Files that cannot be
    read are named on stderr. A zoo that has changed is read again as a whole. Entries that are not there any more are
    removed.

    The index is a LanceDB database; it needs the extra "search". One command at a time can write to it; searches can
    run meanwhile. sne search finds relatives in it.
    """
    from sne.work.collection import kept_imports

    with kept_imports():
        from sne.predictors import Predictor, choose_executor
        from sne.provenance.index import Index

    listed = expand_with_zoos(sources)
    failures = Failures(Typed(listed))
    predictor = Predictor.from_pretrained()
    made = Index.open_or_create(out, predictor)
    with stopped_by_user(out), file_progress() as progress, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lancedb fork")  # Ray forks only to execute its programs
        done = made.add(
            listed, predictor, errors=failures, on_progress=progress,
            choose_executor=partial(choose_executor, workers=workers, ray=ray),
        )  # fmt: skip
    put_in_order(failures, sorted(failures))
    summary = {"out": str(out), "added": done.added, "unchanged": done.unchanged, "removed": done.removed}
    summary["networks"] = done.total
    line = f"{out}: {counted(done.total, 'network')}, {done.added} of them new or changed, {done.unchanged} unchanged"
    line += f"; {done.removed} removed, which are not there or cannot be read any more" if done.removed else ""
    print(json.dumps({**summary, "failed": len(failures)}) if as_json else line)
    failures.report(done.added + done.unchanged + len(failures))
