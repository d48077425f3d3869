"""Symmetries as JSON."""

import json
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from sne.errors import SymmetryError
from sne.symmetry.symmetry import Fixed, Group, Mixing, Span, Symmetry

VERSION = 1
_Record = TypeVar("_Record", Span, Group, Mixing, Fixed)


def symmetry_to_json(symmetry: Symmetry) -> str:
    """Returns a symmetry as JSON text. Inverse: `symmetry_from_json`.

    Example:
        >>> symmetry_to_json(Symmetry())
        '{"version":1,"groups":[],"mixings":[],"shapes":{},"aliases":{},"fixed":[]}'
    """
    plain = {
        "version": VERSION,
        "groups": [_group_to_plain(group) | {"kinds": list(group.kinds)} for group in symmetry.groups],
        "mixings": [_group_to_plain(mixing) for mixing in symmetry.mixings],
        "shapes": {name: list(shape) for name, shape in symmetry.shapes.items()},
        "aliases": dict(symmetry.aliases),
        "fixed": [asdict(one) for one in symmetry.fixed],
    }
    return json.dumps(plain, separators=(",", ":"))


def symmetry_from_json(text: str, where: str = "symmetry") -> Symmetry:
    """Reads and checks a symmetry. Inverse of `symmetry_to_json`.

    Args:
        text: JSON text.
        where: Name of the text in error messages.

    Raises:
        SymmetryError: The text is not JSON, a value is missing or has the wrong type, or the symmetry is inconsistent.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SymmetryError(f"{where} is not JSON: {error}") from None
    try:
        return _symmetry_from_plain(values)
    except SymmetryError as error:
        raise SymmetryError(f"{where}: {error}") from None


def _symmetry_from_plain(values: Any) -> Symmetry:
    table = _of_type(values, dict, "the symmetry")
    if table.get("version") != VERSION:
        raise SymmetryError(f"version is {table.get('version')!r}, expected {VERSION}")
    shapes = _of_type(table.get("shapes"), dict, "shapes")
    aliases = _of_type(table.get("aliases"), dict, "aliases")
    for name, shape in shapes.items():
        for number in _of_type(shape, list, f"shapes, {name}"):
            _of_type(number, int, f"shapes, {name}")
    for name, other in aliases.items():
        _of_type(other, str, f"aliases, {name}")
    return Symmetry(
        tuple(_record(Group, one, f"groups[{i}]") for i, one in _items(table, "groups")),
        tuple(_record(Mixing, one, f"mixings[{i}]") for i, one in _items(table, "mixings")),
        {name: tuple(shape) for name, shape in shapes.items()},
        aliases,
        tuple(_record(Fixed, one, f"fixed[{i}]") for i, one in _items(table, "fixed")),
    )


def _group_to_plain(group: Group | Mixing) -> dict[str, Any]:
    """Returns a group without its kinds; spans omit fields that have their default value."""
    usual = {entry.name: entry.default for entry in fields(Span)}
    spans = [{k: v for k, v in asdict(span).items() if usual[k] != v} for span in group.spans]
    return {"name": group.name, "size": group.size, "spans": spans}


def _items(table: dict[str, Any], name: str) -> list[tuple[int, Any]]:
    return list(enumerate(_of_type(table.get(name), list, name)))


def _record(kind: type[_Record], value: Any, where: str) -> _Record:
    """Returns an instance of a dataclass from its fields by name."""
    table = _of_type(value, dict, where)
    known = {entry.name: entry for entry in fields(kind)}
    missing = [name for name, entry in known.items() if entry.default is MISSING and name not in table]
    if missing or set(table) - set(known):
        raise SymmetryError(f"{where}: has {', '.join(table) or 'nothing'}, expected {', '.join(known)}")
    made: dict[str, Any] = {}
    for name, entry in table.items():
        place = f"{where}.{name}"
        if name == "spans":
            made[name] = tuple(
                _record(Span, one, f"{place}[{i}]") for i, one in enumerate(_of_type(entry, list, place))
            )
        elif name == "kinds":
            made[name] = tuple(_of_type(one, str, place) for one in _of_type(entry, list, place))
        else:
            made[name] = _of_type(entry, str if name in ("name", "tensor", "reason") else int, place)
    return kind(**made)


def _of_type(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise SymmetryError(f"{where} is {type(value).__name__}, expected {kind.__name__}")
    return value
