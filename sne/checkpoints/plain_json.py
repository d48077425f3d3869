"""JSON from files of other people: no doubled keys, no endless nesting."""

import json
from pathlib import Path
from typing import Any

from sne.errors import CheckpointError


def parse_json(text: bytes, file: Path, what: str) -> Any:
    """Parses JSON strictly.

    Args:
        text: the bytes.
        file: where they are from.
        what: what they are, for the message ("header", "index").

    Returns:
        The value.

    Raises:
        CheckpointError: for anything that is not UTF-8 JSON, and for doubled keys, whose meaning is open.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            double = next(key for key, _ in pairs if key in seen or seen.add(key))
            raise CheckpointError(file, f"the {what} names {double!r} twice")
        return result

    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise CheckpointError(file, f"the {what} is not UTF-8 text") from error
    except RecursionError as error:
        raise CheckpointError(file, f"the {what} is nested too deeply") from error
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(file, f"the {what} is not JSON: {error}") from error
