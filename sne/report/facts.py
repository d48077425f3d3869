"""What a checkpoint is, without its values: format, size, types of its tensors, ties, and what was set aside."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sne.checkpoints import CheckpointSource
from sne.checkpoints.adapters import describe_adapter
from sne.checkpoints.configuration import quantisation_of
from sne.checkpoints.folder_files import list_folder
from sne.checkpoints.formats.known import name_of_format
from sne.errors import counted
from sne.networks import Network
from sne.networks.adapters import is_adapter_note

MOST_NAMES = 5
"""Largest number of tensors that one line names."""

_FLOATS = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Group:
    """Tensors, or other entries of a file or folder, that share a remark.

    Args:
        reason: The remark.
        count: Number of tensors or entries.
        names: Some of their names, `MOST_NAMES` at most.
    """

    reason: str
    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What a checkpoint is.

    Args:
        name: Name of the network, as a rule the path of its file.
        format: Name of the file's format. If `name` is a folder, the name of the file in it stands behind the format.
            None if the network was not read from a file.
        num_bytes: Size of the file or the files; None likewise.
        num_layers: Number of layers.
        num_levels: Number of levels of depth.
        num_weights: Number of scalars in all parts of the layers.
        dtypes: Number of weights by the type in which they are stored, most frequent first.
        quantisation: How weights are quantised; None if they are not.
        ties: Names of each tensor that is stored once under several names.
        set_aside: Tensors that are not read, by reason.
        unread: Other entries of the file, and other files of the folder, that are not read, by reason.
        doubts: Tensors that are read, with a remark on how they were understood.
    """

    name: str
    format: str | None
    num_bytes: int | None
    num_layers: int
    num_levels: int
    num_weights: int
    dtypes: Mapping[str, int]
    quantisation: str | None
    ties: tuple[tuple[str, ...], ...]
    set_aside: tuple[Group, ...]
    unread: tuple[Group, ...]
    doubts: tuple[Group, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain values."""
        return {**asdict(self), "dtypes": dict(self.dtypes), "ties": [list(names) for names in self.ties]}


def find_facts(network: Network) -> Facts:
    """Collects what is known of a network before its values are read.

    Args:
        network: The network, named by the path of its file if it was read from one.

    Example:
        >>> import torch
        >>> from sne import read_network
        >>> facts = find_facts(read_network({"fc.weight": torch.ones(2, 3), "steps": torch.tensor(7)}))
        >>> dict(facts.dtypes), [group.reason for group in facts.set_aside]
        ({'float32': 6}, ['int64: a counter, not a weight'])
    """
    infos = network.source.infos
    dtypes: Counter[str] = Counter()
    used = set()
    for _, part in network.parts():
        dtypes[infos[part.tensor].dtype] += part.num_entries
        used.add(part.tensor)
    path = Path(network.source.name)
    kept = network.notes
    if (adapter := describe_adapter(infos)) is not None:  # a finding on the health of the network says so
        kept = [note for note in kept if note.reason != adapter and not is_adapter_note(note)]
    notes = {note.tensor: note.reason for note in kept}
    ties = _ties(network)
    tied = {name for names in ties for name in names}
    aside = {name: why for name, why in notes.items() if name not in used and name not in tied}
    return Facts(
        name=network.name,
        format=_format(path, Path(network.name)),
        num_bytes=_num_bytes(path),
        num_layers=len(network.layers),
        num_levels=network.num_levels,
        num_weights=network.num_weights,
        dtypes=dict(dtypes.most_common()),
        quantisation=_quantisation(network, dtypes),
        ties=ties,
        set_aside=_groups({name: why for name, why in aside.items() if name in infos}),
        unread=_groups({name: why for name, why in aside.items() if name not in infos}),
        doubts=_groups({name: why for name, why in notes.items() if name in used}),
    )


def title_of_card(facts: Facts) -> str:
    """Returns the last part of a network's name: of a file or a folder, also of the folder that one works in.

    Example:
        >>> import torch
        >>> from sne import read_network
        >>> network = read_network({"fc.weight": torch.ones(2, 3)}, name="runs/first")
        >>> title_of_card(find_facts(network))
        'first'
    """
    path = Path(facts.name)
    return path.name or (path.resolve().name if path.is_dir() else "") or facts.name


def _format(path: Path, named: Path) -> str | None:
    """Returns the name of a file's format, which file of a folder it is, and how many files a folder has of it."""
    if path.is_dir():
        found = list_folder(path, trust_names=True).checkpoints
        return next((f"{kind}, {counted(len(names), 'file')}" for kind, names in found.items()), "folder")
    if path.name.endswith(".index.json"):
        return "index of shards"
    kind = name_of_format(path) if path.is_file() else None
    return f"{kind}, {path.name}" if kind is not None and named.is_dir() else kind


def _num_bytes(path: Path) -> int | None:
    if path.is_dir():
        names = next(iter(list_folder(path, trust_names=True).checkpoints.values()), [])
        return sum((path / name).stat().st_size for name in names)
    return path.stat().st_size if path.is_file() else None


def _quantisation(network: Network, dtypes: Mapping[str, int]) -> str | None:
    """Says how many weights are stored in types that are no floats of 16 bits or more, and what the settings say."""
    packed = {dtype: count for dtype, count in dtypes.items() if dtype not in _FLOATS}
    source = network.source
    settings = quantisation_of(source.config) if isinstance(source, CheckpointSource) else {}
    said = [str(settings[key]) for key in ("quant_method", "quant_algo") if isinstance(settings.get(key), str)][:1]
    bits = settings.get("bits", settings.get("w_bit"))
    said += [f"{bits} bits"] if type(bits) is int else []
    if packed:
        said += [f"{count:,} weights stored as {dtype}" for dtype, count in packed.items()]
    return ", ".join(said) or None


def _ties(network: Network) -> tuple[tuple[str, ...], ...]:
    source = network.source
    groups: dict[str, list[str]] = {}
    for name, hint in source.hints.items() if isinstance(source, CheckpointSource) else ():
        if hint.tied is not None and name in source.infos:
            groups.setdefault(hint.tied, []).append(name)
    return tuple(tuple(sorted(names)) for names in groups.values() if len(names) > 1)


def _groups(reasons: Mapping[str, str]) -> tuple[Group, ...]:
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    found = [Group(reason, len(some), tuple(some[:MOST_NAMES])) for reason, some in names.items()]
    return tuple(sorted(found, key=lambda group: -group.count))
