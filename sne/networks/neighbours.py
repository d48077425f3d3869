"""Layer types that names and shapes of a layer leave open and its neighbours decide."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from sne.networks.grammar import has_role
from sne.networks.layers import CONVS, TRANSPOSED, transposed
from sne.networks.network import Layer, LayerType, Note
from sne.networks.part import Role
from sne.networks.parts import NORMS, width_in, width_out

Widths = tuple[int | None, int | None]

_CONVOLUTIONS = frozenset({*CONVS.values(), *TRANSPOSED.values()})
_ATTENTIONS = frozenset(kind for kind in LayerType if kind.value.startswith("attention"))


def turn_transposed(layers: Sequence[Layer], hinted: frozenset[str]) -> tuple[list[Layer], list[Note]]:
    """Reads a convolution as transposed if the widths of its neighbours fit no other way.

    The last layer of a network has no neighbour after it: it is read as transposed if the convolution before it is one
    and its first axis has the width of what that feeds.

    Args:
        layers: Layers in order of level.
        hinted: Names of layers whose types are known from hints.

    Returns:
        The layers, and notes on convolutions that are named as transposed ones and may be plain ones.
    """
    notes: list[Note] = []
    by_level: dict[int, list[Layer]] = {}
    for layer in layers:
        by_level.setdefault(layer.level, []).append(layer)
    result: list[Layer] = []
    turned: Layer | None = None  # the last convolution, if it is a transposed one
    for layer, widths in zip(layers, _neighbour_widths(layers), strict=True):
        if _may_be_transposed(layer) and layer.name not in hinted:
            following = by_level.get(layer.level + 1, [])
            before = widths[0] if turned is None else width_out(turned)
            if _must_be_transposed(layer, (before, widths[1]), following, is_after_another=turned is not None):
                layer = transposed(layer)
            elif any(has_role(word, "transposed convolution") for word in layer.name.split(".")[-2:]):
                reason = "named as a transposed convolution, but its shape fits a plain one too"
                notes.append(Note(layer.parts[0].tensor, reason))
        if layer.type in _CONVOLUTIONS:
            turned = None if layer.type in TRANSPOSED else layer
        result.append(layer)
    return result, notes


def settle_norms(layers: Sequence[Layer], hinted: frozenset[str]) -> tuple[list[Layer], list[Note]]:
    """Settles the type of norms with scale and shift, without running statistics and without a telling name.

    Such a norm has the type of the other norms of its name, or of all other norms, if that is one type; batch norms
    with running statistics do not count, because a network that stores some stores all of them. Else, in a network
    with attentions, it is a layer norm unless a convolution other than the first layer is next to it. Else it is read
    as a layer norm, and one note says that it may be a batch norm or a group norm.

    Args:
        layers: Layers in order of level.
        hinted: Names of layers whose types are known from hints.

    Returns:
        The layers, and the note if there is one.
    """
    open_norms = {layer.name for layer in layers if layer.name not in hinted and _is_open_norm(layer)}
    if not open_norms:
        return list(layers), []
    known: dict[str, set[LayerType]] = {"": set()}  # types by word, and of all norms by ""
    for layer in layers:
        has_statistics = any(part.role is Role.RUNNING_VAR for part in layer.parts)
        if layer.type in NORMS and layer.name not in open_norms and not has_statistics:
            known[""].add(layer.type)
            known.setdefault(_word(layer), set()).add(layer.type)
    conv_levels = {layer.level for layer in layers if layer.type in _CONVOLUTIONS and layer.level > 0}
    has_attention = any(layer.type in _ATTENTIONS for layer in layers)
    result, unsettled = [], []
    for layer in layers:
        if layer.name in open_norms:
            types = known.get(_word(layer), known[""])
            is_beside_conv = not conv_levels.isdisjoint((layer.level - 1, layer.level + 1))
            if types == {LayerType.BATCH_NORM}:
                layer = replace(layer, type=LayerType.BATCH_NORM)
            elif types != {LayerType.LAYER_NORM} and (is_beside_conv or not has_attention):
                unsettled.append(layer)
        result.append(layer)
    return result, _note_on(unsettled)


def _note_on(unsettled: Sequence[Layer]) -> list[Note]:
    if not unsettled:
        return []
    others = f" (and {len(unsettled) - 1} more)" if len(unsettled) > 1 else ""
    reason = "a norm without running statistics: names do not distinguish layer norm, batch norm and group norm"
    return [Note(unsettled[0].parts[0].tensor, f"{reason}; read as layer norm{others}")]


def _is_open_norm(layer: Layer) -> bool:
    if layer.type is not LayerType.LAYER_NORM or not {Role.SCALE, Role.BIAS} <= {part.role for part in layer.parts}:
        return False
    if len(layer.parts[0].shape) > 1:  # no other norm has several axes
        return False
    return not any(has_role(word, "layer norm") for word in layer.name.split(".")[-2:])


def _word(layer: Layer) -> str:
    """Returns the last component of a norm's name, empty if it is a number."""
    last = layer.name.rpartition(".")[2]
    return "" if last.isdigit() else last


def _may_be_transposed(layer: Layer) -> bool:
    """Whether a layer is a convolution that neither its names nor the size of its bias show to be plain."""
    part = layer.parts[0]
    if layer.type not in TRANSPOSED or part.out_axis != 0:
        return False
    return len(layer.parts) == 1 or part.shape[0] == part.shape[1]


def _must_be_transposed(layer: Layer, widths: Widths, following: Sequence[Layer], *, is_after_another: bool) -> bool:
    """Whether the kernel of a convolution fits its neighbours as [in, out, ...] alone.

    Args:
        layer: The convolution.
        widths: Width that the layer before it feeds and width that the one after it reads; None if unknown.
        following: Layers of the next level.
        is_after_another: Whether the convolution before it is a transposed one.
    """
    first, second = layer.parts[0].shape[:2]
    before, after = widths
    if first == second:
        return False
    plain_fits = _fits_plain(first, second, before) and (after is None or after == first)
    if before == first and after in (None, second) and not plain_fits:
        return True
    if before not in (None, first):
        return False
    if len(following) == 1 and following[0].type in NORMS and after == second:
        return True
    is_last = not following and is_after_another and prod(layer.parts[0].shape[2:]) > 1
    if is_last and second < first == before:
        return True
    if len(following) != 1 or not _may_be_transposed(following[0]):
        return False
    next_first, next_second = following[0].parts[0].shape[:2]  # two in a row, which fit each other as transposed alone
    return second == next_first != next_second and not _fits_plain(next_first, next_second, first)


def _fits_plain(first: int, second: int, before: int | None) -> bool:
    """Whether a plain convolution, perhaps in groups, can read this width with a kernel of these first axes."""
    if before is None:
        return True
    return before % max(second, 1) == 0 and first % max(before // max(second, 1), 1) == 0


def _neighbour_widths(layers: Sequence[Layer]) -> list[Widths]:
    """Returns the width that the level before each layer feeds and the one after it reads; None if branches differ."""
    feeds: dict[int, set[int | None]] = {}
    reads: dict[int, set[int | None]] = {}
    for layer in layers:
        feeds.setdefault(layer.level, set()).add(width_out(layer))
        reads.setdefault(layer.level, set()).add(width_in(layer))

    def only(widths: set[int | None]) -> int | None:
        return next(iter(widths)) if len(widths) == 1 else None

    return [(only(feeds.get(layer.level - 1, set())), only(reads.get(layer.level + 1, set()))) for layer in layers]
