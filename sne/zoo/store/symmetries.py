"""The symmetries of a zoo's networks: what may be changed in their weights without changing what they do."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from sne.errors import ZooError
from sne.symmetry import Symmetry, SymmetryError, symmetry_from_json, symmetry_to_json
from sne.zoo.store.entries import Entries, entry_id, read_entries, write_entries
from sne.zoo.store.layout import Layout

SYMMETRIES = "symmetries.json"


@final
class Symmetries(Entries[Symmetry]):
    """The symmetries of a zoo by id."""

    @classmethod
    def load(cls, path: Path) -> "Symmetries":
        """Reads `symmetries.json`; a zoo without the file knows no symmetries. Inverse: `write_symmetries`.

        Raises:
            ZooError: it is not an object in JSON.
        """
        return cls(read_entries(path, "symmetries") if path.is_file() else {}, path)

    def read(self, values: Any, where: str) -> Symmetry:
        """A symmetry from its plain JSON values."""
        try:
            return symmetry_from_json(json.dumps(values), where)
        except SymmetryError as error:
            raise ZooError(str(error)) from None


def symmetry_id(symmetry: Symmetry) -> str:
    """A short name made from the content alone: equal symmetries of different zoos share it."""
    return entry_id(symmetry_to_json(symmetry))


def write_symmetries(path: Path, symmetries: Mapping[str, Symmetry]) -> None:
    """Writes `symmetries.json`, one symmetry a line. Inverse: `Symmetries.load`."""
    write_entries(path, {key: symmetry_to_json(symmetry) for key, symmetry in symmetries.items()})


def check_fits(symmetry: Symmetry, layout: Layout, where: str) -> None:
    """Raises ZooError where a symmetry speaks of tensors that a layout lacks, or has in another shape."""
    shapes = {symmetry.aliases.get(slot.name, slot.name): slot.shape for slot in layout.slots}
    for name in {span.tensor for one in (*symmetry.groups, *symmetry.mixings) for span in one.spans}:
        expected, found = symmetry.shapes[name], shapes.get(name)
        if found != expected:
            has = "no such tensor" if found is None else f"{list(found)}"
            raise ZooError(f"{where}: its symmetry is of another network: {name} is {list(expected)} there, {has} here")
