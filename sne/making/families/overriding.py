"""Replacing the hyper-parameter space of a family, checked against the values that the family can take."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sne.errors import ZooError
from sne.making.augmentation import AUGMENTATIONS
from sne.making.families.blocks import ACTIVATIONS, INITIALISERS
from sne.making.families.family import Family
from sne.making.families.space import Choice, Dimension, LogUniform, Uniform, dimension_from_plain
from sne.making.optimisers import OPTIMISERS, SCHEDULES

_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "optimizer": OPTIMISERS,
    "init": INITIALISERS,
    "activation": tuple(ACTIVATIONS),
    "schedule": SCHEDULES,
    "augment": AUGMENTATIONS,
}
_Rule = tuple[str, Callable[[float], bool]]
_ABOVE_0: _Rule = ("above 0", lambda value: value > 0)
_AT_LEAST_0: _Rule = ("at least 0", lambda value: value >= 0)
_AT_LEAST_1: _Rule = ("at least 1", lambda value: value >= 1)
_RULES: Mapping[str, _Rule] = {
    "learning_rate": _ABOVE_0,
    "weight_decay": _AT_LEAST_0,
    "dropout": ("at least 0 and below 1", lambda value: 0 <= value < 1),
    "init_std": _ABOVE_0,
    "train_fraction": ("above 0 and at most 1", lambda value: 0 < value <= 1),
    "batch_size": _AT_LEAST_1,
}
_KINDS: Mapping[type, str] = {str: "text", bool: "true or false", int: "whole numbers", float: "numbers"}


def override(family: Family, changes: Mapping[str, Any], where: str) -> Family:
    """Returns a family with other values for some of its hyper-parameters.

    Args:
        family: The family; the order of its hyper-parameters stays.
        changes: Plain values by hyper-parameter, see `sne.making.families.space`.
        where: Name of the changes in error messages.

    Raises:
        ZooError: The family has no such hyper-parameter or cannot take a value.
    """
    for name in changes:
        if name not in family.space:
            raise ZooError(f"{where}: {family.name} has no {name!r}; it has {', '.join(family.space)}")
    read = {
        name: _fitted(dimension_from_plain(value, f"{where} {name}"), name, family.space[name], f"{where} {name}")
        for name, value in changes.items()
    }
    return replace(family, space={name: read.get(name, own) for name, own in family.space.items()})


def ends(dimension: Dimension) -> tuple[Any, ...]:
    """Returns the values of a choice, or the two ends of a range."""
    if isinstance(dimension, Choice):
        return dimension.values
    assert isinstance(dimension, Uniform | LogUniform)
    return (round(dimension.low), round(dimension.high)) if dimension.whole else (dimension.low, dimension.high)


def _fitted(dimension: Dimension, name: str, own: Dimension, where: str) -> Dimension:
    """Returns the dimension with values of the family's type. Refuses values that the family cannot take."""
    kind = _kind(own)
    if isinstance(dimension, Choice):
        dimension = Choice(tuple(_cast(value, kind, where) for value in dimension.values))
    elif kind in (str, bool):
        raise ZooError(f"{where}: got a range, expected {_KINDS[kind]}")
    elif kind is int and not _is_whole(dimension):
        raise ZooError(f"{where}: got a range of numbers, expected whole numbers: add whole = true")
    allowed = _allowed(name, own, kind)
    rule = _rule(name, own, kind)
    for value in ends(dimension):
        if allowed is not None and value not in allowed:
            raise ZooError(f"{where}: {value!r} is not known, expected one of {', '.join(map(str, allowed))}")
        if rule is not None and not rule[1](value):
            raise ZooError(f"{where}: got {value}, expected {rule[0]}")
    return replace(dimension, allowed=getattr(own, "allowed", None)) if isinstance(dimension, Choice) else dimension


def _is_whole(dimension: Dimension) -> bool:
    return isinstance(dimension, Uniform | LogUniform) and dimension.whole


def _kind(dimension: Dimension) -> type:
    """Returns the narrowest of text, truth value, whole number and number that holds all values of a dimension."""
    kinds = {type(value) for value in ends(dimension)}
    return kinds.pop() if len(kinds) == 1 else float


def _cast(value: Any, kind: type, where: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ZooError(f"{where}: got {value!r}, expected {_KINDS[kind]}")
    return value


def _allowed(name: str, own: Dimension, kind: type) -> tuple[Any, ...] | None:
    """Returns the values that a recipe may choose from; None for any that keep the rule."""
    if isinstance(own, Choice) and own.allowed is not None:
        return own.allowed
    if kind is not str:
        return None
    known = _ALLOWED.get(name, ())
    return known if set(ends(own)) <= set(known) else ends(own)  # a family may have names of its own


def _rule(name: str, own: Dimension, kind: type) -> _Rule | None:
    """Returns the rule for numbers: by the name of the hyper-parameter, or else by the sign of the family's own."""
    if kind in (str, bool):
        return None
    least = min(ends(own))
    if name in _RULES:
        return _RULES[name]
    if kind is int:
        return _AT_LEAST_1 if least >= 1 else _AT_LEAST_0 if least >= 0 else None
    return _ABOVE_0 if least > 0 else _AT_LEAST_0 if least >= 0 else None
