"""Invariance error: how far predictions move when weights change and the function of the network does not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from sne.predictors import Predictor, Property, decide
from sne.predictors.figures import Figures
from sne.training.copies import Copies
from sne.zoo import Zoo

MOST_NETWORKS = 1000
"""Largest number of networks that are copied in an evaluation."""

MOST_HELD_OUT = 256
"""Largest number of networks that are copied after training."""

_BLOCK_WEIGHTS = 4_000_000

Predict = Callable[[Any, np.ndarray], np.ndarray]
"""From a zoo and row numbers to values or class names, like `predict` of a fitted baseline."""


@dataclass(frozen=True)
class InvarianceError:
    """Changes of the predictions of one property, network by network.

    Args:
        kinds: Kinds of weight changes that were drawn.
        draws: Number of copies per network.
        logits: E_g[1/2 ||f(W) - f(g W)||^2] of the predictor, where f are the outputs of a head before sigmoid, softmax
            or scale, averaged over the experts that have logits; nan for networks that were not copied, and where no
            expert has logits.
        values: Mean absolute change of the predicted value by method, for classes the share of copies whose predicted
            class differs; nan for networks that were not copied.

    Source: Moskalev et al., arXiv 2308.03904, section 2; method.md, section 2.
    Differs: The change of values is ours, for methods that have no logits.
    """

    kinds: tuple[str, ...]
    draws: int
    logits: Float[np.ndarray, " networks"]
    values: Mapping[str, Float[np.ndarray, " networks"]]

    @property
    def num_networks(self) -> int:
        """Number of networks that were copied."""
        return int((~np.isnan(self.values["sne"])).sum())

    def figures(self, method: str, rows: np.ndarray) -> Figures:
        """Computes means over some networks; None where none of them was copied."""
        changes = {
            "invariance_error": self.logits if method == "sne" else None,
            "value_change": self.values.get(method),
        }
        return {name: None if change is None else _mean(change[rows]) for name, change in changes.items()}

    def to_json(self) -> dict[str, Any]:
        """Returns what was drawn, as plain JSON values."""
        return {"kinds": list(self.kinds), "draws": self.draws, "n": self.num_networks}


class CopiedRows:
    """Measures how far predictions move when some networks of a zoo are replaced by copies.

    Args:
        copies: Draws the copies.
        rows: Rows of the networks; those whose symmetry is known are copied.
        draws: Number of copies per network.
        most: Largest number of networks that are copied; of more, so many are taken at equal distances.
        seed: Random seed of the draws.
    """

    def __init__(
        self, copies: Copies, rows: np.ndarray, *, draws: int = 1, most: int = MOST_NETWORKS, seed: int = 0
    ) -> None:
        known = np.array([place for place, row in enumerate(rows) if copies.is_known(int(row))], dtype=np.int64)
        if len(known) > most:
            known = known[np.linspace(0, len(known) - 1, most).round().astype(np.int64)]
        self.copies, self.draws, self.places, self._count = copies, draws, known, len(rows)
        self.rows: list[int] = [int(row) for row in np.asarray(rows)[known]]
        self._seed = ("invariance error", seed)

    def of_predictor(
        self,
        predictor: Predictor,
        values: Mapping[str, np.ndarray],
        logits: Mapping[str, np.ndarray],
        *,
        batch_size: int = 64,
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Computes the changes of logits and of the value for every row, by property.

        Args:
            predictor: The predictor.
            values: Its predictions for all rows, as `Predictor.arrays` gives them.
            logits: Its logits for all rows, likewise.
            batch_size: Number of networks per forward pass.
        """
        totals = {prop.name: np.zeros((2, len(self.rows))) for prop in predictor.properties}
        for draw in range(self.draws if self.rows else 0):
            networks = self.copies.networks(self.rows, *self._seed, draw)
            new = predictor.arrays(networks, batch_size=batch_size)
            for prop in predictor.properties:
                steps = new.logits[prop.name] - logits[prop.name][:, self.places].astype(np.float64)
                squares = 0.5 * np.square(steps).sum(-1)
                totals[prop.name][0] += squares.mean(0) / self.draws if len(squares) else np.nan
                moved = _distance(
                    prop, decide(prop, values[prop.name])[self.places], decide(prop, new.values[prop.name])
                )
                totals[prop.name][1] += moved / self.draws
        return {name: (self._spread(total[0]), self._spread(total[1])) for name, total in totals.items()}

    def of_method(self, prop: Property, predict: Predict, values: np.ndarray) -> np.ndarray:
        """Computes the change of the value for every row.

        Args:
            prop: The property.
            predict: Predicts it from a zoo and row numbers.
            values: Predictions for all rows.
        """
        total = np.zeros(len(self.rows))
        for draw in range(self.draws if self.rows else 0):
            new = [predict(self.copies.draw(block, *self._seed, draw), np.array(block)) for block in self._blocks()]
            total += _distance(prop, values[self.places], np.concatenate(new)) / self.draws
        return self._spread(total)

    def _spread(self, changes: np.ndarray) -> np.ndarray:
        spread = np.full(self._count, np.nan)
        spread[self.places] = changes
        return spread

    def _blocks(self) -> list[list[int]]:
        """Cuts the rows into blocks whose copies fit into memory together."""
        blocks: list[list[int]] = []
        weights = 0
        for row in self.rows:
            count = self.copies.zoo.num_weights(row)
            if not blocks or weights + count > _BLOCK_WEIGHTS:
                blocks.append([])
                weights = 0
            blocks[-1].append(row)
            weights += count
        return blocks


def held_out_invariance(
    predictors: Sequence[Predictor], zoo: Zoo, held_out: Sequence[np.ndarray], kinds: Sequence[str], *, seed: int
) -> dict[str, Any]:
    """Measures how far predictions move on networks that were not learned from.

    Args:
        predictors: One predictor per fold.
        zoo: The zoo of the networks.
        held_out: Rows that each fold held out, of which `MOST_HELD_OUT` together are copied, once each.
        kinds: Kinds of weight changes.
        seed: Random seed of the draws.

    Returns:
        Plain JSON values: kinds, draws, n, and the figures of each property.
    """
    copies = Copies(zoo, kinds)
    n, totals = 0, {prop.name: np.zeros(2) for prop in predictors[0].properties}
    for predictor, rows in zip(predictors, held_out, strict=True):
        chosen = CopiedRows(copies, rows, most=max(MOST_HELD_OUT // len(predictors), 1)).rows
        found = predictor.arrays(zoo.networks(chosen))
        changes = CopiedRows(copies, np.array(chosen), seed=seed).of_predictor(predictor, found.values, found.logits)
        for name, pair in changes.items():
            totals[name] += [part.sum() for part in pair]
        n += len(chosen)
    names = ("invariance_error", "value_change")
    figures = {}
    for name, total in totals.items():
        means = [float(value) if n and not np.isnan(value) else None for value in total / max(n, 1)]
        figures[name] = dict(zip(names, means, strict=True))
    return {"kinds": list(copies.kinds), "draws": 1, "n": n, "properties": figures}


def _distance(prop: Property, old: Sequence[Any] | np.ndarray, new: Sequence[Any] | np.ndarray) -> np.ndarray:
    if prop.kind == "class":
        return (np.asarray(old, dtype=object) != np.asarray(new, dtype=object)).astype(np.float64)
    return np.abs(np.asarray(new, dtype=np.float64) - np.asarray(old, dtype=np.float64))


def _mean(changes: np.ndarray) -> float | None:
    known = changes[~np.isnan(changes)]
    return float(known.mean()) if len(known) else None
