"""Claims about axes, which readers of layouts collect, and the symmetry that they make."""

from collections.abc import Mapping
from dataclasses import replace

from sne.networks import TensorInfo
from sne.symmetry.symmetry import Fixed, Group, Mixing, Span, Symmetry


class UncertainError(Exception):
    """A layout does not hold for a network; the message says why."""


class Claims:
    """Collects groups. If a group is given up after it was claimed, all its axes are fixed.

    Args:
        infos: Every tensor of the network by name.
        aliases: For each name of a tied tensor but the first, the name that is kept.
    """

    def __init__(self, infos: Mapping[str, TensorInfo], aliases: Mapping[str, str]) -> None:
        self.infos = infos
        self.aliases = aliases
        self._sizes: dict[str, int] = {}
        self._spans: dict[str, list[Span]] = {}
        self._kinds: dict[str, tuple[str, ...]] = {}
        self._mixings: list[Mixing] = []
        self._broken: dict[str, str] = {}
        self._reasons: dict[tuple[str, int], str] = {}

    def claim(self, group: str, size: int, span: Span) -> None:
        """Claims that the neurons of a group sit on an axis.

        Args:
            group: Name of the group.
            size: Number of neurons.
            span: Place on the axis.

        Raises:
            UncertainError: The group has another size elsewhere, or the tensor has no such axis or is too short.
        """
        shape = self.infos[span.tensor].shape
        if self._sizes.setdefault(group, size) != size:
            raise UncertainError(f"{span.tensor} has {size} neurons of {group}, others have {self._sizes[group]}")
        if span.dim >= len(shape) or span.end(size) > shape[span.dim]:
            raise UncertainError(f"{span.tensor} is {list(shape)}, too small for {span.end(size)} on axis {span.dim}")
        self._spans.setdefault(group, []).append(span)

    def size(self, group: str) -> int:
        """Returns the number of neurons of a claimed group."""
        return self._sizes[group]

    def allow(self, group: str, *kinds: str) -> None:
        """Allows kinds of changes in addition to permutations."""
        there = self._kinds.get(group, ())
        self._kinds[group] = (*there, *(kind for kind in kinds if kind not in there))

    def forbid(self, group: str, *kinds: str) -> None:
        """Withdraws kinds of changes."""
        self._kinds[group] = tuple(kind for kind in self._kinds.get(group, ()) if kind not in kinds)

    def mix(self, mixing: Mixing) -> None:
        """Adds a mixing."""
        self._mixings.append(mixing)

    def fix(self, tensor: str, dim: int, reason: str) -> None:
        """Gives the reason why an axis is fixed; it does not withdraw a claim on the axis."""
        self._reasons.setdefault((tensor, dim), reason)

    def give_up(self, group: str, reason: str) -> None:
        """Fixes all axes of a group."""
        self._broken.setdefault(group, reason)

    def build(self) -> Symmetry:
        """Returns the symmetry: groups that are claimed and not given up. Every other axis is fixed for a reason."""
        self._settle_tied()
        groups = tuple(
            Group(name, self._sizes[name], tuple(spans), ("permutation", *self._kinds.get(name, ())))
            for name, spans in self._spans.items()
            if self._sizes[name] > 1 and name not in self._broken
        )
        for name, spans in self._spans.items():
            reason = self._broken.get(name, "no more than one entry" if self._sizes[name] < 2 else "")
            for span in spans if reason else ():
                self.fix(span.tensor, span.dim, reason)
        mixings = tuple(one for one in self._mixings if one.name not in self._broken)
        moving = [*groups, *mixings]
        free = {(span.tensor, span.dim) for one in moving for span in one.spans}
        fixed = tuple(
            Fixed(name, dim, self._reasons.get((name, dim), "not understood: the layout does not mention this axis"))
            for name, info in self.infos.items()
            if name not in self.aliases
            for dim in range(len(info.shape))
            if (name, dim) not in free
        )
        named = {name for name, _ in free}
        return Symmetry(
            groups,
            mixings,
            {name: self.infos[name].shape for name in self.infos if name in named},
            {alias: name for alias, name in self.aliases.items() if name in named},
            fixed,
        )

    def _settle_tied(self) -> None:
        """Replaces names of tied tensors by the one that is kept; gives up groups that move them differently."""
        tied = {*self.aliases, *self.aliases.values()}
        seen: dict[str, dict[tuple[str, Span], int]] = {name: {} for name in tied}
        for group, spans in self._spans.items():
            for span in spans:
                if span.tensor in tied:
                    name = self.aliases.get(span.tensor, span.tensor)
                    seen[span.tensor][group, replace(span, tensor=name, power=0)] = span.power
        for alias, name in self.aliases.items():
            for group, _ in seen[alias].keys() ^ seen[name].keys():
                self.give_up(group, f"{alias} and {name} are one tensor, and would move differently")
            for (group, span), power in seen[alias].items():
                if seen[name].get((group, span), power) != power:
                    self.forbid(group, "scaling", "sign")
        for group, spans in self._spans.items():
            self._spans[group] = [span for span in spans if span.tensor not in self.aliases]
        self._mixings = [
            replace(one, spans=tuple(span for span in one.spans if span.tensor not in self.aliases))
            for one in self._mixings
        ]


def nothing(infos: Mapping[str, TensorInfo], reason: str) -> Symmetry:
    """Returns a symmetry without groups.

    Args:
        infos: Every tensor of the network by name.
        reason: Why nothing is claimed.
    """
    fixed = tuple(
        Fixed(name, dim, f"not understood: {reason}") for name, info in infos.items() for dim in range(len(info.shape))
    )
    return Symmetry(fixed=fixed)
