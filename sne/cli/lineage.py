"""`sne lineage`: which checkpoint was made from which."""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sne.cli.files import Failures, Typed, expand_with_zoos
from sne.cli.options import Ray, Workers
from sne.cli.progress import file_progress
from sne.cli.tables import say
from sne.errors import SneError, counted

if TYPE_CHECKING:
    from sne.provenance.forest import Edge
    from sne.provenance.lineage import Lineage

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Characters that XML cannot hold."""

FORMATS = (".json", ".graphml", ".mmd")

MOST_NAMED = 8
"""Largest number of networks without relatives that are named in the terminal."""


def lineage(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            show_default=False,
            help="Checkpoints, globs, folders of checkpoints, zoos, or - to read one path per line from stdin.",
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="Compare all networks of this index, made by sne index, with its stored fingerprints.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Write the graph: .json, .graphml (yEd, Gephi, Cytoscape), or .mmd (Mermaid, for Markdown).",
        ),
    ] = None,
    workers: Workers = None,
    ray: Ray = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON line.")] = False,
) -> None:
    """Show which checkpoints were made from which.

    Networks with similar fingerprints are compared, as sne compare does, and each network gets the likeliest parent
    among its relatives, or none. Each line of a tree names a network, how it was made, and in brackets the confidence
    of the direction where it does not follow from the values; 0.50 says that the direction is not known, as for equal
    networks and copies of the same function. Directions of fine-tunes are guesses: a root may be a descendant of its
    first child. Networks that were trained equally far from the same weights, or pruned with zeros of their own, are
    shown as "same initialisation as" another one. At the end, networks without relatives are named; if there are many,
    only the first ones.
    """
    from sne.predictors import choose_executor
    from sne.provenance.entries import entries
    from sne.provenance.lineage import lineage as lineage_of_sources
    from sne.provenance.lineage import lineage_of
    from sne.work import check_can_write, write_atomically

    if bool(sources) == (index is not None):
        raise SneError("expected either SOURCE arguments or --index")
    if out is not None:
        if out.suffix not in FORMATS:
            raise SneError(f"--out {out}: expected a name that ends in {', '.join(FORMATS)}")
        check_can_write(out)
    listed = expand_with_zoos(sources or []) if index is None else []
    failures = Failures(Typed(listed))
    with file_progress() as progress:
        if index is not None:
            from sne.provenance.index import Index

            prints = Index.open(index).fingerprints(failures)
            executor = choose_executor(list(prints), workers=workers, ray=ray)
            found = lineage_of(prints, errors=failures, executor=executor, on_progress=progress)
        else:
            names = list(entries(listed))
            executor = choose_executor(names, workers=workers, ray=ray)
            found = lineage_of_sources(names, errors=failures, executor=executor, on_progress=progress)
    if out is not None:
        write_atomically(out, _as_text(found, out.suffix).encode())
    if as_json:
        print(json.dumps(found.to_json(), allow_nan=False))
    elif found.networks:
        _show(found)
    failures.report(len(found.networks) + len(failures))


def _as_text(found: "Lineage", suffix: str) -> str:
    if suffix == ".json":
        return json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n"
    if suffix == ".graphml":
        import networkx as nx

        graph = nx.relabel_nodes(found.to_graph(), {name: _CONTROLS.sub("\ufffd", name) for name in found.networks})
        return "\n".join(nx.generate_graphml(graph)) + "\n"
    return found.to_mermaid()


def _show(found: "Lineage") -> None:
    """Prints the trees, and names networks without relatives."""
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    names = short_names(found.networks)
    console = Console(soft_wrap=True, highlight=False)
    twins = _twins_of_roots(found)
    roots = [root for root in found.roots if found.children(root) or root in twins]
    for root in roots:
        twin = twins.get(root)
        tree = Tree(Text(names[root] + (f"  same initialisation as {names[twin]}" if twin is not None else "")))
        branches = {root: tree}
        for name in (root, *found.descendants(root)):
            for edge in found.children(name):
                branches[edge.child] = branches[name].add(Text(f"{names[edge.child]}  {_how(edge, names)}"))
        console.print(tree)
        console.print()
    alone = [names[root] for root in found.roots if root not in roots]
    named = ", ".join(alone[:MOST_NAMED])
    if len(alone) > MOST_NAMED:
        named += f" and {len(alone) - MOST_NAMED} more; --json has all"
    summary = f"{counted(len(found.networks), 'network')}: {counted(len(roots), 'tree')}, "
    summary += f"{len(alone)} without relatives" + (f" ({named})" if alone else "")
    say(summary + (f"; {counted(len(found.twins), 'pair')} started from the same weights" if found.twins else ""))


def _twins_of_roots(found: "Lineage") -> dict[str, str | None]:
    """Returns for each root that is a twin another one that is shown before it, if there is any."""
    order = {root: number for number, root in enumerate(found.roots)}
    others: dict[str, list[str]] = {}
    for pair in found.twins:
        for root, other in (pair, pair[::-1]):
            if root in order:
                others.setdefault(root, []).append(other)
    twins: dict[str, str | None] = {}
    for root, some in others.items():
        roots = [other for other in some if other in order]
        first = min(roots, key=order.__getitem__, default=some[0])
        twins[root] = first if order.get(first, -1) < order[root] else None
    return twins


def _how(edge: "Edge", names: dict[str, str]) -> str:
    """Returns the words after the name of a child."""
    text = edge.relation.value
    if edge.merged_with is not None:
        other, weight = edge.merged_with
        return f"{text} of {1 - weight:.0%} this and {weight:.0%} {names[other]}"
    return f"{text} ({edge.confidence:.2f})" if edge.confidence < 1 else text


def short_names(paths: tuple[str, ...]) -> dict[str, str]:
    """Returns paths without the folder that all of them share; whole where some are addresses of remote files.

    Example:
        >>> short_names(("/home/ada/runs/a.pt", "/home/ada/runs/tuned/b.pt"))
        {'/home/ada/runs/a.pt': 'a.pt', '/home/ada/runs/tuned/b.pt': 'tuned/b.pt'}
    """
    if not paths or any("://" in path for path in paths):
        return {path: path for path in paths}
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 (also of entries of zoos)
    return {path: os.path.relpath(path, shared) if shared else path for path in paths}
