"""Unmerged adapters: which matrices of another network one changes, and whether they fit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sne.checkpoints.configuration import base_of_adapter
from sne.errors import counted
from sne.networks import Network
from sne.networks.adapters import adapted_path, is_first_factor
from sne.provenance.matching import MOST_PREFIX

MOST_NAMED = 3
"""Largest number of layers that are named."""


@dataclass(frozen=True)
class Adapter:
    """An adapter of a file of its own.

    Args:
        sizes: Numbers of outputs and of inputs of each matrix that it changes, by the path of the layer; positions of a
            kernel count as inputs. None where they do not follow from the factors (LoHa, LoKr, IA3).
        ranks: Ranks of the changes, in increasing order.
    """

    sizes: Mapping[str, tuple[int, int] | None]
    ranks: tuple[int, ...]

    def __str__(self) -> str:
        if not self.ranks:
            return "an adapter"
        return "an adapter of rank " + " to ".join(map(str, sorted({self.ranks[0], self.ranks[-1]})))


def find_adapter(network: Network) -> Adapter | None:
    """Returns what a network changes if all its tensors belong to an adapter; None otherwise.

    Example:
        >>> import torch
        >>> from sne import read_network
        >>> state = {"fc.lora_A.weight": torch.randn(2, 8), "fc.lora_B.weight": torch.randn(16, 2)}
        >>> found = find_adapter(read_network(state))
        >>> str(found), found.sizes
        ('an adapter of rank 2', {'fc': (16, 8)})
    """
    factors: dict[str, dict[bool, tuple[int, ...]]] = {}
    paths = set()
    for layer, part in network.parts():
        adapted = adapted_path(layer.name) or adapted_path(part.tensor)
        if adapted is None or adapted[1]:
            return None
        paths.add(adapted[0])
        shape = network.source.infos[part.tensor].shape
        if "lora" in part.tensor.lower() and len(shape) > 1:
            factors.setdefault(adapted[0], {})[is_first_factor(part.tensor)] = shape
    sizes: dict[str, tuple[int, int] | None] = dict.fromkeys(sorted(paths))
    ranks = set()
    for path, found in factors.items():
        first, second = found.get(True), found.get(False)
        if first is None or second is None:
            continue
        rank = next((rank for rank in first[:2] if rank in second[:2]), 0)  # early diffusers store some transposed
        if rank:
            ranks.add(rank)
            sizes[path] = math.prod(second) // rank, math.prod(first) // rank
    return Adapter(sizes, tuple(sorted(ranks))) if paths else None


def how_it_fits(adapter: Adapter, adapter_name: str, base: Network) -> str:
    """Says which matrices of a network an adapter changes, and how the two can be compared.

    Layers are matched by name, without the first modules of either path. That shapes fit does not show that the adapter
    was trained with this network: networks of one architecture have the same.

    Args:
        adapter: The adapter.
        adapter_name: Path of its file or folder.
        base: The network that may be its base.
    """
    shapes = {
        part.tensor.rpartition(".")[0]: base.source.infos[part.tensor].shape
        for _, part in base.parts()
        if part.in_axis is not None
    }
    places = _places(adapter, shapes)
    here = [path for path in adapter.sizes if path in places]
    other_size = [path for path in here if not _fits(adapter.sizes[path], shapes[places[path]])]
    missing = [path for path in adapter.sizes if path not in places]
    text = f"{adapter} for {len(here)} of the {len(shapes):,} matrices of the other network"
    if other_size:
        text += f", of which {len(other_size)} have another size ({_named(other_size)})"
    elif here:
        text += ", all of which fit"
    if missing:
        text += f"; not there: {len(missing)} of its {counted(len(adapter.sizes), 'layer')} ({_named(missing)})"
    if named := base_of_adapter(Path(adapter_name)):
        text += f"; its adapter_config.json names the base {named!r}, and the other network is {base.name}"
    return f"{text}; merge it into its base to compare the two"


def _places(adapter: Adapter, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Returns the layers of a network by those of an adapter, cut as most agree."""
    best: dict[str, str] = {}
    for total in range(2 * MOST_PREFIX + 1):
        for cut in range(min(total, MOST_PREFIX) + 1):
            others = {_cut(path, total - cut): path for path in shapes}
            found = {path: others[name] for path in adapter.sizes if (name := _cut(path, cut)) in others and name}
            if len(found) > len(best):
                best = found
    return best


def _cut(path: str, modules: int) -> str:
    return ".".join(path.split(".")[modules:])


def _fits(size: tuple[int, int] | None, shape: tuple[int, ...]) -> bool:
    """Whether a change of a matrix has its shape; matrices may be stored as inputs x outputs."""
    if size is None:
        return True
    return size == (shape[0], math.prod(shape[1:])) or (len(shape) == 2 and size == shape[::-1])


def _named(paths: list[str]) -> str:
    return ", ".join(paths[:MOST_NAMED]) + (", ..." if len(paths) > MOST_NAMED else "")
