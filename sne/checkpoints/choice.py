"""Which network of a flat list of tensors is read, where the list holds several."""

from collections.abc import Mapping
from typing import final

from torch import Tensor

from sne.checkpoints.stored import StoredTensors
from sne.errors import CheckpointError


@final
class ChosenTensors(StoredTensors):
    """The tensors of one of the networks that a file holds.

    Args:
        stored: All tensors of the file.
        left_out: Reasons why the tensors of the others are not read, by name.
    """

    def __init__(self, stored: StoredTensors, left_out: Mapping[str, str]):
        self._all = stored
        composed = stored.composed
        super().__init__(
            stored.name,
            [info for name, info in stored.infos.items() if name not in left_out],
            hints=stored.hints,
            composed=None if composed is None else [one for one in composed if one.info.name not in left_out],
            notes={**stored.notes, **left_out},
            metadata=stored.metadata,
        )

    def read_stored(self, name: str) -> Tensor:
        """Reads one tensor exactly as it is stored."""
        return self._all.read_stored(name)


def choose_network(stored: StoredTensors, select: str | None) -> StoredTensors:
    """Reduces the tensors of a file to those of one network.

    Args:
        stored: The tensors of a file.
        select: Prefix of the names of the network's tensors, such as "teacher"; None for the main network.

    Returns:
        The same object if nothing is left out.

    Raises:
        CheckpointError: If no tensor has the prefix.
    """
    if select is None:
        return stored
    start = select.rstrip(".") + "."
    if not any(name.startswith(start) for name in stored.infos):
        prefixes = list(dict.fromkeys(name.partition(".")[0] for name in stored.infos if "." in name))
        shown = ", ".join(prefixes[:10]) + (", ..." if len(prefixes) > 10 else "")
        raise CheckpointError(stored.name, f"nothing is named {select!r}; to be selected: {shown or 'nothing'}")
    reason = f"not below {select!r}, which is selected"
    return ChosenTensors(stored, {name: reason for name in stored.infos if not name.startswith(start)})
