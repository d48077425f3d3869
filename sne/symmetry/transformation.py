"""Transformations: changes of weights that leave a network's function unchanged; applied, inverted, composed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sne.errors import SymmetryError
from sne.symmetry.symmetry import Group, Symmetry


@dataclass(frozen=True)
class AxisMap:
    """Moves and scales the entries of one axis: `new[i] = factor[i] * old[index[i]]`.

    Args:
        dim: Axis of the tensor.
        index: Permutation of the axis.
        factor: Factor of each new entry, float64; None if all factors are 1.
    """

    dim: int
    index: Int64[Tensor, " axis"]
    factor: Float[Tensor, " axis"] | None = None


@dataclass(frozen=True)
class AxisMixing:
    """Mixes entries of one axis by a matrix: `new = matrix @ old`.

    Args:
        dim: Axis of the tensor.
        positions: Entries to mix; each row is mixed separately.
        matrix: Invertible matrix, float64.
    """

    dim: int
    positions: Int64[Tensor, "repeats size"]
    matrix: Float[Tensor, "size size"]


Change = AxisMap | AxisMixing


@dataclass(frozen=True)
class Transformation:
    """A change of weights that leaves the function of a network unchanged.

    Args:
        shapes: Shape of every tensor that the symmetry names.
        aliases: Maps each further name of a tied tensor to the name that `changes` uses.
        changes: Changes of each tensor, in the order in which they are applied.
    """

    shapes: Mapping[str, tuple[int, ...]]
    aliases: Mapping[str, str]
    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)


def apply(transformation: Transformation, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Applies a transformation to a state dict.

    Args:
        transformation: Transformation to apply.
        state: Tensors by name, on any device. One name per tied tensor suffices.

    Returns:
        A new state dict. Tensors without changes are the same objects as before; tied tensors stay tied.

    Raises:
        SymmetryError: A tensor is missing, has another shape, or holds integers that would be scaled.

    Example:
        >>> import torch, sne
        >>> module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> x = torch.randn(5, 3)
        >>> before = module(x)
        >>> g = sne.symmetry.sample(sne.symmetry.trace(module, (x,)), seed=0, kinds=("permutation", "scaling"))
        >>> result = module.load_state_dict(sne.symmetry.apply(g, module.state_dict()))
        >>> torch.allclose(before, module(x), atol=1e-5)
        True
    """
    names = {tensor: [tensor] for tensor in transformation.changes}
    for alias, tensor in transformation.aliases.items():
        if tensor in names:
            names[tensor].append(alias)
    changed = dict(state)
    for tensor, known_as in names.items():
        present = [name for name in known_as if name in state]
        if not present:
            raise SymmetryError(f"the state dict has no {tensor}, which this symmetry changes")
        done: list[tuple[Tensor, Tensor]] = []
        for name in present:
            old = state[name]
            new = next((new for other, new in done if _is_same_memory(old, other)), None)
            if new is None:
                new = apply_to_tensor(transformation, name, old)
                done.append((old, new))
            changed[name] = new
    return changed


def apply_to_tensor(transformation: Transformation, name: str, tensor: Tensor) -> Tensor:
    """Applies a transformation to one tensor of a network.

    Args:
        transformation: Transformation to apply.
        name: Any name of the tensor in the state dict.
        tensor: Values of the tensor.

    Returns:
        A new tensor on the same device and of the same dtype, or the same object if the tensor does not change.

    Raises:
        SymmetryError: The tensor has another shape than expected, or holds integers that would be scaled.
    """
    name = transformation.aliases.get(name, name)
    changes = transformation.changes.get(name, ())
    if changes and tuple(tensor.shape) != transformation.shapes[name]:
        raise SymmetryError(f"{name} is {list(tensor.shape)}, expected {list(transformation.shapes[name])}")
    for change in changes:
        if isinstance(change, AxisMixing):
            tensor = _mix(change, tensor)
        elif change.factor is not None and not tensor.is_floating_point():
            raise SymmetryError(f"{name} holds {tensor.dtype}, which cannot be scaled")
        else:
            tensor = _move(change, tensor)
    return tensor


@runtime_checkable
class FlatTensor(Protocol):
    """Location of one tensor in a flat vector, in row-major order; the slots of a zoo's layout are such locations."""

    @property
    def name(self) -> str:
        """Name of the tensor in the state dict."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        ...

    @property
    def offset(self) -> int:
        """Index of the tensor's first entry in the vector."""
        ...


def apply_flat(
    transformation: Transformation, tensors: Iterable[FlatTensor], vector: Float[Tensor, " entries"]
) -> Float[Tensor, " entries"]:
    """Applies a transformation to a network that is stored as one flat vector.

    Args:
        transformation: Transformation to apply.
        tensors: Locations of the network's tensors. Entries of the vector outside all of them do not change.
        vector: Weights of the network.

    Returns:
        A new vector.

    Raises:
        SymmetryError: A tensor is missing or has another shape than in the symmetry.
    """
    new = vector.clone()
    views = {one.name: new[one.offset : one.offset + prod(one.shape)].view(one.shape) for one in tensors}
    for name, changed in apply(transformation, views).items():
        if changed is not views[name]:
            views[name].copy_(changed)
    return new


