"""Labels of clusters: the properties that set the networks of a cluster apart from the others."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from sne.report.density import LEAST_MEMBERS, Cluster
from sne.report.map_data import DOMAIN, PREDICTED, SUMMARY, Column, MapData

LEAST_SCORE = 0.35
"""Least score of a property that stands in a label; it is 1 if all members have a value, and no other network has."""

FEW_VALUES = 12
"""Largest number of different values with which numbers, such as steps of training, are treated like texts."""

MOST_VALUES = 60
"""Largest number of different texts in a column that is used in labels: not names of runs."""

ENDS = (0.1, 0.9)
"""Quantiles of a cluster between which its numbers are said to be."""

MOST_PROPERTIES = 2

LOSS_OF_WORDS, LOSS_OF_NUMBERS, LOSS_OF_PREDICTIONS = 0.05, 0.1, 0.15
"""Losses in score, so that what was recorded comes before words, numbers and predictions that are hardly better."""

MOST_WORDS = 100
"""Number of the most frequent words in names that are tried."""

WORD, WITHOUT = "word of names: ", "(without)"
"""Beginning of the names of columns that are made of words, and their value where a name lacks the word."""


@dataclass(frozen=True)
class Statement:
    """What sets a cluster apart.

    Args:
        column: Name of the property.
        text: The statement.
        score: Share of the cluster for which it holds, minus the share of the others.
        holds: For which of all networks it holds.
    """

    column: str
    text: str
    score: float
    holds: Shaped[np.ndarray, " networks"]


def label_clusters(found: Sequence[Cluster], data: MapData) -> list[str]:
    """Names clusters after the properties, or words of the names, that set them apart, at most two each.

    Args:
        found: The clusters.
        data: All networks.

    Returns:
        One label per cluster; empty if nothing sets it apart. Predictions count only for networks that are known to be
        like those that the predictor has learned from.

    Example:
        >>> from sne.report.map_data import Column
        >>> names = tuple(f"{number}.pt" for number in range(20))
        >>> family = Column.of("family", ["cnn"] * 10 + ["mlp"] * 10)
        >>> data = MapData(names, np.zeros((20, 2), dtype=np.float32), (family,))
        >>> label_clusters([Cluster(0.0, 0.0, np.arange(10))], data)
        ['cnn']
    """
    useful = [*_useful(data.columns), *_words(data.names)]
    return [_label(cluster, useful, len(data)) for cluster in found]


def _useful(columns: Sequence[Column]) -> Iterator[Column]:
    """Yields columns that can set networks apart: measured and recorded ones first, predictions only of what is not."""
    by_name = {column.name: column for column in columns}
    in_domain = by_name[DOMAIN].values == "yes" if DOMAIN in by_name else None
    for column in sorted(columns, key=lambda column: (column.name.startswith(PREDICTED), column.is_number)):
        if column.name == SUMMARY:
            continue  # its first words are a column of their own
        if column.name.startswith(PREDICTED):
            if column.name.removeprefix(PREDICTED) in by_name or in_domain is None:
                continue
            values = column.values.copy()
            values[~in_domain] = np.nan if column.is_number else None
            column = Column(column.name, values)
        known = column.values[column.is_known]
        distinct = len(set(known.tolist()))
        if distinct > 1 and (column.is_number or distinct <= min(MOST_VALUES, len(known) / 2)):
            yield column


def _words(names: Sequence[str]) -> Iterator[Column]:
    """Yields one column per word that several names have: the word where a name has it, and else another text."""
    found: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        for word in set(re.findall(r"[A-Za-z][A-Za-z0-9]*", name.removesuffix(Path(name).suffix))):
            found.setdefault(word, []).append(row)
    shared = [(word, rows) for word, rows in found.items() if LEAST_MEMBERS <= len(rows) < len(names)]
    for word, rows in sorted(shared, key=lambda pair: (-len(pair[1]), pair[0]))[:MOST_WORDS]:
        values = np.full(len(names), WITHOUT, dtype=object)
        values[rows] = word
        yield Column(f"{WORD}{word}", values)


def _label(cluster: Cluster, columns: Sequence[Column], num_networks: int) -> str:
    """Chooses statements one by one; each is judged on the networks for which the earlier ones hold."""
    is_member = np.zeros(num_networks, dtype=bool)
    is_member[cluster.members] = True
    among = np.ones_like(is_member)
    chosen: list[Statement] = []
    while len(chosen) < MOST_PROPERTIES and (among & ~is_member).any() and (among & is_member).any():
        used = {statement.column for statement in chosen}
        known = [column for column in columns if column.name not in used]
        best = max((_best(column, is_member, among) for column in known), key=lambda one: one.score, default=None)
        if best is None or best.score < LEAST_SCORE:
            break
        chosen.append(best)
        among = among & best.holds
    return ", ".join(statement.text for statement in chosen)


def _best(
    column: Column, is_member: Shaped[np.ndarray, " networks"], among: Shaped[np.ndarray, " networks"]
) -> Statement:
    """Returns the statement about one property that tells members best from other networks."""
    known = column.is_known
    own = column.values[is_member & among & known]
    none = Statement(column.name, "", -1.0, np.zeros_like(is_member))
    if not len(own):
        return none
    if not column.is_number or len(set(column.values[known].tolist())) <= FEW_VALUES:
        value = Counter(own.tolist()).most_common(1)[0][0]
        if value == WITHOUT:
            return none
        holds = known & (column.values == value)
        text = _of_value(column, value)
    else:
        low, high = np.quantile(own, ENDS)
        holds = known & (column.values >= low) & (column.values <= high)
        text = f"{column.title} {_number(low)} to {_number(high)}"
    score = float(holds[is_member & among].mean() - holds[~is_member & among].mean())
    return Statement(column.name, text, score - _loss(column), holds)


def _loss(column: Column) -> float:
    if column.name.startswith(PREDICTED):
        return LOSS_OF_PREDICTIONS
    if column.is_number:
        return LOSS_OF_NUMBERS
    return LOSS_OF_WORDS if column.name.startswith(WORD) else 0.0


def _of_value(column: Column, value: float | str) -> str:
    if column.is_number:
        return f"{column.title} {_number(float(value))}"
    return f"{column.title}: {value}" if value in ("yes", "no") else str(value)


def _number(value: float) -> str:
    """Writes a number with three digits.

    Example:
        >>> _number(0.91234), _number(169600.0), _number(1e-5), _number(7e9)
        ('0.912', '169,600', '1e-05', '7e+09')
    """
    return f"{int(value):,}" if value == int(value) and abs(value) < 1e7 else f"{value:.3g}"
