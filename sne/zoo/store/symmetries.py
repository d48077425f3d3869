"""The symmetries of a zoo's networks: what may be changed in their weights without changing what they do."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sne.symmetry import Symmetry, SymmetryError
from sne.zoo.errors import ZooError
from sne.zoo.store.entries import parse_entry, read_entries, write_entries
from sne.zoo.store.layout import Layout

SYMMETRIES = "symmetries.json"


class Symmetries:
    """The symmetries of a zoo by id. Each is read when it is first asked for: one that is damaged hurts no other.

    Args:
        values: from ids to plain JSON values, or to their text.
        where: the file, for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: Path | str) -> None:
        self._values = values
        self._where = where
        self._known: dict[str, Symmetry] = {}

    @classmethod
    def load(cls, path: Path) -> "Symmetries":
        """Reads `symmetries.json`; a zoo without the file knows no symmetries. Inverse: `write_symmetries`.

        Raises:
            ZooError: it is not an object in JSON.
        """
        return cls(read_entries(path, "symmetries") if path.is_file() else {}, path)

    def __getitem__(self, key: str) -> Symmetry:
        """The symmetry of an id.

        Raises:
            KeyError: there is none.
            ZooError: it is damaged.
        """
        if key not in self._known:
            where = f"{self._where}: {key}"
            text = json.dumps(parse_entry(self._values[key], where))
            try:
                self._known[key] = Symmetry.from_json(text, where)
            except SymmetryError as error:
                raise ZooError(str(error)) from None
        return self._known[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def symmetry_id(symmetry: Symmetry) -> str:
    """A short name made from the content alone: equal symmetries of different zoos share it."""
    return hashlib.sha256(symmetry.to_json().encode()).hexdigest()[:16]


def write_symmetries(path: Path, symmetries: Mapping[str, Symmetry]) -> None:
    """Writes `symmetries.json`, one symmetry a line. Inverse: `Symmetries.load`."""
    write_entries(path, {key: symmetry.to_json() for key, symmetry in symmetries.items()})


def check_fits(symmetry: Symmetry, layout: Layout, where: str) -> None:
    """Raises ZooError where a symmetry speaks of tensors that a layout lacks, or has in another shape."""
    shapes = {symmetry.aliases.get(slot.name, slot.name): slot.shape for slot in layout.slots}
    for name in {span.tensor for one in (*symmetry.groups, *symmetry.mixings) for span in one.spans}:
        expected, found = symmetry.shapes[name], shapes.get(name)
        if found != expected:
            has = "no such tensor" if found is None else f"{list(found)}"
            raise ZooError(f"{where}: its symmetry is of another network: {name} is {list(expected)} there, {has} here")