def invert(transformation: Transformation) -> Transformation:
    """Returns the transformation that undoes another one, up to rounding if it scales or mixes."""
    changes = {
        name: tuple(_inverse(change) for change in reversed(several))
        for name, several in transformation.changes.items()
    }
    return Transformation(transformation.shapes, transformation.aliases, changes)


def compose(first: Transformation, second: Transformation) -> Transformation:
    """Returns the transformation that applies `first` and then `second`.

    Raises:
        SymmetryError: The two belong to different architectures.
    """
    for name in first.shapes.keys() & second.shapes.keys():
        if first.shapes[name] != second.shapes[name]:
            raise SymmetryError(
                f"{name} is {list(first.shapes[name])} in one and {list(second.shapes[name])} in the other"
            )
    changes = dict(first.changes)
    for name, several in second.changes.items():
        for change in several:
            changes[name] = _appended(changes.get(name, ()), change)
    return Transformation({**first.shapes, **second.shapes}, {**first.aliases, **second.aliases}, changes)


def transformation_of(
    symmetry: Symmetry,
    changes: Iterable[tuple[Group, Int64[Tensor, " _"] | None, Float[Tensor, " _"] | None]],
) -> Transformation:
    """Returns the transformation that reorders and scales the neurons of some groups.

    Args:
        symmetry: Symmetry of the network.
        changes: Groups in the order of the symmetry, each with the old place and the factor (float64) of every new
            neuron; None for places or factors that do not change.
    """
    maps: dict[tuple[str, int], AxisMap] = {}
    for group, order, factor in changes:
        for (tensor, dim), change in _maps_of(group, symmetry.shapes, order, factor).items():
            before = maps.get((tensor, dim))
            maps[tensor, dim] = change if before is None else _merged(before, change)
    found: dict[str, tuple[Change, ...]] = {}
    for (tensor, _), change in maps.items():
        found[tensor] = (*found.get(tensor, ()), change)
    return Transformation(symmetry.shapes, symmetry.aliases, found)


def _maps_of(
    group: Group,
    shapes: Mapping[str, tuple[int, ...]],
    order: Int64[Tensor, " _"] | None,
    factor: Float[Tensor, " _"] | None,
) -> dict[tuple[str, int], AxisMap]:
    """Returns the change of one group, by tensor and axis."""
    indices: dict[tuple[str, int], Int64[Tensor, " axis"]] = {}
    factors: dict[tuple[str, int], Float[Tensor, " axis"]] = {}
    for span, positions in group.places:
        axis, length = (span.tensor, span.dim), shapes[span.tensor][span.dim]
        index = indices.setdefault(axis, torch.arange(length))
        if order is not None:
            index[positions] = positions[order]
        if factor is not None and span.power:
            along = factors.setdefault(axis, torch.ones(length, dtype=torch.float64))
            along[positions] = (factor**span.power)[:, None]
    changing = {axis: along for axis, along in factors.items() if not bool((along == 1).all())}
    return {axis: AxisMap(axis[1], index, changing.get(axis)) for axis, index in indices.items()}


def _appended(changes: tuple[Change, ...], change: Change) -> tuple[Change, ...]:
    """Returns the changes of a tensor and one more. Changes of different axes commute, so maps of one axis merge."""
    last = max((i for i, one in enumerate(changes) if one.dim == change.dim), default=None)
    if last is None or isinstance(change, AxisMixing):
        return (*changes, change)
    before = changes[last]
    if isinstance(before, AxisMixing):
        return (*changes, change)
    return (*changes[:last], _merged(before, change), *changes[last + 1 :])


def _merged(first: AxisMap, second: AxisMap) -> AxisMap:
    """Returns the map that applies `first` and then `second`."""
    factor = None if first.factor is None else first.factor[second.index]
    if second.factor is not None:
        factor = second.factor if factor is None else second.factor * factor
    return AxisMap(first.dim, first.index[second.index], factor)


def _inverse(change: Change) -> Change:
    if isinstance(change, AxisMixing):
        return AxisMixing(change.dim, change.positions, torch.linalg.inv(change.matrix))
    back = torch.empty_like(change.index)
    back[change.index] = torch.arange(len(back))
    return AxisMap(change.dim, back, None if change.factor is None else change.factor[back].reciprocal())


def _move(change: AxisMap, tensor: Tensor) -> Tensor:
    # index_select would copy twice; without a factor, the copy is needed
    is_still = change.factor is not None and torch.equal(change.index, torch.arange(len(change.index)))
    moved = tensor if is_still else tensor.index_select(change.dim, change.index.to(tensor.device))
    if change.factor is None:
        return moved
    along = [-1 if dim == change.dim else 1 for dim in range(tensor.ndim)]
    return moved * change.factor.to(tensor.device, tensor.dtype).view(along)


def _mix(change: AxisMixing, tensor: Tensor) -> Tensor:
    positions = change.positions.to(tensor.device)
    precise = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    moved = tensor.movedim(change.dim, 0)
    old = moved[positions].to(precise)
    new = torch.einsum("ij,rj...->ri...", change.matrix.to(tensor.device, precise), old)
    return moved.index_put((positions,), new.to(tensor.dtype)).movedim(0, change.dim)


def _is_same_memory(one: Tensor, other: Tensor) -> bool:
    return one is other or (
        one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()
    )
