"""The files `layouts.json` and `symmetries.json`: descriptions that many rows of a zoo share, by id."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from sne.errors import SymmetryError, ZooError
from sne.symmetry import Symmetry, symmetry_from_json, symmetry_to_json
from sne.work import write_atomically
from sne.zoo.store.layout import Layout, content_id

LAYOUTS = "layouts.json"
SYMMETRIES = "symmetries.json"

Item = TypeVar("Item")
_LINE = re.compile(r'"([0-9a-f]{16})":(\[.*\]|\{.*\}),?')


class Descriptions(ABC, Generic[Item]):
    """The entries of such a file by id.

    An entry is parsed when it is first used, because a zoo may have one for each network. A damaged entry does not
    affect the others.

    Args:
        values: Plain JSON values by id, or their text.
        where: Name of the file in messages.
    """

    def __init__(self, values: Mapping[str, Any], where: Path | str) -> None:
        self._values = values
        self._where = where
        self._known: dict[str, Item] = {}

    @abstractmethod
    def parse(self, values: Any, where: str) -> Item:
        """Makes an entry of its plain JSON values and checks it.

        Args:
            values: Plain JSON values.
            where: Name of the entry in messages.

        Raises:
            ZooError: The values are not such an entry.
        """

    def __getitem__(self, key: str) -> Item:
        """Returns the entry of an id.

        Raises:
            KeyError: There is none.
            ZooError: The entry is damaged.
        """
        if key not in self._known:
            where, entry = f"{self._where}: {key}", self._values[key]
            try:
                values = json.loads(entry) if isinstance(entry, str) else entry
            except (ValueError, RecursionError) as error:
                raise ZooError(f"{where}: {error}") from None
            self._known[key] = self.parse(values, where)
        return self._known[key]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@final
class Layouts(Descriptions[Layout]):
    """The layouts of a zoo by id."""

    @classmethod
    def load(cls, path: Path) -> "Layouts":
        """Reads `layouts.json`. Inverse: `write_layouts`.

        Raises:
            ZooError: The file is missing, or is not a JSON object.
        """
        return cls(_read_entries(path, "lists of tensors"), path)

    def parse(self, values: Any, where: str) -> Layout:
        """Makes a layout of its plain JSON values."""
        return Layout.from_json(values, where)


@final
class Symmetries(Descriptions[Symmetry]):
    """The symmetries of a zoo by id: changes of a network's weights that keep its function."""

    @classmethod
    def load(cls, path: Path) -> "Symmetries":
        """Reads `symmetries.json`; without the file, no symmetries are known. Inverse: `write_symmetries`.

        Raises:
            ZooError: The file is not a JSON object.
        """
        return cls(_read_entries(path, "symmetries") if path.is_file() else {}, path)

    def parse(self, values: Any, where: str) -> Symmetry:
        """Makes a symmetry of its plain JSON values."""
        try:
            return symmetry_from_json(json.dumps(values), where)
        except SymmetryError as error:
            raise ZooError(str(error)) from None


def write_layouts(path: Path, layouts: Mapping[str, Layout]) -> None:
    """Writes `layouts.json`, one layout per line. Inverse: `Layouts.load`."""
    _write_entries(path, {key: json.dumps(one.to_json(), separators=(",", ":")) for key, one in layouts.items()})


def write_symmetries(path: Path, symmetries: Mapping[str, Symmetry]) -> None:
    """Writes `symmetries.json`, one symmetry per line. Inverse: `Symmetries.load`."""
    _write_entries(path, {key: symmetry_to_json(symmetry) for key, symmetry in symmetries.items()})


def symmetry_id(symmetry: Symmetry) -> str:
    """Returns a name that depends on the content alone, so that equal symmetries of different zoos share it."""
    return content_id(symmetry_to_json(symmetry))


def check_symmetry_fits(symmetry: Symmetry, layout: Layout, where: str) -> None:
    """Checks that a layout has every tensor that a symmetry changes.

    Args:
        symmetry: The symmetry.
        layout: The layout of a network.
        where: Name of the network in messages.

    Raises:
        ZooError: A tensor is missing or has another shape.
    """
    shapes = {symmetry.aliases.get(slot.name, slot.name): slot.shape for slot in layout.slots}
    for name in {span.tensor for one in (*symmetry.groups, *symmetry.mixings) for span in one.spans}:
        expected, found = symmetry.shapes[name], shapes.get(name)
        if found != expected:
            has = "missing" if found is None else f"of shape {list(found)}"
            raise ZooError(
                f"{where}: the symmetry belongs to another network: it changes {name} of shape {list(expected)}, "
                f"which is {has} here"
            )


def _read_entries(path: Path, expected: str) -> dict[str, Any]:
    """Reads a JSON object without parsing its entries, if it is written with one entry per line as ours are.

    In such a file a damaged line means that one entry is missing. Any other file is parsed as a whole.
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


def _write_entries(path: Path, texts: Mapping[str, str]) -> None:
    """Writes entries, given as JSON without line breaks, by id."""
    lines = (f"{json.dumps(key)}:{text}" for key, text in texts.items())
    write_atomically(path, "{\n" + ",\n".join(lines) + "\n}\n")
