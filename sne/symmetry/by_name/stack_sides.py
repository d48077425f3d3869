"""Norms and activations with weights in a plain stack: between which of its layers they stand."""

from collections.abc import Sequence

from sne.networks.names import split_number
from sne.symmetry.by_name.claims import UncertainError
from sne.symmetry.by_name.stack_joints import Joint
from sne.symmetry.by_name.stack_layers import SideLayer, StackLayer
from sne.symmetry.by_name.stack_order import place


def beside(
    side: SideLayer, order: Sequence[StackLayer], joints: Sequence[Joint], *, is_sequential: bool
) -> tuple[list[int], bool]:
    """Joints where a norm may stand, as far as its name and width tell.

    Args:
        side: the norm or activation.
        order: the layers.
        joints: joint i lies between layers i and i + 1.
        is_sequential: where widths move one by one its place matters; where equal widths move together it does not.

    Returns:
        Numbers of joints, and whether the norm surely stands there. None, where it stands at the input or the output.

    Raises:
        UncertainError: there is no place of its width.
    """
    numbers, is_sure = _by_name(side, order) if is_sequential else (list(range(len(joints))), False)
    found = [number for number in numbers if 0 <= number < len(joints) and side.width in joints[number].widths]
    is_outside = is_sure and not any(0 <= number < len(joints) for number in numbers)
    ends = {order[0].reads, order[-1].feeds * order[-1].directions}
    if not found and side.width > 1 and not is_outside and (is_sure or side.width not in ends):
        raise UncertainError(f"{side.path} is {side.width} wide, which no layer near it is")
    return found, is_sure


def _by_name(side: SideLayer, order: Sequence[StackLayer]) -> tuple[list[int], bool]:
    parent, _, last = side.path.rpartition(".")
    every = list(range(len(order) - 1))
    siblings = [number for number, layer in enumerate(order) if layer.path.rpartition(".")[0] == parent]
    if last.isdigit() and siblings:  # among numbered layers: after the last one before it
        return [sum(place(layer.path) < place(side.path) for layer in order) - 1], True
    number = split_number(last)[1]
    near = [i for i in siblings if split_number(order[i].path.rpartition(".")[2])[1] == number]
    if not near or last.isdigit():
        return every, False
    return [i for i in every if i in near or i + 1 in near], False  # before or after its sibling: no name says
