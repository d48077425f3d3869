"""Copies of a network among the networks of a checkpoint: equal names and shapes, and a name that says so."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sne.checkpoints.nesting import has_shape, leaves
from sne.checkpoints.words import names_copy, words

_WRAPPED = re.compile(r"(^|\.)((module|_orig_mod|_fsdp_wrapped_module|_forward_module|_checkpoint_wrapped_module)\.)+")

Layout = frozenset[tuple[str, tuple[int, ...]]]
"""Names and shapes of the tensors of a network that have axes; names without wrappers and without dots."""


def find_copies(networks: Mapping[str, Any]) -> dict[str, str]:
    """Finds which networks are copies of others.

    The name of a copy says so, and it holds nothing but tensors that the other network has too, of equal names and
    shapes.

    Args:
        networks: State dicts, nested or not, by name. A copy may also be a list of tensors, of equal shapes.

    Returns:
        For each copy the name of the network that it copies.

    Example:
        >>> import torch
        >>> state = {"fc.weight": torch.ones(2, 3)}
        >>> find_copies({"net": state, "net_ema": {"module": state}, "head": {"fc.weight": torch.ones(5, 3)}})
        {'net_ema': 'net'}
    """
    copies = [name for name in networks if names_copy(name)]
    if not copies or len(copies) == len(networks):
        return {}
    layouts = {name: layout_of(network) for name, network in networks.items()}
    found: dict[str, str] = {}
    for name in copies:
        named = sorted(
            (other for other in networks if other not in copies),
            key=lambda other: -len({*words(name)} & {*words(other)}),
        )
        main = next((other for other in named if _is_within(layouts[name], layouts[other])), None)
        if main is not None:
            found[name] = main
    return found


def are_alike(networks: Iterable[Any]) -> bool:
    """Whether all networks have the same names and shapes."""
    return len({layout_of(network) for network in networks}) == 1


def layout_of(network: Any) -> Layout:
    """Returns the names and shapes of the tensors of a network that have axes."""
    return frozenset(
        (plain_name(path), tuple(tensor.shape)) for path, tensor in leaves(network) if has_shape(tensor) and tensor.ndim
    )


def plain_name(name: str) -> str:
    """Returns a name without wrappers and dots, which moving averages of some programs drop.

    Example:
        >>> plain_name("module.conv1._orig_mod.weight"), plain_name("conv1weight")
        ('conv1weight', 'conv1weight')
    """
    return _WRAPPED.sub(r"\1", name).replace(".", "")


def _is_within(copy: Layout, network: Layout) -> bool:
    """Whether a copy holds nothing that the network lacks."""
    if not copy or copy <= network:
        return bool(copy)
    if not all(re.fullmatch(r"(shadow_?params)?\d+", name) for name, _ in copy):
        return False
    return Counter(shape for _, shape in copy) <= Counter(shape for _, shape in network)
