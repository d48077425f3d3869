"""What is measured on the zoo of one family: parents found, relations and directions named, strangers told apart."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from sne.checkpoints import read_network
from sne.lab.lineage.design import LineageDesign
from sne.lab.lineage.opponents import OPPONENTS, Opponent, cosine, kurtosis
from sne.making.descent import ROOTS
from sne.networks import Network
from sne.predictors import Predictor
from sne.provenance import Comparison, compare
from sne.provenance.entries import ROW
from sne.provenance.evidence import mean_cosine
from sne.provenance.index import Index
from sne.provenance.lineage import lineage
from sne.provenance.relation import SIGNIFICANT, Relation
from sne.provenance.search import search
from sne.provenance.table import quoted
from sne.zoo import Zoo

SNE = "sne"
EMBEDDING = "embedding of sne"

EXPECTED: Mapping[str, Relation] = {
    "tuned lightly": Relation.FINE_TUNE,
    "tuned long": Relation.FINE_TUNE,
    "tuned on other images": Relation.FINE_TUNE,
    "head tuned": Relation.PARTIAL,
    "pruned 30%": Relation.PRUNED,
    "pruned 60%": Relation.PRUNED,
    "pruned 90%": Relation.PRUNED,
    "units pruned": Relation.PRUNED,
    "half": Relation.PRECISION,
    "bfloat16": Relation.PRECISION,
    "int8": Relation.PRECISION,
    "int4": Relation.PRECISION,
    "update of rank 1": Relation.LOW_RANK,
    "update of rank 2": Relation.LOW_RANK,
    "update of rank 4": Relation.LOW_RANK,
    "update of rank 8": Relation.LOW_RANK,
    "permuted": Relation.SAME_FUNCTION,
    "rescaled": Relation.SAME_FUNCTION,
    "merged": Relation.MERGE,
    "twin": Relation.SAME_START,
    "distilled": Relation.INDEPENDENT,
}
"""Relation of each kind of network to its parent; of twins and distilled networks to the root."""

EXACT = (Relation.PRUNED, Relation.PRECISION)
TRAINED = (Relation.FINE_TUNE, Relation.PARTIAL)


@dataclass(frozen=True)
class TreeZoo:
    """A zoo of trees.

    Args:
        zoo: The zoo.
    """

    zoo: Zoo

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row by id."""
        return {name: row for row, name in enumerate(self.zoo.ids)}

    @cached_property
    def trees(self) -> list[str]:
        """Names of the trees."""
        return list(dict.fromkeys(self.zoo.runs))

    def of_tree(self, tree: str) -> list[int]:
        """Returns the rows of a tree."""
        return [row for row, run in enumerate(self.zoo.runs) if run == tree]

    def kind(self, row: int) -> str:
        """How a network was made."""
        return str(self.zoo.column("kind")[row])

    def node(self, row: int) -> str:
        """Name of a network within its tree."""
        return str(self.zoo.column("node")[row])

    def parents(self, row: int) -> list[int]:
        """Rows of the networks that one was made from."""
        names = [self.zoo.column(column)[row] for column in ("parent", "other_parent")]
        return [self.rows[name] for name in names if name]

    def root(self, row: int) -> int:
        """Row of the root of a network's tree."""
        return next(other for other in self.of_tree(self.zoo.runs[row]) if self.kind(other) == "root")

    def twins(self, row: int) -> list[int]:
        """Rows of the twins of the root of a network's tree."""
        return [other for other in self.of_tree(self.zoo.runs[row]) if self.kind(other) == "twin"]

    def path(self, row: int) -> str:
        """Path of a network as an entry of an index."""
        return f"{self.zoo.path.absolute()}{ROW}{self.zoo.ids[row]}"

    def file(self, row: int) -> Network:
        """Returns a network as a file has it: without what the zoo knows of it."""
        source = self.zoo.network(row).source
        return read_network({name: source.load(name) for name in source.infos})

    def candidates(self, row: int) -> list[int]:
        """Rows among which the parent is sought: all other trees, the parents, and the twins of the root."""
        kin = set(self.of_tree(self.zoo.runs[row]))
        return [*(other for other in range(len(self.zoo)) if other not in kin), *self.parents(row), *self.twins(row)]


