"""Transformed copies of a zoo's networks: other weights that compute the same function."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.encoders import NetworkEncoder
from sne.errors import TrainingError
from sne.networks import Network
from sne.predictors import TrainingSettings
from sne.predictors.experts.settings import check_kinds
from sne.predictors.experts.state import derive_seed
from sne.symmetry import Symmetry, SymmetryError, apply_flat, sample
from sne.zoo import Zoo, ZooError

_TRIED = 5  # networks per symmetry: some may be dead, and one may lie on the edge of a bin
_LEAST_TRIED = 32  # networks whose embeddings give the spread


class Copies:
    """Draws transformed copies of the networks of a zoo.

    A draw depends on its seed and the id of the network only, not on the other networks of a batch.

    Args:
        zoo: Networks, with the symmetries that are known.
        kinds: Kinds of weight changes, some of `sne.symmetry.KINDS`.

    Raises:
        TrainingError: A kind is unknown.
    """

    def __init__(self, zoo: Zoo, kinds: Sequence[str]) -> None:
        check_kinds(kinds)
        self.zoo = zoo
        self.kinds = tuple(kinds)
        self._moves: dict[int, tuple[Symmetry, bool]] = {}  # by identity: a zoo reads each symmetry once

    def is_known(self, row: int) -> bool:
        """Whether these kinds can change anything in a network.

        A damaged symmetry counts as unknown: the weights are still readable, and `sne zoo verify` reports the damage.
        """
        try:
            symmetry = self.zoo.symmetry(row)
        except ZooError:
            return False
        if symmetry is None:
            return False
        if id(symmetry) not in self._moves:
            self._moves[id(symmetry)] = (
                symmetry,
                ("mixing" in self.kinds and bool(symmetry.mixings))
                or any(
                    kind in self.kinds and (group.size > 1 or kind != "permutation")
                    for group in symmetry.groups
                    for kind in group.kinds
                ),
            )
        return self._moves[id(symmetry)][1]

    def draw(self, rows: Sequence[int], *seed: object) -> Zoo:
        """Returns the zoo with copies in place of some networks; networks of unknown symmetry stay unchanged.

        Args:
            rows: Rows of the networks.
            seed: Seed parts of the draws.

        Raises:
            TrainingError: A symmetry does not fit its network.
        """
        return self.zoo.with_weights({row: self._copy(row, seed) for row in rows if self.is_known(row)})

    def networks(self, rows: Sequence[int], *seed: object) -> Iterator[Network]:
        """Yields the copies of `draw` one at a time; each is drawn when it is asked for."""
        for row in rows:
            yield self.draw([row], *seed).network(row)

    def _copy(self, row: int, seed: tuple[object, ...]) -> Float[Tensor, " entries"]:
        symmetry, layout = self.zoo.symmetry(row), self.zoo.layout(row)
        assert symmetry is not None
        drawn = sample(symmetry, derive_seed(*seed, self.zoo.ids[row]), self.kinds)
        try:
            return apply_flat(drawn, layout.slots, self.zoo.weights(row))
        except SymmetryError as error:
            raise TrainingError(f"{self.zoo.path}: {self.zoo.ids[row]}: its symmetry does not fit: {error}") from None


@dataclass(frozen=True)
class TrainingCopies:
    """The copies that one training run learns from; a `sne.predictors.experts.CopySource`.

    Args:
        copies: Draws the copies.
        rows: Rows of the networks that are copied.
        draws: Number of copies per network and step.
        weight: Weight of the invariance term in the loss; 0 where copies replace the networks (augmentation alone).
    """

    copies: Copies
    rows: frozenset[int]
    draws: int
    weight: float

    def known(self, rows: Sequence[int]) -> list[int]:
        """Returns the places in `rows` of the networks that are copied."""
        return [place for place, row in enumerate(rows) if row in self.rows]

    def copy(self, encoder: NetworkEncoder, rows: Sequence[int], *seed: object) -> list[Any]:
        """Draws and prepares all copies of some networks, one draw after the other."""
        return [
            item
            for draw in range(self.draws)
            for item in encoder.prepare(self.copies.draw(rows, *seed, draw).networks(rows))
        ]


def find_copies(zoo: Zoo, rows: np.ndarray, settings: TrainingSettings) -> Copies | None:
    """Returns what draws the copies that the settings ask for; None where they ask for none.

    Args:
        zoo: The zoo that is trained on.
        rows: Rows of the training and validation runs.
        settings: Settings `invariance`, `invariance_kinds` and `augment`.

    Raises:
        TrainingError: Copies are asked for, and the symmetry of no network is known.
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


def choose_copies(
    copies: Copies, rows: np.ndarray, encoder: NetworkEncoder, items: Sequence[Any], settings: TrainingSettings
) -> tuple[TrainingCopies | None, dict[str, Any]]:
    """Chooses the networks that are copied: those whose copies the encoder can tell from them.

    An encoder may give the same embedding to all copies of a network by construction. Random parameters show it: if
    half of some networks of one symmetry have the same embedding as their copies, up to rounding
    (`NetworkEncoder.rounding`), the invariance term would be 0 in training too, and copies would only cost time.

    Args:
        copies: Draws the copies.
        rows: Rows of the training and validation runs.
        encoder: An encoder with random parameters and fitted input scale.
        items: The networks of these rows, prepared by the encoder.
        settings: Settings `invariance` and `invariance_draws`.

    Returns:
        The copies, or None where no network needs any; and for the predictor's record the kinds, and the numbers of
        networks that are copied, that need no copies, and whose symmetry is unknown.
    """
    by_symmetry: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        if copies.is_known(int(row)):
            by_symmetry.setdefault(id(copies.zoo.symmetry(int(row))), []).append(place)
    tried = [_spread(places, _TRIED) for places in by_symmetry.values()]
    reference = _spread(range(len(rows)), _LEAST_TRIED)
    moved = _moved(copies, rows, encoder, items, [place for places in tried for place in places], reference)
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
    return TrainingCopies(copies, frozenset(copied), settings.invariance_draws, settings.invariance), record


def _moved(
    copies: Copies,
    rows: np.ndarray,
    encoder: NetworkEncoder,
    items: Sequence[Any],
    tried: Sequence[int],
    reference: Sequence[int],
) -> set[int]:
    """Returns the tried places whose networks differ from a copy, compared with the spread of the reference places."""
    moved = encoder.prepare(list(copies.networks([int(rows[place]) for place in tried], "does it move")))
    spread = _embed(encoder, [items[place] for place in reference]).std(0, unbiased=False).norm()
    steps = (_embed(encoder, moved) - _embed(encoder, [items[place] for place in tried])).norm(dim=1)
    return {place for place, step in zip(tried, steps, strict=True) if step > encoder.rounding * spread}


@torch.inference_mode()
def _embed(encoder: NetworkEncoder, items: Sequence[Any]) -> Float[Tensor, "networks dim"]:
    encoder.eval()
    blocks = [items[start : start + 64] for start in range(0, len(items), 64)]
    return torch.cat([encoder(encoder.collate(block)).double() for block in blocks])


def _spread(places: Sequence[int], most: int) -> list[int]:
    """Selects places at equal distances, including the first and the last."""
    count = min(most, len(places))
    return [places[number * (len(places) - 1) // max(count - 1, 1)] for number in range(count)]
