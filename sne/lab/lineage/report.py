"""The report of the study of lineages, as Markdown."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sne.lab.lineage.design import LineageDesign
from sne.lab.lineage.measuring import EMBEDDING, EXACT, EXPECTED, SNE, TRAINED, auc
from sne.lab.lineage.opponents import OPPONENTS
from sne.making.descent import ROOTS
from sne.provenance.relation import Relation

NAME = "lineage"
TITLE = "Where does a network come from"

_METHODS = (SNE, *(opponent.name for opponent in OPPONENTS), EMBEDDING)

_Row = Mapping[str, Any]


def report(results: Mapping[str, Any], design: LineageDesign) -> str:
    """Returns the report as Markdown.

    Args:
        results: Scale of the study, and what `measure_family` found by family.
        design: Design of the study.
    """
    families: Mapping[str, _Row] = results["families"]
    first, named, scores, edges = (
        [row for found in families.values() for row in found[key]] for key in ("first", "named", "scores", "edges")
    )
    kinds = [kind for kind in EXPECTED if any(row["kind"] == kind for row in named)]
    sections = {
        "Summary": _table(["measure", *_METHODS], _summary(first, named, scores, edges)),
        "Parent found first, by kind": _parents(first, kinds),
        "Relation named, by kind": _confusion(named, kinds),
        "Direction, and edges of the forest, by kind": _table(
            ["kind", "direction stated", "right if stated", "edge right", "n"],
            [[kind, *_directions(named, edges, kind)] for kind in kinds],
        ),
        "By family": _families(families),
        "The other methods": _sources(),
    }
    lines = [f"# {TITLE}", "", _setting(results, design), ""]
    for title, text in sections.items():
        lines += [f"## {title}", "", text, ""]
    return "\n".join(lines)


def _setting(results: Mapping[str, Any], design: LineageDesign) -> str:
    """Says which networks were made, and what a method has to choose from."""
    families = results["families"]
    sizes = ", ".join(f"{name} {found['networks']:,} ({found['weights']:,})" for name, found in families.items())
    return (
        "Zoos of trees of descent, one architecture and one set of hyper-parameters per family. Networks (weights of "
        f"one): {sizes}. Roots learn {design.images} for {design.steps} steps; some descendants learn "
        f"{design.other_images}. Candidates for a parent are all networks of the other trees, the parent, and the twin "
        "of the root, which starts from the same weights and learns the same images in another order. Where another "
        "method gives several candidates the same similarity, it is taken to be right. "
        f"Command: `sne study {NAME} --scale {results['scale']}`."
    )


def _parents(first: Sequence[_Row], kinds: Sequence[str]) -> str:
    rows = []
    for kind in kinds:
        some = [row for row in first if row["kind"] == kind]
        if kind not in ROOTS and some:
            rows.append([kind, len(some), *(_share(row["first"][method] for row in some) for method in _METHODS)])
    return _table(["kind", "n", *_METHODS], rows)


def _families(families: Mapping[str, _Row]) -> str:
    rows = [
        [
            name,
            _share(row["first"][SNE] for row in found["first"]),
            _share(row["relation"] == row["expected"] for row in found["named"]),
            _share(row["right"] for row in found["edges"]),
            f"{auc(found['scores'], SNE):.4f}",
        ]
        for name, found in families.items()
    ]
    return _table(["family", "parent first", "relation right", "edges right", "AUC"], rows)


def _sources() -> str:
    lines = [f"- {opponent.name}: {opponent.source}." for opponent in OPPONENTS]
    embedding = (
        f"- {EMBEDDING}: cosine of the embeddings of the packaged predictor, which are made to ignore such changes."
    )
    return "\n".join([*lines, embedding])


def _summary(
    first: Sequence[_Row],
    named: Sequence[_Row],
    scores: Sequence[_Row],
    edges: Sequence[_Row],
) -> list[list[str]]:
    rest = ["-"] * (len(_METHODS) - 1)
    moved = [row for row in first if row["kind"] in ("permuted", "rescaled") or row["node"] == "permuted and tuned"]
    areas = [f"{auc(scores, method):.4f}" if scores and method in scores[0]["scores"] else "-" for method in _METHODS]
    exact = [row for row in named if row["expected"] in {relation.value for relation in EXACT}]
    trained = [row for row in named if row["expected"] in {relation.value for relation in TRAINED}]
    mother = [_share(row["kurtosis"] < 0 for row in trained) if name == "MoTHer" else "-" for name in _METHODS[1:]]
    drawn = [row for row in edges if row["kind"] not in ROOTS]
    roots = [row for row in edges if row["kind"] in ROOTS]
    return [
        ["parent found first", *(_share(row["first"][method] for row in first) for method in _METHODS)],
        ["the same, permuted, rescaled, permuted and tuned", *(_share(r["first"][m] for r in moved) for m in _METHODS)],
        ["relatives against strangers, AUC", *areas],
        ["strangers called relatives", f"{sum(row['false'] for row in scores)} of {len(scores)}", *rest],
        ["relation named right", _share(row["relation"] == row["expected"] for row in named), *rest],
        [
            "direction right, pruned and rounded",
            _share(row["direction"] == "second from first" for row in exact),
            *rest,
        ],
        ["direction right where stated, trained", _stated(trained), *mother],
        ["direction stated, trained", _share(row["direction"] is not None for row in trained), *rest],
        ["edges of the forest right", _share(row["right"] for row in drawn), *rest],
        ["roots, twins and distilled networks left without a parent", _share(row["right"] for row in roots), *rest],
    ]


def _stated(rows: Iterable[_Row]) -> str:
    return _share(row["direction"] == "second from first" for row in rows if row["direction"] is not None)


def _directions(named: Sequence[_Row], edges: Sequence[_Row], kind: str) -> list[str]:
    mine = [row for row in named if row["kind"] == kind]
    drawn = [row["right"] for row in edges if row["kind"] == kind]
    has_direction = EXPECTED[kind] not in (Relation.SAME_FUNCTION, Relation.SAME_START, Relation.INDEPENDENT)
    stated = _share(row["direction"] is not None for row in mine) if has_direction else "-"
    return [stated, _stated(mine) if has_direction else "-", _share(drawn), str(len(mine))]


def _confusion(named: Sequence[_Row], kinds: Sequence[str]) -> str:
    relations = [relation.value for relation in Relation if any(row["relation"] == relation.value for row in named)]
    rows = []
    for kind in kinds:
        counts = Counter(row["relation"] for row in named if row["kind"] == kind)
        total = sum(counts.values())
        shown = [f"{counts[name] / total:.0%}" if counts[name] else "" for name in relations]
        rows.append([kind, EXPECTED[kind].value, *shown])
    return _table(["kind", "expected", *relations], rows)


def _share(values: Iterable[bool]) -> str:
    some = list(values)
    return f"{np.mean(some):.1%}" if some else "-"


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