def measure_family(
    path: Path, design: LineageDesign, work: Path, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Measures everything on the zoo of one family.

    Args:
        path: Folder of the zoo.
        design: Sizes of the study.
        work: Folder for the index of the zoo.
        progress: Called with the number of steps done and their number.
    """
    trees = TreeZoo(Zoo.open(path))
    stages = [_first, _pairs, _forest]
    found: dict[str, Any] = {"networks": len(trees.zoo), "weights": trees.zoo.network(0).num_weights}
    for number, stage in enumerate(stages):
        progress(number, len(stages))
        found |= stage(trees, design, work)
    progress(len(stages), len(stages))
    return found


def _descendants(trees: TreeZoo, names: Sequence[str]) -> Iterator[int]:
    for name in names:
        yield from (row for row in trees.of_tree(name) if trees.kind(row) not in ROOTS)


def _first(trees: TreeZoo, design: LineageDesign, work: Path) -> dict[str, Any]:
    """Is the parent found first among all networks of the family, by each method?"""
    zoo, predictor = trees.zoo, Predictor.from_pretrained()
    index = Index.open_or_create(work / "index", predictor)
    index.add([str(zoo.path)], predictor, errors=_raise)
    embedding = predictor.encode([zoo.network(row) for row in range(len(zoo))])
    prepared = {
        opponent.name: [opponent.prepare(zoo.network(row)) for row in range(len(zoo))] for opponent in OPPONENTS
    }
    prepared[EMBEDDING] = list(embedding.astype(np.float64))
    compared = (*OPPONENTS, Opponent(EMBEDDING, "", _nothing, cosine))
    rows = []
    for row in _descendants(trees, trees.trees[-design.queried :]):
        wanted, candidates = trees.parents(row), trees.candidates(row)
        left_out = set(trees.of_tree(zoo.runs[row])) - set(candidates)
        where = f"path NOT IN ({', '.join(quoted(trees.path(other)) for other in left_out)})"
        hits = search(trees.file(row), index, most=3, where=where, warn=_ignore)
        paths = {trees.path(other) for other in wanted}
        first = {SNE: bool(hits) and hits[0].path in paths}
        for opponent in compared:
            values = prepared[opponent.name]
            scores = [opponent.similarity(values[row], values[other]) for other in candidates]
            first[opponent.name] = max(scores) == max(scores[candidates.index(other)] for other in wanted)
        rows.append({"kind": trees.kind(row), "node": trees.node(row), "first": first})
    return {"first": rows}


def _pairs(trees: TreeZoo, design: LineageDesign, work: Path) -> dict[str, Any]:
    """Returns relations and directions of descendants, and scores of relatives and strangers by each method."""
    zoo, rng = trees.zoo, np.random.default_rng(0)
    named, scores = [], []
    for tree in trees.trees[-design.paired :]:
        for row in trees.of_tree(tree):
            kind = trees.kind(row)
            if kind == "root":
                continue
            parents = trees.parents(row) or [trees.root(row)]
            child, parent = trees.file(row), trees.file(parents[0])
            found = compare(parent, child)
            relation = found.relation
            if kind == "merged" and compare(child, parent, trees.file(parents[1])).relation is Relation.MERGE:
                relation = Relation.MERGE
            named.append({
                "kind": kind, "relation": relation.value, "expected": EXPECTED[kind].value,
                "direction": found.direction, "confidence": found.confidence,
                "kurtosis": kurtosis(child) - kurtosis(parent),
            })  # fmt: skip
            if kind in ROOTS:
                continue
            others = [other for other in range(len(zoo)) if zoo.runs[other] != tree]
            stranger = trees.file(int(rng.choice(others)))
            strange = compare(stranger, child)
            both = {SNE: (_score(found), _score(strange))}
            for opponent in OPPONENTS:
                mine, theirs, strange_one = (opponent.prepare(network) for network in (child, parent, stranger))
                both[opponent.name] = (opponent.similarity(mine, theirs), opponent.similarity(mine, strange_one))
            false = strange.related and (strange.p_value is None or strange.p_value < SIGNIFICANT)
            scores.append({"kind": kind, "scores": both, "false": false})
    return {"named": named, "scores": scores}


def _score(found: Comparison) -> float:
    """Orders pairs: related ones first, then by the cosine of their weights after alignment."""
    return float(found.related) * 10 + (mean_cosine(found.layers) if found.layers else -1.0)


def _forest(trees: TreeZoo, design: LineageDesign, work: Path) -> dict[str, Any]:
    """Returns which edges of the forest of whole trees are right."""
    rows = [row for tree in trees.trees[-design.drawn :] for row in trees.of_tree(tree)]
    found = lineage([trees.path(row) for row in rows], errors=_raise)
    edges = {edge.child: edge for edge in found.edges}
    results = []
    for row in rows:
        edge, wanted = edges.get(trees.path(row)), {trees.path(other) for other in trees.parents(row)}
        is_right = edge is None if not wanted else edge is not None and edge.parent in wanted
        results.append({"kind": trees.kind(row), "node": trees.node(row), "right": is_right})
    return {"edges": results}


def auc(found: Sequence[Mapping[str, Any]], method: str) -> float:
    """Returns the area under the curve of relatives against strangers."""
    pairs = [row["scores"][method] for row in found]
    scores = [score for pair in pairs for score in pair]
    finite = np.nan_to_num(np.array(scores), neginf=-1e30)
    return float(roc_auc_score([1, 0] * len(pairs), finite))


def _raise(path: str, error: Exception) -> None:
    raise error


def _ignore(line: str) -> None:
    """Ignores a warning."""


def _nothing(network: Network) -> None:
    """Prepares nothing: embeddings are computed together."""
