"""Layouts as tables: rows of a pattern of names and the content of each axis. `layouts.py` has the layouts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from sne.networks import TensorInfo
from sne.symmetry.by_name.attention import Attention
from sne.symmetry.by_name.claims import Claims, UncertainError
from sne.symmetry.by_name.known import Known, kinds_through
from sne.symmetry.symmetry import Span


@dataclass(frozen=True)
class On:
    """A group of neurons on an axis.

    Args:
        group: Name of the group; `{0}`, `{1}`, ... stand for the numbers in the tensor's name, and `{p0}`, ... for
            these numbers minus one.
        power: Exponent of the neurons' scale.
        is_gated: Whether the neurons are only multiplied by others, so that scales pass whatever the activation.
    """

    group: str
    power: int = 0
    is_gated: bool = False


@dataclass(frozen=True)
class Heads:
    """An axis that attention divides into heads.

    Args:
        attention: Name of the attention, with numbers as in `On`.
        parts: Parts that follow one another on the axis: "query", "key", "value", "out".
    """

    attention: str
    parts: tuple[str, ...]


AxisRule = On | Heads | str  # a string is the reason why the axis is fixed
Row = tuple[str, tuple[AxisRule, ...]]


@dataclass(frozen=True)
class Layout:
    """All names of one architecture. The layout fails for a network that has a tensor in no row.

    Args:
        name: Name of the layout in messages.
        rows: Patterns, in which `{}` is a number and `(a|b)` a choice, and the content of each axis of the tensor.
        needed: Patterns that must all match for a network to have this layout.
        readers: Patterns of tensors that read the groups "stream..." at the end; without one these are the output.
        embedding: Pattern of the tensor that is the last reader if the caller says that it is tied.
        is_rotary: Whether queries and keys are rotated by position, so that their channels must stay.
        needs_bias: Pattern of a tensor without which queries and keys may be rotated too.
    """

    name: str
    rows: tuple[Row, ...]
    needed: tuple[str, ...]
    readers: tuple[str, ...] = ()
    embedding: str = ""
    is_rotary: bool = False
    needs_bias: str = ""


STREAM = "stream"
HIDDEN = "hidden"
GATED = ("scaling", "sign")


def linear(pattern: str, out: AxisRule, reads: AxisRule) -> tuple[Row, ...]:
    """Returns the rows of a linear layer's weight and bias.

    Args:
        pattern: Pattern of the layer's path.
        out: Content that the layer feeds.
        reads: Content that the layer reads.
    """
    return (f"{pattern}.weight", (out, reads)), (f"{pattern}.bias", (out,))


def norm(pattern: str, rule: AxisRule) -> tuple[Row, ...]:
    """Returns the rows of a norm's weight and bias.

    Args:
        pattern: Pattern of the norm's path.
        rule: Content that the norm scales.
    """
    return ((f"{pattern}.(weight|bias)", (rule,)),)


def fits(layout: Layout, infos: Mapping[str, TensorInfo]) -> bool:
    """Whether a network has the names that distinguish a layout from others."""
    return all(_find(pattern, infos) for pattern in layout.needed)


def read_table(layout: Layout, claims: Claims, known: Known) -> None:
    """Claims the groups that a layout lists for a network.

    Raises:
        UncertainError: A tensor is in no row, or has another number of axes than its row.
    """
    attentions: dict[str, Attention] = {}
    streams: set[str] = set()
    for name, info in claims.infos.items():
        axes, numbers = _row(layout, name, len(info.shape))
        for dim, rule in enumerate(axes):
            if isinstance(rule, str):
                claims.fix(name, dim, rule)
            elif isinstance(rule, On):
                group = rule.group.format(*numbers, **{f"p{i}": int(number) - 1 for i, number in enumerate(numbers)})
                claims.claim(group, info.shape[dim], Span(name, dim, power=rule.power))
                if group.startswith(HIDDEN) and rule.power > 0:
                    claims.allow(group, *(GATED if rule.is_gated else kinds_through(known.activation)))
                if group.startswith(STREAM):
                    streams.add(group)
            else:
                attention = attentions.setdefault(rule.attention.format(*numbers), Attention())
                attention.add(name, dim, info.shape[dim], rule.parts)
    is_read = any(_find(pattern, claims.infos) for pattern in layout.readers)
    is_read = is_read or (known.is_tied and layout.embedding != "" and bool(_find(layout.embedding, claims.infos)))
    for stream in streams if not is_read else ():
        claims.give_up(stream, "output, unless a head reads it that is not stored")
    is_rotated = layout.is_rotary or (layout.needs_bias != "" and not _find(layout.needs_bias, claims.infos))
    for name, attention in attentions.items():
        attention.claim(name, claims, known.heads, is_rotated)


def _row(layout: Layout, name: str, ndim: int) -> tuple[tuple[AxisRule, ...], tuple[str, ...]]:
    for pattern, axes in layout.rows:
        if match := _compiled(pattern).fullmatch(name):
            if len(axes) != ndim:
                raise UncertainError(f"{name} has {ndim} axes, expected {len(axes)} in {layout.name}")
            return axes, tuple(found for key, found in sorted(match.groupdict().items()) if found is not None)
    raise UncertainError(f"{layout.name} has no tensor {name}")


def _find(pattern: str, infos: Mapping[str, TensorInfo]) -> bool:
    return any(_compiled(pattern).fullmatch(name) for name in infos)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    pieces = pattern.replace(".", r"\.").split("{}")
    numbered = [f"{piece}(?P<n{i}>[0-9]+)" for i, piece in enumerate(pieces[:-1])]
    return re.compile("".join(numbered) + pieces[-1])
