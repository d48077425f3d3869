"""Norms and activations with weights in a plain stack: on which of its widths they stand."""

from collections.abc import Sequence

from sne.networks.names import split_number
from sne.symmetry.by_name.stack_layers import SideLayer, StackLayer
from sne.symmetry.by_name.stack_order import place


def joints_beside(side: SideLayer, order: Sequence[StackLayer], *, is_sequential: bool) -> list[int]:
    """Joints where a norm may stand, as far as its name tells; joint i lies between layers i and i + 1.

    Args:
        side: the norm or activation.
        order: the layers.
        is_sequential: where widths move one by one its place matters; where equal widths move together it does not.

    Returns:
        Numbers of joints, some of which may have another width than the norm.
    """
    joints = range(len(order) - 1)
    if not is_sequential:
        return list(joints)
    parent, _, last = side.path.rpartition(".")
    if last.isdigit():  # among numbered layers: after the last one before it
        return [sum(place(layer.path) < place(side.path) for layer in order) - 1]
    number = split_number(last)[1]
    beside = [i for i, layer in enumerate(order) if _is_sibling(layer.path, parent, number)]
    if not beside:
        return list(joints)
    return [i for i in joints if i in beside or i + 1 in beside]  # before or after it: no name says


def _is_sibling(path: str, parent: str, number: tuple[int, str] | None) -> bool:
    other, _, last = path.rpartition(".")
    return other == parent and split_number(last)[1] == number
