"""Learned invariance: the term in the loss, and the copies of each step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sne.encoders import NetworkEncoder
from sne.training.copies import Copies
from sne.training.errors import TrainingError
from sne.training.settings import TrainingSettings
from sne.zoo import Zoo


def invariance_term(
    outputs: Float[Tensor, "networks raw"], of_copies: Float[Tensor, "draws networks raw"]
) -> Float[Tensor, ""]:
    """Half the squared distance between the outputs for networks and for their copies, averaged over both.

    Source: Moskalev et al., "On genuine invariance learning without weight-tying", arXiv 2308.03904, section 2.
    Differs: nothing; the outputs are those of the heads before sigmoid, softmax or scale, rank outputs among them.
    """
    return 0.5 * (outputs - of_copies).square().sum(-1).mean()


@dataclass(frozen=True)
class LearnedInvariance:
    """Draws the copies that one training run learns from.

    Args:
        copies: of the zoo's networks.
        draws: copies of each network and step.
        weight: of the term in the loss; 0 where the copies take the originals' places (augmentation).
    """

    copies: Copies
    draws: int
    weight: float

    def replace(self, encoder: NetworkEncoder, rows: Sequence[int], *seed: object) -> list[Any]:
        """One copy of each network, prepared; networks of unknown symmetry as they are."""
        return encoder.prepare(self.copies.draw(rows, *seed, 0).networks(rows))

    def known(self, rows: Sequence[int]) -> list[int]:
        """Places in `rows` of the networks that have copies."""
        return [place for place, row in enumerate(rows) if self.copies.is_known(row)]

    def copy(self, encoder: NetworkEncoder, rows: Sequence[int], *seed: object) -> list[Any]:
        """All draws of some networks of known symmetry, prepared, draw after draw."""
        return [
            item
            for number in range(self.draws)
            for item in encoder.prepare(self.copies.draw(rows, *seed, number).networks(rows))
        ]


def learned_invariance(
    zoo: Zoo, rows: np.ndarray, encoder: NetworkEncoder, settings: TrainingSettings
) -> tuple[LearnedInvariance | None, dict[str, Any]]:
    """What the settings ask for, and what a predictor's record says about it.

    Args:
        zoo: what is trained on.
        rows: of the training and validation runs.
        encoder: kinds that leave its embeddings alone by construction are not drawn: the term would be 0.
        settings: `invariance`, `invariance_kinds`, `invariance_draws` and `augment`.

    Returns:
        None where no copies are drawn; and kinds, networks of known and of unknown symmetry and, maybe, a note.

    Raises:
        TrainingError: copies are asked for, and the symmetry of no network is known.
    """
    if not (settings.invariance or settings.augment):
        return None, {}
    kinds = [kind for kind in settings.invariance_kinds if kind not in encoder.exact_kinds]
    exact = [kind for kind in settings.invariance_kinds if kind in encoder.exact_kinds]
    record: dict[str, Any] = {"kinds": kinds}
    if exact:
        name, listed = type(encoder).__name__, " and ".join(exact)
        record["note"] = f"{name} is invariant under {listed} by construction: no copies are drawn for it"
    if not kinds:
        return None, record
    copies = Copies(zoo, kinds)
    known = sum(copies.is_known(int(row)) for row in rows)
    if not known:
        raise TrainingError(
            f"{zoo.path}: of none of the {len(rows)} networks to train on a symmetry of kind {' or '.join(kinds)} is "
            "known; make the zoo again with `sne zoo make`, which keeps them, or train without invariance and augment"
        )
    record |= {"known": known, "unknown": len(rows) - known}
    return LearnedInvariance(copies, settings.invariance_draws, settings.invariance), record
