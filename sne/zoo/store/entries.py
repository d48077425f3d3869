"""Objects in JSON with one entry a line, parsed when it is asked for: a zoo may have one for each network."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from sne.errors import ZooError

Item = TypeVar("Item")
_LINE = re.compile(r'"([0-9a-f]{16})":(\[.*\]|\{.*\}),?')


class Entries(ABC, Generic[Item]):
    """What such a file describes, by id. Each entry is read when it is first asked for: a damaged one hurts no other.

    Args:
        values: from ids to plain JSON values, or to their text.
        where: the file, for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: Path | str) -> None:
        self._values = values
        self._where = where
        self._known: dict[str, Item] = {}

    @abstractmethod
    def read(self, values: Any, where: str) -> Item:
        """One entry from its plain JSON values, checked.

        Args:
            values: of the entry.
            where: what messages call it.

        Raises:
            ZooError: they are no such entry.
        """

    def __getitem__(self, key: str) -> Item:
        """The entry of an id.

        Raises:
            KeyError: there is none.
            ZooError: it is damaged.
        """
        if key not in self._known:
            where = f"{self._where}: {key}"
            self._known[key] = self.read(parse_entry(self._values[key], where), where)
        return self._known[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


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


def entry_id(text: str) -> str:
    """A short name made from the content of an entry alone: equal entries of different zoos share it.

    Args:
        text: the entry as JSON.
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]
