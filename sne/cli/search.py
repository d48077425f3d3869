"""`sne search`: relatives of checkpoints in an index."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sne.cli.files import Failures, expand
from sne.cli.options import Select
from sne.cli.progress import file_progress
from sne.cli.tables import format_table, say, warn
from sne.errors import SneError

if TYPE_CHECKING:
    from sne.networks import Network
    from sne.provenance.index import Index
    from sne.provenance.search import Hit


Queries = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE",
        show_default=False,
        help="Checkpoints whose relatives are sought: files, globs, folders, or - for one path per line on stdin.",
    ),
]
IndexFolder = Annotated[
    Path, typer.Option(metavar="FOLDER", show_default=False, help="Folder of the index, made by sne index.")
]
Most = Annotated[int, typer.Option("-k", min=1, metavar="N", help="Largest number of relatives per file.")]
Where = Annotated[
    str | None,
    typer.Option(
        metavar="SQL",
        show_default=False,
        help="Condition on the columns path, content (hash of the values), layout (names and shapes), num_weights, "
        'family (of zoos) and the predicted properties, such as "num_weights < 100000 and test_accuracy > 0.9".',
    ),
]
Like = Annotated[
    str,
    typer.Option(
        metavar="weights|properties", help="weights: relatives; properties: networks with similar embeddings."
    ),
]
ListDuplicates = Annotated[
    bool,
    typer.Option(
        "--duplicates",
        help="List the groups of networks in the index that are copies of each other: equal values, or the same "
        "function with units in another order, of other scales or signs.",
    ),
]


def search(
    files: Queries = None,
    index: IndexFolder = ...,  # type: ignore[assignment]
    most: Most = 10,
    where: Where = None,
    like: Like = "weights",
    duplicates: ListDuplicates = False,
    select: Select = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line per file and relative.")] = False,
) -> None:
    """Find the relatives of checkpoints in an index.

    The networks of the index that are nearest by fingerprint are compared with the file one by one, as sne compare
    does. Copies that were changed without training come first, then the others by distance. Their p-values are
    multiplied by the number of networks in the index. With --like properties, networks with similar embeddings are
    listed instead, related or not.
    """
    from sne.checkpoints import read_network
    from sne.provenance.index import Index

    if like not in ("weights", "properties"):
        raise SneError(f"--like is {like}, expected weights or properties")
    opened = Index.open(index)
    if duplicates:
        _print_duplicates(opened, as_json)
        return
    if not files:
        raise SneError("no FILE is given; name checkpoints, or --duplicates")
    if not len(opened):
        raise SneError(f"{index} is empty; sne index adds networks to it")
    if where:
        opened.check_condition(where)
    find = _find_similar(opened, most, where) if like == "properties" else _find_relatives(opened, most, where)
    sources, failures = expand(files), Failures()
    for path in sources:
        try:
            hits = find(read_network(path, select=select))
        except (SneError, OSError) as error:
            failures(path, error)
            continue
        if not as_json and len(sources) > 1:
            say(path)
        _print_hits(path, hits, as_json)
    failures.report(len(sources))


def _find_relatives(index: "Index", most: int, where: str | None) -> "Callable[[Network], list[Hit]]":
    """Returns what finds the relatives of a network."""
    from sne.provenance.search import search

    return partial(search, index=index, most=most, where=where, warn=warn)


def _find_similar(index: "Index", most: int, where: str | None) -> "Callable[[Network], list[Hit]]":
    """Returns what finds networks with embeddings similar to that of a network."""
    from sne.predictors import Predictor
    from sne.provenance.search import search_properties

    return partial(search_properties, index=index, predictor=Predictor.from_pretrained(), most=most, where=where)


def _print_hits(path: str, hits: list["Hit"], as_json: bool) -> None:
    if as_json:
        for hit in hits:
            print(json.dumps({"file": path, **_values(hit)}))
    else:
        say(format_table([_values(hit) for hit in hits]) if hits else "no relative in this index")


def _values(hit: "Hit") -> dict[str, Any]:
    relation = None if hit.relation is None else hit.relation.value
    return {
        "rank": hit.rank,
        "relation": relation,
        "p_value": hit.p_value,
        "direction": hit.direction,
        "score": hit.score,
        "path": hit.path,
    }


def _print_duplicates(index: "Index", as_json: bool) -> None:
    from sne.provenance.duplicates import duplicates

    with file_progress() as progress:
        groups = duplicates(index, warn=warn, on_progress=progress)
    tables = [
        [{"relation": one.relation and one.relation.value, "path": one.path} for one in group] for group in groups
    ]
    if as_json:
        for table in tables:
            print(json.dumps(table))
    else:
        say("\n\n".join(map(format_table, tables)) or "no duplicates in this index")
