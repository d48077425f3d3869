"""What may be changed in a network without changing its function, as plain data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sne.errors import SymmetryError
from sne.symmetry.groups import KINDS, Fixed, Group, Mixing, check_spans
from sne.symmetry.transformation import Transformation


@dataclass(frozen=True)
class Symmetry:
    """The groups of one architecture. It holds no weights and needs no code: keep it once per architecture.

    Args:
        groups: applied in this order; channels in heads stand before heads.
        mixings: applied after the groups.
        shapes: of every tensor that a span names.
        aliases: from names of tied tensors to the name that spans use.
        fixed: axes on which nothing may move, and why.

    Raises:
        SymmetryError: spans leave their tensors or overlap, names stand twice, or a kind is not known.
    """

    groups: tuple[Group, ...] = ()
    mixings: tuple[Mixing, ...] = ()
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    fixed: tuple[Fixed, ...] = ()

    def __post_init__(self) -> None:
        for several in (self.groups, self.mixings):
            names = [one.name for one in several]
            twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
            if twice:
                raise SymmetryError(f"the name {twice[0]!r} stands twice, expected one group a name")
        for group in self.groups:
            unknown = [kind for kind in group.kinds if kind not in KINDS]
            if unknown or not group.kinds:
                raise SymmetryError(f"group {group.name}: kinds are {group.kinds}, expected some of {', '.join(KINDS)}")
        for one in (*self.groups, *self.mixings):
            if one.size < 1:
                raise SymmetryError(f"group {one.name}: size is {one.size}, expected at least 1")
            check_spans(one, self.shapes)
        for mixing in self.mixings:
            if any(span.power not in (1, -1) or span.inner != 1 for span in mixing.spans):
                raise SymmetryError(f"mixing {mixing.name}: expected spans of power 1 or -1 and inner 1")

    @property
    def not_understood(self) -> tuple[Fixed, ...]:
        """Axes that are fixed because an operation was not known, or axes met that could not be matched."""
        return tuple(one for one in self.fixed if one.reason.startswith("not understood"))

    def sample(
        self,
        seed: int | torch.Generator,
        kinds: Sequence[str] = ("permutation",),
        fraction: float = 1.0,
    ) -> Transformation:
        """Draws a change of the weights that leaves the function alone.

        Args:
            seed: of the draw, or a generator on the CPU.
            kinds: some of "permutation", "scaling" (by 1/2 to 2), "sign" and "mixing".
            fraction: part of each group's neurons that is moved, scaled or flipped; a mixing is drawn with this
                probability.

        Raises:
            SymmetryError: a kind is not known, or the fraction is not in 0 to 1.
        """
        from sne.symmetry.sampling import draw

        return draw(self, seed, kinds, fraction)

    def canonical(self, state: Mapping[str, Tensor], kinds: Sequence[str] = ("scaling", "sign")) -> Transformation:
        """Finds what brings a network to the canonical point of its orbit: the same weights for all its copies.

        Scales are those at which the sum of all squared weights is least; signs are those at which what flips with a
        neuron has a sum that is not negative, group after group. Signs cannot be told where two groups flip the same
        entries, as channels and heads of grouped-query attention do; there some stay as they are. So may scales of
        neurons that are cut off from inputs and outputs alike.

        Args:
            state: tensors by name.
            kinds: "scaling", "sign" or both.

        Returns:
            g, so that g(state) equals what it gives for every copy of the network by these kinds, to rounding.

        Raises:
            SymmetryError: a kind has no canonical point, or a tensor is missing or has another shape.

        Source: scales that minimise weights are those of Stock et al., "Equi-normalization of neural networks", arXiv
            1902.10416.
        Differs: any groups, all spans of a neuron at once.
        """
        from sne.symmetry.canonical import canonical_transformation

        return canonical_transformation(self, state, kinds)

    def to_json(self) -> str:
        """The symmetry as JSON. Inverse: `from_json`."""
        from sne.symmetry.plain import symmetry_to_plain

        return json.dumps(symmetry_to_plain(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, where: str = "symmetry") -> "Symmetry":
        """Reads what `to_json` wrote, checking it. Inverse of `to_json`.

        Args:
            text: JSON.
            where: what messages call it.

        Raises:
            SymmetryError: it is not the JSON of a symmetry.
        """
        from sne.symmetry.plain import symmetry_from_plain

        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SymmetryError(f"{where} is not JSON: {error}") from None
        try:
            return cls(**symmetry_from_plain(values))
        except SymmetryError as error:
            raise SymmetryError(f"{where}: {error}") from None
