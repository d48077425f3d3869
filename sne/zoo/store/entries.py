"""Objects in JSON with one entry a line, parsed when it is asked for: a zoo may have one for each network."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sne.zoo.errors import ZooError

_LINE = re.compile(r'"([0-9a-f]{16})":(\[.*\]|\{.*\}),?')


def read_entries(path: Path, expected: str) -> dict[str, Any]:
    """Reads such a file. Inverse: `write_entries`.

    A file as `write_entries` leaves it is cut into lines, and a line that is damaged is an entry that is missing; any
    other is parsed whole.

    Args:
        path: of the file.
        expected: what messages say that it should hold.

    Returns:
        From ids to the entries: their text, or plain JSON values; `parse_entry` takes both.

    Raises:
        ZooError: it is not an object in JSON.
    """
    try:
        text = path.read_text(errors="replace")
        is_ours = text.endswith(("]\n}\n", "}\n}\n"))
        lines = [_LINE.fullmatch(line) for line in text.splitlines()[1:-1]] if is_ours else []
        values = {line[1]: line[2] for line in lines if line} or json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ZooError(f"{path} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ZooError(f"{path}: expected an object from ids to {expected}")
    return values


def parse_entry(entry: Any, where: str) -> Any:
    """The plain JSON values of an entry of `read_entries`.

    Raises:
        ZooError: its text is not JSON.
    """
    try:
        return json.loads(entry) if isinstance(entry, str) else entry
    except (ValueError, RecursionError) as error:
        raise ZooError(f"{where}: {error}") from None


def write_entries(path: Path, texts: Mapping[str, str]) -> None:
    """Writes entries, given as JSON without line breaks, by id. Inverse: `read_entries`."""
    lines = (f"{json.dumps(key)}:{text}" for key, text in texts.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
