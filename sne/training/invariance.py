"""Learned invariance: the term in the loss, and the copies of each step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders import NetworkEncoder
from sne.errors import TrainingError
from sne.predictors import TrainingSettings
from sne.training.copies import Copies
from sne.zoo import Zoo

_TRIED = 5  # networks of one symmetry: some may be dead, and one may sit on the edge of a bin
_LEAST_TRIED = 32  # networks whose embeddings give the spread


@dataclass(frozen=True)
class LearnedInvariance:
    """Draws the copies that one training run learns from.

    Args:
        copies: of the zoo's networks.
        rows: of the networks that are copied.
        draws: copies of each network and step.
        weight: of the term in the loss; 0 where the copies take the originals' places (augmentation alone).
    """

    copies: Copies
    rows: frozenset[int]
    draws: int
    weight: float

    def known(self, rows: Sequence[int]) -> list[int]:
        """Places in `rows` of the networks that are copied."""
        return [place for place, row in enumerate(rows) if row in self.rows]

    def copy(self, encoder: NetworkEncoder, rows: Sequence[int], *seed: object) -> list[Any]:
        """All draws of some networks, prepared, draw after draw."""
        return [
            item
            for draw in range(self.draws)
            for item in encoder.prepare(self.copies.draw(rows, *seed, draw).networks(rows))
        ]


def find_copies(zoo: Zoo, rows: np.ndarray, settings: TrainingSettings) -> Copies | None:
    """The copies that the settings ask for; None where they ask for none.

    Args:
        zoo: what is trained on.
        rows: of the training and validation runs.
        settings: `invariance`, `invariance_kinds` and `augment`.

    Raises:
        TrainingError: copies are asked for, and the symmetry of no network is known.
    """
    if not (settings.invariance or settings.augment):
        return None
    copies = Copies(zoo, settings.invariance_kinds)
    if not any(copies.is_known(int(row)) for row in rows):
        raise TrainingError(
            f"{zoo.path}: no symmetry of kind {' or '.join(copies.kinds)} is known of any of the {len(rows)} networks "
            "to train on; make the zoo again with `sne zoo make`, which keeps them, or train without invariance and "
            "augment"
        )
    return copies


def learned_invariance(
    copies: Copies, rows: np.ndarray, encoder: NetworkEncoder, prepared: Sequence[Any], settings: TrainingSettings
) -> tuple[LearnedInvariance | None, dict[str, Any]]:
    """Leaves out networks whose embedding is the same for every copy, by the way the encoder is built.

    Random parameters show it: where half of some networks of one symmetry, and their copies, get embeddings that are
    equal but for rounding (`NetworkEncoder.rounding`), training would not tell them apart either. The term is 0 there,
    and copies would cost time alone.

    Args:
        copies: of the zoo.
        rows: of the training and validation runs.
        encoder: with random parameters and its scale fitted.
        prepared: the networks of the rows.
        settings: `invariance` and `invariance_draws`.

    Returns:
        None where no network needs copies; and for the predictor's record: kinds, and numbers of networks that are
        copied, that need no copies, and whose symmetry is unknown.
    """
    by_symmetry: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        if copies.is_known(int(row)):
            by_symmetry.setdefault(id(copies.zoo.symmetry(int(row))), []).append(place)
    tried = [_spread(places, _TRIED) for places in by_symmetry.values()]
    beside = _spread(range(len(rows)), _LEAST_TRIED)
    moved = _moved(copies, rows, encoder, prepared, [place for places in tried for place in places], beside)
    copied = {
        int(rows[place])
        for places, some in zip(by_symmetry.values(), tried, strict=True)
        if 2 * len(moved.intersection(some)) >= len(some)
        for place in places
    }
    known = sum(len(places) for places in by_symmetry.values())
    record = {
        "kinds": list(copies.kinds),
        "copied": len(copied),
        "unmoved": known - len(copied),
        "unknown": len(rows) - known,
    }
    if not copied:
        return None, record
    return LearnedInvariance(copies, frozenset(copied), settings.invariance_draws, settings.invariance), record


def _moved(
    copies: Copies,
    rows: np.ndarray,
    encoder: NetworkEncoder,
    prepared: Sequence[Any],
    tried: Sequence[int],
    beside: Sequence[int],
) -> set[int]:
    """Those of the tried networks that are told from a copy; the spread is that of the networks beside them."""
    moved = encoder.prepare(list(copies.networks([int(rows[place]) for place in tried], "does it move")))
    spread = _embed(encoder, [prepared[place] for place in beside]).std(0, unbiased=False).norm()
    steps = (_embed(encoder, moved) - _embed(encoder, [prepared[place] for place in tried])).norm(dim=1)
    return {place for place, step in zip(tried, steps, strict=True) if step > encoder.rounding * spread}


@torch.inference_mode()
def _embed(encoder: NetworkEncoder, prepared: Sequence[Any]) -> Float[Tensor, "networks dim"]:
    encoder.eval()
    blocks = [prepared[start : start + 64] for start in range(0, len(prepared), 64)]
    return torch.cat([encoder(encoder.collate(block)).double() for block in blocks])


def _spread(places: Sequence[int], most: int) -> list[int]:
    """Some of the places, at equal distances, the ends among them."""
    count = min(most, len(places))
    return [places[number * (len(places) - 1) // max(count - 1, 1)] for number in range(count)]
