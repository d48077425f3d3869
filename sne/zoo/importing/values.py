"""Settings and measurements from JSON files, as the columns of a zoo hold them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sne.errors import ZooError
from sne.zoo.store.writing import Value

_LARGEST_INTEGER = 2**63 - 1


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds one object.

    Raises:
        ZooError: it cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ZooError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ZooError(f"{path}: expected a JSON object, came a {type(values).__name__}")
    return values


def plain_values(values: Mapping[str, Any]) -> dict[str, Value]:
    """Flattens a JSON object: {"a": {"b": 1}} becomes {"a.b": 1}, a list its JSON text; null is left out."""
    flat: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": v for inner, v in plain_values(value).items()}
        elif isinstance(value, list):
            flat[name] = json.dumps(value)
        elif value is not None:
            flat[name] = as_value(value)
    return flat


def as_value(value: Any) -> Value:
    """One entry of a column; a number that is not finite or not a 64-bit integer fits as missing or as a float."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_INTEGER:
        return float(value) if abs(value) < 10**300 else None
    return value if isinstance(value, str | int | float) else None
