"""Which network of a flat list of tensors is read, where the list holds several."""

import re
from collections.abc import Mapping
from typing import final

from torch import Tensor

from sne.checkpoints.copies import plain_name
from sne.checkpoints.stored import StoredTensors, read_range
from sne.checkpoints.words import names_copy, without_adversaries
from sne.errors import CheckpointError
from sne.networks import TensorInfo

_FLAT = re.compile(r"(^|\.)_?flat_param(_\d+)?$")
_FLAT_REASON = (
    "a flat parameter of FSDP, which holds the values of several weights one after the other; save the checkpoint with "
    "StateDictType.FULL_STATE_DICT, or convert it with python -m torch.distributed.checkpoint.format_utils dcp_to_torch"
)
_MOST_NAMED = 12
_MAX_COPIES = 100
_MAX_DEPTH = 12
_GENERATORS = frozenset({"generator", "netG", "net_g", "G", "gen"})


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

    def read_range(self, name: str, start: int, stop: int) -> Tensor | None:
        """Reads some entries of one tensor."""
        return read_range(self._all, name, start, stop)


def choose_network(stored: StoredTensors, select: str | None) -> StoredTensors:
    """Reduces the tensors of a file to those of one network.

    Args:
        stored: The tensors of a file.
        select: Prefix of the names of the network's tensors, such as "teacher"; None for the main network: everything
            but copies (moving averages, teachers, target networks), which have a name that says so and the names and
            shapes of another network, and but discriminators beside a generator.

    Returns:
        The same object if nothing is left out.

    Raises:
        CheckpointError: If no tensor has the prefix, or if the file holds flat parameters of FSDP and nothing else.
    """
    infos = stored.infos
    flat = {name: _FLAT_REASON for name in infos if "flat_param" in name and _FLAT.search(name)}
    if flat and len(flat) == len(infos):
        raise CheckpointError(stored.name, f"each of its {len(flat)} tensors is {_FLAT_REASON}")
    left_out = flat | (_all_but_main(infos) if select is None else _all_but(stored, select))
    return ChosenTensors(stored, left_out) if left_out else stored


def _all_but(stored: StoredTensors, select: str) -> dict[str, str]:
    """Returns the tensors outside what the user selects."""
    start = select.rstrip(".") + "."
    if not any(name.startswith(start) for name in stored.infos):
        prefixes = list(dict.fromkeys(name.partition(".")[0] for name in stored.infos if "." in name))
        shown = ", ".join(repr(prefix) for prefix in prefixes[:_MOST_NAMED])
        raise CheckpointError(stored.name, f"no network is named {select!r}; to be selected: {shown or 'none'}")
    reason = f"beside {select!r}, which is selected"
    return {name: reason for name in stored.infos if not name.startswith(start)}


def _all_but_main(infos: Mapping[str, TensorInfo]) -> dict[str, str]:
    """Returns the tensors of copies and of discriminators."""
    copies = _members(infos, _copy_prefixes(infos))
    left_out: dict[str, str] = {}
    siblings = _siblings(infos, {prefix.rpartition(".")[0] for prefix in copies})
    for prefix, names in copies.items():
        main = _copied(infos, prefix, names, siblings)
        if main is not None:
            reason = f"part of {prefix!r}, a copy of {main}, which is read; select {prefix!r} to read it"
            left_out |= dict.fromkeys(names, reason)
    tops = dict.fromkeys(name.partition(".")[0] for name in infos if "." in name)
    if not _GENERATORS.isdisjoint(tops):
        main = next(top for top in tops if top in _GENERATORS)
        others = set(tops) - set(without_adversaries(tops))
        for name in infos:
            top = name.partition(".")[0]
            if top in others:
                left_out[name] = f"part of {top!r}, beside {main!r}, which is read; select {top!r} to read it"
    return left_out


def _copy_prefixes(infos: Mapping[str, TensorInfo]) -> list[str]:
    """Returns the paths of modules whose names say that they are copies, the outermost ones."""
    prefixes: dict[str, None] = {}
    for name in infos:
        components = name.split(".", _MAX_DEPTH)[:-1]
        depth = next((depth for depth, component in enumerate(components) if names_copy(component)), None)
        if depth is not None:
            prefixes[".".join(components[: depth + 1])] = None
    return list(prefixes)[:_MAX_COPIES]


def _members(infos: Mapping[str, TensorInfo], prefixes: list[str]) -> dict[str, list[str]]:
    """Returns the names of the tensors below each path, for those that hold several matrices."""
    found: dict[str, list[str]] = {prefix: [] for prefix in prefixes}
    for name in infos if prefixes else ():
        components = name.split(".", _MAX_DEPTH)[:-1]
        for depth in range(1, len(components) + 1):
            prefix = ".".join(components[:depth])
            if prefix in found:
                found[prefix].append(name)
                break
    return {prefix: names for prefix, names in found.items() if sum(len(infos[name].shape) > 1 for name in names) > 1}


def _siblings(infos: Mapping[str, TensorInfo], parents: set[str]) -> dict[str, list[str]]:
    """Returns the components below each parent path."""
    found: dict[str, dict[str, None]] = {parent: {} for parent in parents}
    for name in infos if parents else ():
        components = name.split(".", _MAX_DEPTH)
        for depth in range(len(components) - 1):
            parent = ".".join(components[:depth])
            if parent in found:
                found[parent][components[depth]] = None
    return {parent: list(names) for parent, names in found.items()}


def _copied(
    infos: Mapping[str, TensorInfo], prefix: str, names: list[str], siblings: Mapping[str, list[str]]
) -> str | None:
    """Returns what a module is a copy of, quoted; None if it has names or shapes that nothing beside it has."""
    parent = prefix.rpartition(".")[0]
    start = f"{parent}." if parent else ""
    relative = {name[len(prefix) + 1 :]: infos[name].shape for name in names if infos[name].shape}
    others = [one for one in siblings[parent] if not names_copy(one)]
    for other in others[:_MAX_COPIES]:
        if all(_has(infos, f"{start}{other}.{name}", shape) for name, shape in relative.items()):
            return repr(start + other)
    if all(_has(infos, start + name, shape) for name, shape in relative.items()):
        return "the network around it"
    plain = {(plain_name(name), shape) for name, shape in relative.items()}
    for other in others[:_MAX_COPIES]:
        inside = f"{start}{other}."
        names_there = {
            (plain_name(name[len(inside) :]), info.shape) for name, info in infos.items() if name.startswith(inside)
        }
        if plain <= names_there:
            return repr(start + other)
    return None


def _has(infos: Mapping[str, TensorInfo], name: str, shape: tuple[int, ...]) -> bool:
    info = infos.get(name)
    return info is not None and info.shape == shape
