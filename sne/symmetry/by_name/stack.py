"""Plain stacks of linear layers, convolutions and recurrent layers.

Names and shapes show that each layer reads what the one before feeds, but not how layers are connected otherwise: skip
connections, layers used twice and states summed over layers or directions all join equal widths. Therefore all axes of
one width move together, and a width that the input or the output has too stays fixed. With `assume_sequential` each
width between two layers is a group of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sne.networks import Hint
from sne.symmetry.by_name.claims import Claims, UncertainError
from sne.symmetry.by_name.known import Known, kinds_through
from sne.symmetry.by_name.stack_joints import Joint, follow, is_depthwise
from sne.symmetry.by_name.stack_layers import SideLayer, StackLayer, stack_layers
from sne.symmetry.by_name.stack_order import joints_of_side, stack_order
from sne.symmetry.symmetry import Span

_GROUPED = "not understood: its norm may be a group norm, as neither running statistics nor its name tell"
_BOTH = "a width of the input or the output too, to which a skip may lead"


def read_stack(claims: Claims, known: Known, hints: Mapping[str, Hint]) -> None:
    """Claims the hidden widths of a plain stack.

    Raises:
        UncertainError: The network is not a plain stack, or its layers do not follow one another.
    """
    layers, sides = stack_layers(claims.infos, hints)
    by_path = {layer.path: layer for layer in layers}
    if len(by_path) < len(layers):
        raise UncertainError("two layers have one name")
    order = [by_path[path] for path in stack_order(by_path, (side.path for side in sides))]
    if len(order) < 2:
        raise UncertainError("a stack has at least two layers")
    order, joints = follow(order, known.is_sequential)
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
        numbers, is_sure = joints_of_side(side, order, joints, is_sequential=known.is_sequential)
        _place(claims, side, set() if is_sure else ends, numbers, joints, groups)
    _give_up_last(claims, order, groups)
    _give_up_codes(claims, order, groups)
    if not known.is_sequential:
        _give_up_shared_widths(claims, ends, joints, groups)


def _groups(
    order: Sequence[StackLayer], joints: Sequence[Joint], sides: Sequence[SideLayer], is_sequential: bool
) -> list[str]:
    """Returns the name of the group of each joint."""
    if not is_sequential:
        return [f"width.{joint.size}" for joint in joints]
    groups = [f"between.{number}" for number in range(len(joints))]

    def join(one: int, other: int) -> None:
        groups[:] = [groups[one] if group == groups[other] else group for group in groups]

    for number in range(1, len(joints)):
        if is_depthwise(order[number]) and joints[number - 1].size == joints[number].size:
            join(number - 1, number)
    for side in sides:
        numbers, _ = joints_of_side(side, order, joints, is_sequential=is_sequential)
        for number in numbers[1:]:
            if joints[number].size == joints[numbers[0]].size:
                join(numbers[0], number)
    return groups


def _allow(claims: Claims, order: Sequence[StackLayer], names: Sequence[str], kinds: Sequence[str]) -> None:
    """Allows the kinds that pass the activation for groups that only linear layers and convolutions touch."""
    for name in dict.fromkeys(names):
        at = [number for number, other in enumerate(names) if other == name]
        places = {place for number in at for place in (number, number + 1)}
        kinds_of = {order[place].kind for place in places}
        is_separate = any(is_depthwise(order[place]) for place in places if place > 0)  # the first reads the input
        if kinds_of <= {"linear", "conv"} and not is_separate:
            allowed = [
                kind for kind in kinds if kind == "scaling" or kinds_of == {"linear"}
            ]  # pooling by maxima does not commute with signs
            claims.allow(name, *allowed)
        elif "recurrent" in kinds_of <= {"linear", "recurrent"}:
            claims.allow(name, *(kind for kind in kinds if kind == "sign"))


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
    """Returns the widths of the input and the output."""
    first, last = order[0], order[-1]
    start = claims.infos[first.feeding[0].tensor].shape[0] if first.kind == "table" else first.reads
    return {start, last.feeds, last.feeds * last.directions}


def _place(
    claims: Claims,
    side: SideLayer,
    ends: set[int],
    numbers: Sequence[int],
    joints: Sequence[Joint],
    groups: Sequence[str],
) -> None:
    """Claims the vectors of a norm in the group of their width; `ends` are widths of other places for it."""
    found = {(groups[i], joints[i].size, *joints[i].layout(side.width)) for i in numbers}
    for number, (group, size, outer, inner) in enumerate(sorted(found)):
        claims.forbid(group, "scaling", "sign")
        for tensor in side.tensors if number == 0 else ():
            claims.claim(group, size, Span(tensor, 0, outer=outer, inner=inner))
        if not side.is_alike:
            claims.give_up(group, _GROUPED)
        elif side.width in ends or len(found) > 1:
            claims.give_up(group, f"not understood: {side.path} may stand in other places too")
    for tensor in side.tensors:
        claims.fix(tensor, 0, "input or output")


def _give_up_last(claims: Claims, order: Sequence[StackLayer], groups: Sequence[str]) -> None:
    """Gives up the inputs of a last depthwise convolution, because they are the channels of the output."""
    if is_depthwise(order[-1]):
        claims.give_up(groups[-1], "output")


def _give_up_codes(claims: Claims, order: Sequence[StackLayer], groups: Sequence[str]) -> None:
    for number, group in enumerate(groups):
        words = [set(layer.path.split(".")) for layer in order[number : number + 2]]
        if "decoder" in words[1] - words[0]:
            claims.give_up(group, "a code between encoder and decoder, which may be an output too")


def _give_up_shared_widths(claims: Claims, ends: set[int], joints: Sequence[Joint], groups: Sequence[str]) -> None:
    """Gives up groups whose width is also that of the input or output, or of both flattened channels and neurons."""
    by_flat: dict[int, set[str]] = {}
    for joint, group in zip(joints, groups, strict=True):
        if (joint.widths | {joint.size}) & ends:
            claims.give_up(group, _BOTH)
        for width in joint.widths | {joint.size}:
            by_flat.setdefault(width, set()).add(group)
    for width, several in by_flat.items():
        for group in several if len(several) > 1 else ():
            claims.give_up(group, f"not understood: {width} entries are of channels at one place, of others elsewhere")
