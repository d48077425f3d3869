"""Plain stacks of linear layers, convolutions and recurrent layers.

Names and shapes show that each layer reads what the one before feeds; they do not show what stands around the layers. A
skip connection, a layer used twice, states summed over layers or directions: all of these join widths that are equal.
So all axes of one width move together, wherever they stand, and a width that the input or the output has too stays.
With `assume_sequential` each width between two layers is by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isqrt

from sne.networks import Hint
from sne.symmetry.by_name.claims import Claims, UncertainError
from sne.symmetry.by_name.known import Known, kinds_through
from sne.symmetry.by_name.stack_layers import SideLayer, StackLayer, stack_layers, table, turned
from sne.symmetry.by_name.stack_order import stack_order
from sne.symmetry.by_name.stack_sides import joints_beside
from sne.symmetry.groups import Span

_GROUPED = "not understood: it may be normalised in groups; its norm has no running statistics and no telling name"
_BOTH = "a width of the input or the output too, to which a skip may lead"
_SMALL = 4  # 2 and 3 times a width are rather a concatenation, of means and maxima say


@dataclass(frozen=True)
class _Joint:
    """What lies between two layers: `size` neurons, of `inner` entries or `outer` times where the second reads them."""

    size: int
    fed_inner: int = 1
    read_inner: int = 1
    read_outer: int = 1

    @property
    def widths(self) -> set[int]:
        return {self.size * self.fed_inner, self.size * self.read_inner * self.read_outer}


def read_stack(claims: Claims, known: Known, hints: Mapping[str, Hint]) -> None:
    """Claims the hidden widths of a plain stack.

    Raises:
        UncertainError: it is none, or its layers do not follow one another.
    """
    layers, sides = stack_layers(claims.infos, hints)
    by_path = {layer.path: layer for layer in layers}
    if len(by_path) < len(layers):
        raise UncertainError("two layers have one name")
    order = [by_path[path] for path in stack_order(by_path, (side.path for side in sides))]
    if len(order) < 2:
        raise UncertainError("a stack has two layers at least")
    order, joints = _follow(order, known.is_sequential)
    groups = _groups(order, joints, sides, known.is_sequential)
    for number, (joint, group) in enumerate(zip(joints, groups, strict=True)):
        for span in order[number].feeding:
            claims.claim(group, joint.size, replace(span, inner=joint.fed_inner))
        for span in order[number + 1].reading if not is_depthwise(order[number + 1]) else ():
            claims.claim(group, joint.size, replace(span, inner=joint.read_inner, outer=joint.read_outer))
    _allow(claims, order, groups, kinds_through(known.activation))
    _fix_ends(claims, order)
    ends = _ends(claims, order)
    for side in sides:
        _place(claims, side, ends, _beside(side, order, joints, known.is_sequential), joints, groups)
    _give_up_codes(claims, order, groups)
    if not known.is_sequential:
        _give_up_shared_widths(claims, ends, joints, groups)


def _follow(order: Sequence[StackLayer], is_sequential: bool) -> tuple[list[StackLayer], list[_Joint]]:
    """The layers, some read as tables or turned around, and what lies between them."""
    done, joints = [order[0]], []
    for layer in order[1:]:
        options = [
            (first, second, joint)
            for first in (_readings(done[-1], is_first=True) if len(done) == 1 else done[-1:])
            for second in _readings(layer, is_first=False)
            if (joint := _joint(first, second, is_sequential)) is not None
        ]
        if is_sequential and options and options[0][:2] == (done[-1], layer):
            options = options[:1]
        if layer.may_be_bilinear:
            raise UncertainError(f"{layer.path} may be a bilinear layer")
        if options and not is_sequential and _may_concatenate(done, options[0][2]):
            raise UncertainError(f"{layer.path} may read several layers side by side, as many as feed that width")
        if len(options) > 1:
            raise UncertainError(f"{layer.path} may follow {done[-1].path} in more ways than one")
        if not options:
            fed = done[-1].feeds * done[-1].directions
            raise UncertainError(f"{layer.path} reads {layer.reads}, {done[-1].path} before it feeds {fed}")
        done[-1], second, joint = options[0]
        done.append(second)
        joints.append(joint)
    return done, joints


def _may_concatenate(done: Sequence[StackLayer], joint: _Joint) -> bool:
    """Whether what seems flattened may be several layers of one width, side by side as in CNNs on text."""
    return 1 < joint.read_inner <= sum(layer.feeds == joint.size for layer in done)


def _readings(layer: StackLayer, is_first: bool) -> list[StackLayer]:
    """The layer as it seems, and as an embedding or a transposed convolution where nothing speaks against that."""
    if not layer.is_open:
        return [layer]
    if layer.kind == "linear":
        return [layer, table(layer)] if is_first else [layer]
    return [layer, turned(layer)]


def _joint(first: StackLayer, second: StackLayer, is_sequential: bool) -> _Joint | None:
    """How the second layer reads what the first feeds; None where it cannot."""
    size, reads = first.feeds, second.reads
    if first.directions == 2:
        outer = {size: 1, 2 * size: 2}.get(reads)
        return _Joint(size, read_outer=outer) if outer else None
    if size == reads or (first.kind == "conv" and is_depthwise(second) and second.feeds == size):
        return _Joint(size)
    kinds = first.kind, second.kind
    if kinds == ("conv", "linear") and reads % size == 0 and _is_image(reads // size, first.spatial, is_sequential):
        return _Joint(size, read_inner=reads // size)
    if kinds == ("linear", "conv") and size % reads == 0 and _is_image(size // reads, second.spatial, is_sequential):
        return _Joint(reads, fed_inner=size // reads)
    return None


def is_depthwise(layer: StackLayer) -> bool:
    """Whether a convolution may read each channel by itself."""
    return layer.kind == "conv" and layer.reads == 1 and layer.feeds > 1


def _is_image(entries: int, spatial: int, is_sequential: bool) -> bool:
    """Whether so many entries a channel are surely positions, rather than several statistics of the channel."""
    if is_sequential:
        return True
    return entries >= _SMALL and (spatial != 2 or isqrt(entries) ** 2 == entries)


def _groups(
    order: Sequence[StackLayer], joints: Sequence[_Joint], sides: Sequence[SideLayer], is_sequential: bool
) -> list[str]:
    """The group of each joint."""
    if not is_sequential:
        return [f"width.{joint.size}" for joint in joints]
    groups = [f"between.{number}" for number in range(len(joints))]

    def join(one: int, other: int) -> None:
        groups[:] = [groups[one] if group == groups[other] else group for group in groups]

    for number in range(1, len(joints)):
        if is_depthwise(order[number]) and joints[number - 1].size == joints[number].size:
            join(number - 1, number)
    for side in sides:
        beside = _beside(side, order, joints, is_sequential)
        for number in beside[1:]:
            if joints[number].size == joints[beside[0]].size:
                join(beside[0], number)
    return groups


def _beside(side: SideLayer, order: Sequence[StackLayer], joints: Sequence[_Joint], is_sequential: bool) -> list[int]:
    numbers = joints_beside(side, order, is_sequential=is_sequential)
    return [number for number in numbers if 0 <= number < len(joints) and side.width in joints[number].widths]


def _allow(claims: Claims, order: Sequence[StackLayer], names: Sequence[str], kinds: Sequence[str]) -> None:
    """Allows what passes the activation, where linear layers and convolutions alone touch a group."""
    for name in dict.fromkeys(names):
        at = [number for number, other in enumerate(names) if other == name]
        beside = {order[place].kind for number in at for place in (number, number + 1)}
        depthwise = any(is_depthwise(order[place]) for number in at for place in (number, number + 1))
        if beside <= {"linear", "conv", "table"} and not depthwise:
            allowed = [kind for kind in kinds if kind == "scaling" or beside == {"linear"}]  # maxima know no signs
            claims.allow(name, *allowed)


def _fix_ends(claims: Claims, order: Sequence[StackLayer]) -> None:
    for name, info in claims.infos.items():
        for dim in range(2, len(info.shape)):
            claims.fix(name, dim, "kernel position")
    for span in order[-1].feeding:
        claims.fix(span.tensor, span.dim, "output")
    for span in order[0].reading:
        claims.fix(span.tensor, span.dim, "input")
    if order[0].kind == "table":
        claims.fix(order[0].feeding[0].tensor, 0, "token")


def _ends(claims: Claims, order: Sequence[StackLayer]) -> set[int]:
    """Widths of the input and the output."""
    first, last = order[0], order[-1]
    start = claims.infos[first.feeding[0].tensor].shape[0] if first.kind == "table" else first.reads
    return {start, last.feeds, last.feeds * last.directions}


def _place(
    claims: Claims,
    side: SideLayer,
    ends: set[int],
    beside: Sequence[int],
    joints: Sequence[_Joint],
    groups: Sequence[str],
) -> None:
    """Claims the vectors of a norm on the width that they have."""
    if side.width == 1:
        return
    found = {(groups[i], joints[i].size, side.width // joints[i].size) for i in beside}
    if not found and side.width not in ends:
        raise UncertainError(f"{side.path} is {side.width} wide, which no layer near it is")
    for number, (group, size, inner) in enumerate(sorted(found)):
        claims.forbid(group, "scaling", "sign")
        for tensor in side.tensors if number == 0 else ():
            claims.claim(group, size, Span(tensor, 0, inner=inner))
        if not side.is_alike:
            claims.give_up(group, _GROUPED)
        elif side.width in ends or len(found) > 1:
            claims.give_up(group, f"not understood: {side.path} may stand in other places too")
    for tensor in side.tensors:
        claims.fix(tensor, 0, "input or output")


def _give_up_codes(claims: Claims, order: Sequence[StackLayer], groups: Sequence[str]) -> None:
    for number, group in enumerate(groups):
        words = [set(layer.path.split(".")) for layer in order[number : number + 2]]
        if "decoder" in words[1] - words[0]:
            claims.give_up(group, "a code between encoder and decoder, which may be an output too")


def _give_up_shared_widths(claims: Claims, ends: set[int], joints: Sequence[_Joint], groups: Sequence[str]) -> None:
    """Fixes groups whose width the input or output has too, or flattened channels and neurons both."""
    by_flat: dict[int, set[str]] = {}
    for joint, group in zip(joints, groups, strict=True):
        if (joint.widths | {joint.size}) & ends:
            claims.give_up(group, _BOTH)
        for width in joint.widths | {joint.size}:
            by_flat.setdefault(width, set()).add(group)
    for width, several in by_flat.items():
        for group in several if len(several) > 1 else ():
            claims.give_up(group, f"not understood: {width} entries are of channels at one place, of others elsewhere")
