"""A drawn change of the weights: applied, inverted, composed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sne.errors import SymmetryError
from sne.symmetry.axis_map import AxisMap, AxisMixing

Axis = tuple[str, int]


@dataclass(frozen=True)
class Step:
    """One part of a transformation: maps of whole axes, or mixings of some of their entries; never both.

    Args:
        maps: by tensor and axis.
        mixings: by tensor and axis; those of one axis touch different entries.
    """

    maps: Mapping[Axis, AxisMap] = field(default_factory=dict)
    mixings: Mapping[Axis, tuple[AxisMixing, ...]] = field(default_factory=dict)

    def inverse(self) -> "Step":
        """The step that undoes this one."""
        return Step(
            {axis: one.inverse() for axis, one in self.maps.items()},
            {
                axis: tuple(AxisMixing(one.positions, torch.linalg.inv(one.matrix)) for one in several)
                for axis, several in self.mixings.items()
            },
        )

    def after(self, first: "Step") -> "Step | None":
        """One step for `first` and then this one, or None where they cannot be one."""
        if self.mixings or first.mixings:
            return None
        merged = dict(first.maps)
        for axis, one in self.maps.items():
            merged[axis] = one.after(merged[axis]) if axis in merged else one
        return Step(merged)


@dataclass(frozen=True)
class Transformation:
    """A change of a network's weights that leaves its function alone. `g(state)`, `g.inverse()`, `g @ h` (h first).

    Args:
        shapes: of the tensors that it changes.
        aliases: from names of tied tensors to the names that the steps use.
        steps: done one after the other; none for the identity.
    """

    shapes: Mapping[str, tuple[int, ...]]
    aliases: Mapping[str, str]
    steps: tuple[Step, ...] = ()

    def __call__(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Changes a state dict.

        Args:
            state: tensors by name, on any device. Of tied tensors, one name is enough.

        Returns:
            A new state dict. Tensors that do not change are the same objects; tied tensors stay tied.

        Raises:
            SymmetryError: a tensor is missing, has another shape, or holds whole numbers that would be scaled.
        """
        changed = dict(state)
        for tensor, names in self._names().items():
            present = [name for name in names if name in state]
            if not present:
                raise SymmetryError(f"the state dict has no {tensor}, which this symmetry changes")
            done: list[tuple[Tensor, Tensor]] = []
            for name in present:
                old = state[name]
                new = next((new for other, new in done if _is_tied(old, other)), None)
                if new is None:
                    new = self._apply(tensor, old)
                    done.append((old, new))
                changed[name] = new
        return changed

    def inverse(self) -> "Transformation":
        """The transformation that undoes this one, to rounding where scales or mixings are among it."""
        return Transformation(self.shapes, self.aliases, tuple(step.inverse() for step in reversed(self.steps)))

    def __matmul__(self, first: "Transformation") -> "Transformation":
        """The transformation that does `first`, then this one.

        Raises:
            SymmetryError: the two are of different architectures.
        """
        for name in self.shapes.keys() & first.shapes.keys():
            if self.shapes[name] != first.shapes[name]:
                raise SymmetryError(f"{name} is {list(self.shapes[name])} here and {list(first.shapes[name])} there")
        steps = list(first.steps)
        for step in self.steps:
            merged = step.after(steps[-1]) if steps else None
            steps[-1:] = [merged] if merged else [*steps[-1:], step]
        return Transformation({**first.shapes, **self.shapes}, {**first.aliases, **self.aliases}, tuple(steps))

    @property
    def has_mixings(self) -> bool:
        """Whether it does more than move, scale and flip single neurons."""
        return any(step.mixings for step in self.steps)

    def maps(self, tensor: str) -> Mapping[int, AxisMap]:
        """The maps of a tensor's axes, for transformations without mixings.

        Raises:
            SymmetryError: there are mixings.
        """
        if self.has_mixings:
            raise SymmetryError("mixings are no maps of axes; draw without the kind 'mixing'")
        tensor = self.aliases.get(tensor, tensor)
        return {dim: one for step in self.steps for (name, dim), one in step.maps.items() if name == tensor}

    def _names(self) -> dict[str, list[str]]:
        names = {axis[0]: [axis[0]] for axis in self._axes()}
        for alias, tensor in self.aliases.items():
            if tensor in names:
                names[tensor].append(alias)
        return names

    def _axes(self) -> Iterator[Axis]:
        for step in self.steps:
            yield from step.maps
            yield from step.mixings

    def _apply(self, tensor: str, old: Tensor) -> Tensor:
        if tuple(old.shape) != self.shapes[tensor]:
            raise SymmetryError(f"{tensor} is {list(old.shape)}, expected {list(self.shapes[tensor])}")
        new = old
        for step in self.steps:
            for (name, dim), one in step.maps.items():
                if name == tensor:
                    if one.factor is not None and not old.is_floating_point():
                        raise SymmetryError(f"{tensor} holds {old.dtype}, which cannot be scaled")
                    new = one.apply(new, dim)
            for (name, dim), several in step.mixings.items():
                if name == tensor:
                    for mixing in several:
                        new = mixing.apply(new, dim)
        return new


def _is_tied(one: Tensor, other: Tensor) -> bool:
    return one is other or (
        one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()
    )
