"""The order of a plain stack's layers where names leave no doubt about it, and where norms stand between them.

The places are those of the grammar of names, `sne.networks.grammar`; its rows with a place for plain stacks are the
only words that count as certain here.
"""

from collections.abc import Iterable, Sequence

from sne.networks.grammar import PLACES, Form, plain_place
from sne.networks.spelling import natural_key, split_number
from sne.symmetry.by_name.claims import UncertainError
from sne.symmetry.by_name.stack_joints import Joint
from sne.symmetry.by_name.stack_layers import SideLayer, StackLayer

Key = tuple[tuple[int, tuple[str | int, ...]], ...]

_PLACES = PLACES[Form.MODULE]


def stack_order(paths: Iterable[str], sides: Iterable[str]) -> list[str]:
    """Returns the paths of layers in order of depth.

    Args:
        paths: Paths of layers that read one width and feed another.
        sides: Paths of norms and activations with weights, whose names are checked too.

    Returns:
        The paths, ordered by the places that their words have in a plain stack, and by number.

    Raises:
        UncertainError: A word has no place in a plain stack, or neither places nor numbers order two siblings.
    """
    keys = {path: key_of(path) for path in paths}
    for path in sides:
        key_of(path)
    words: dict[tuple[str, int], set[tuple[str, bool]]] = {}  # by parent and place: words, and whether they are counted
    lists: set[str] = set()
    for path, key in keys.items():
        components = path.split(".")
        for depth, component in enumerate(components):
            parent = ".".join(components[:depth])
            base, number = split_number(component)
            if component.isdigit():
                lists.add(parent)
            else:
                words.setdefault((parent, key[depth][0]), set()).add((base, number is None))
    for (parent, _), found in words.items():
        if parent in lists:
            found.add(("numbers", True))
        if len(found) > 1:
            shown = ", ".join(sorted({word for word, _ in found}))
            raise UncertainError(f"the order of {shown} in {parent or 'the network'} is in no name")
    return sorted(keys, key=keys.__getitem__)


def key_of(path: str) -> Key:
    """Returns the key by which the layers of a plain stack are ordered.

    Args:
        path: Path of a layer.

    Raises:
        UncertainError: The path has a word that has no place in a plain stack.
    """
    key = []
    for component in path.split("."):
        where = "number" if component.isdigit() or not component else plain_place(split_number(component)[0])
        if not where:
            raise UncertainError(f"{path}: the name {component!r} does not show that this is a plain stack")
        key.append((_PLACES.index(where), natural_key(component)))
    return tuple(key)


def joints_of_side(
    side: SideLayer, order: Sequence[StackLayer], joints: Sequence[Joint], *, is_sequential: bool
) -> tuple[list[int], bool]:
    """Returns the joints where a norm may stand, as far as its name and width tell.

    Args:
        side: The norm, or the activation with weights.
        order: Layers in order of depth.
        joints: Joints; joint i lies between layers i and i + 1.
        is_sequential: Whether each width moves by itself, so that the place of the norm matters; otherwise all equal
            widths move together.

    Returns:
        Numbers of joints, none for a norm at the input or the output; and whether the norm surely stands there.

    Raises:
        UncertainError: No joint has the width of the norm.
    """
    numbers, is_sure = _joints_by_name(side, order) if is_sequential else (list(range(len(joints))), False)
    found = [number for number in numbers if 0 <= number < len(joints) and side.width in joints[number].widths]
    is_outside = is_sure and not any(0 <= number < len(joints) for number in numbers)
    ends = {order[0].reads, order[-1].feeds * order[-1].directions}
    if not found and side.width > 1 and not is_outside and (is_sure or side.width not in ends):
        raise UncertainError(f"{side.path} is {side.width} wide, unlike the layers near it")
    return found, is_sure


def _joints_by_name(side: SideLayer, order: Sequence[StackLayer]) -> tuple[list[int], bool]:
    parent, _, last = side.path.rpartition(".")
    every = list(range(len(order) - 1))
    siblings = [number for number, layer in enumerate(order) if layer.path.rpartition(".")[0] == parent]
    if last.isdigit() and siblings:  # among numbered layers: after the last one before it
        return [sum(key_of(layer.path) < key_of(side.path) for layer in order) - 1], True
    number = split_number(last)[1]
    near = [i for i in siblings if split_number(order[i].path.rpartition(".")[2])[1] == number]
    if not near or last.isdigit():
        return every, False
    return [
        i for i in every if i in near or i + 1 in near
    ], False  # no name shows whether it precedes or follows its sibling
