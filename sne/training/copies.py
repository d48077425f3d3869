"""Transformed copies of a zoo's networks: other weights that compute the same function."""

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from sne.errors import TrainingError
from sne.networks import Network
from sne.predictors.experts.settings import check_kinds
from sne.predictors.experts.state import derive_seed
from sne.symmetry import Symmetry, SymmetryError, apply_flat, sample
from sne.zoo import Zoo, ZooError


class Copies:
    """Draws transformed copies of the networks of a zoo.

    A draw depends on its seed and the network's id, and on nothing else: not on the networks beside it.

    Args:
        zoo: networks, with the symmetries that are known of them.
        kinds: of changes, some of `sne.symmetry.KINDS`.

    Raises:
        TrainingError: a kind is not known.
    """

    def __init__(self, zoo: Zoo, kinds: Sequence[str]) -> None:
        check_kinds(kinds)
        self.zoo = zoo
        self.kinds = tuple(kinds)
        self._moves: dict[int, tuple[Symmetry, bool]] = {}  # by identity: a zoo reads each symmetry once

    def is_known(self, row: int) -> bool:
        """Whether something may be changed in a network by these kinds.

        A symmetry that is damaged counts as unknown: it hurts no weights, and `sne zoo verify` tells of it.
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
        """The zoo as if these rows held copies of themselves; rows of unknown symmetry stay as they are.

        Args:
            rows: row numbers.
            seed: what the draws depend on.

        Raises:
            TrainingError: a symmetry does not fit its network.
        """
        return self.zoo.with_weights({row: self._copy(row, seed) for row in rows if self.is_known(row)})

    def networks(self, rows: Sequence[int], *seed: object) -> Iterator[Network]:
        """The copies of `draw`, one at a time, each drawn when it is asked for."""
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
