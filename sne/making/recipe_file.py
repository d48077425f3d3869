"""Recipes as TOML files: the settings of a zoo, and one table per family whose space is changed."""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sne.errors import ZooError
from sne.making.families import FAMILIES
from sne.making.families.overriding import override
from sne.making.families.space import dimension_to_plain
from sne.making.recipe import find_families
from sne.making.settings import DEFAULTS, Settings

_WHOLE = ("networks", "steps", "epochs", "seed", "image_size", "eval_images")
_TEXT = ("images", "channels", "normalisation", "device", "storage")
_KEYS = ("family", "keep", *_WHOLE, *_TEXT)


def read_recipe(path: Path | str) -> Settings:
    """Reads a recipe and checks what can be checked without the images.

    Args:
        path: TOML file. Paths in it are relative to the current folder, as on the command line.

    Returns:
        The settings; None for each that the file does not give. Without `family`, the families are those that have
        a table.

    Raises:
        ZooError: The file is not TOML, or a setting is unknown or not valid. The message names file, table and key.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ZooError(f"{path} is not TOML: {error}") from None
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    given = {key: _checked(value, key, path) for key, value in values.items() if key not in tables}
    for name in tables:
        if name not in FAMILIES:
            raise ZooError(f"{path}: [{name}] is not a family; known families are {', '.join(FAMILIES)}")
    families = given.pop("family", None) or tuple(tables) or None
    try:
        find_families(families or ("small_cnn",))
    except ZooError as error:
        raise ZooError(f"{path}: family: {error}") from None
    unused = [name for name in tables if families and name not in families]
    if unused:
        raise ZooError(f"{path}: [{unused[0]}] is not used; family names {', '.join(families or ())}")
    settings = Settings(
        families=families,
        spaces={name: override(FAMILIES[name], table, f"{path}: [{name}]").space for name, table in tables.items()},
        where=str(path),
        **given,
    )
    _check_alone(settings)
    return settings


def write_recipe(families: Sequence[str]) -> str:
    """Returns the default recipe of some families, as TOML to edit. Inverse: `read_recipe`.

    Args:
        families: Names of the families.

    Raises:
        ZooError: A family is not known.
    """
    chosen = find_families(families)
    draft = Settings(families=tuple(families)).draft()
    top: dict[str, Any] = {
        "family": list(families),
        "networks": draft.networks,
        "steps": draft.length,
        "keep": list(draft.keep),
        "seed": draft.seed,
        "images": str(DEFAULTS.images),
        "channels": draft.channels,
        "normalisation": draft.normalisation,
        "device": draft.device,
        "eval_images": draft.eval_images,
        "storage": draft.storage,
    }
    lines = [
        "# A recipe for `sne zoo make OUT --recipe FILE`. In the tables of the families, a single value is fixed,",
        "# a list is a choice, and a range is { uniform = [low, high] } or { log_uniform = [low, high] }.",
        *(f"{key} = {_toml(value)}" for key, value in top.items()),
    ]
    for family in chosen:
        lines += ["", f"[{family.name}]"]
        lines += [f"{key} = {_toml(dimension_to_plain(dimension))}" for key, dimension in family.space.items()]
    return "\n".join(lines) + "\n"


def _checked(value: Any, key: str, path: Path) -> Any:
    """Returns the value of a setting outside the tables, if it is known and of the right kind."""
    if key in _WHOLE:
        if type(value) is int:
            return value
        expected = "a whole number"
    elif key in _TEXT:
        if isinstance(value, str):
            return value
        expected = "text"
    elif key == "family":
        names = [value] if isinstance(value, str) else value
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
        expected = "a name or a list of names"
    elif key == "keep":
        if isinstance(value, list) and all(type(point) is int for point in value):
            return tuple(value)
        expected = "a list of whole numbers"
    else:
        raise ZooError(f"{path}: {key!r} is not known; expected {', '.join(_KEYS)} or a table of a family")
    raise ZooError(f"{path}: {key}: got {value!r}, expected {expected}")


def _check_alone(settings: Settings) -> None:
    """Refuses settings that cannot be completed by the command line."""
    try:
        length_is_open = settings.steps is None and settings.epochs is None
        (replace(settings, keep=None) if length_is_open else settings).draft()
    except ZooError as error:
        raise ZooError(f"{settings.where}: {error}") from None


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
