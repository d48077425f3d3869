"""Reasons to doubt a prediction that follow from how a network was read."""

import weakref
from collections.abc import Iterator

from sne.checkpoints.nonfinite import NONFINITE
from sne.checkpoints.stored import REWRITTEN
from sne.networks import LayerType, Network

MOST_SET_ASIDE = 0.5
"""Share of the entries of a file beyond which predictions say that most of it was not read."""

MOST_NAMES = 5
"""Largest number of tensors that one sentence names."""

_SENTENCES = {
    "no network of its own": "the file is an adapter and no whole network",
    "unmerged adapter": "the file holds an adapter that is not merged into the weights",
}

_KNOWN: dict[int, tuple["weakref.ref[Network]", tuple[str, ...]]] = {}
"""Doubts of the networks in memory, by identity: they are told when a file is read, and asked for to predict."""


def doubts(network: Network) -> list[str]:
    """Says what makes a network, as it was read, unlike one that was saved whole.

    Args:
        network: A network that was read from a checkpoint.

    Returns:
        One sentence per reason: nothing in it was recognised, most of its entries were set aside, or the notes say that
        layers with NaN or infinite weights were left out, that a program has rewritten its weights or that it is an
        adapter. Empty as a rule.

    Example:
        >>> import torch
        >>> from sne import read_network
        >>> doubts(read_network({"fc.weight": torch.ones(2, 3)}))
        []
        >>> doubts(read_network({"fc.weight": torch.ones(2, 3), "code": torch.ones(9, 9, dtype=torch.int32)}))
        ['93% of the entries in the file were set aside']
    """
    kept = _KNOWN.get(number := id(network))
    if kept is None or kept[0]() is not network:
        kept = weakref.ref(network, lambda _: _KNOWN.pop(number, None)), tuple(_find(network))
        _KNOWN[number] = kept
    return list(kept[1])


def is_incomplete(network: Network) -> bool:
    """Whether a network, as it was read, is a part of one, or nothing that is known: what it predicts is not known.

    A network that a program has rewritten is whole.

    Args:
        network: A network that was read from a checkpoint.

    Example:
        >>> import torch
        >>> from sne import read_network
        >>> state = {"a.weight": torch.ones(2, 3), "b.weight": torch.full((4, 2), torch.nan)}
        >>> is_incomplete(read_network(state, allow_nonfinite=True))
        True
    """
    return any(doubt not in REWRITTEN for doubt in doubts(network))


def _find(network: Network) -> Iterator[str]:
    if all(layer.type is LayerType.OTHER for layer in network.layers):
        yield "no layer was recognised by its type"
    used = {part.tensor for _, part in network.parts()}
    infos, hints = network.source.infos, getattr(network.source, "hints", {})
    passed = getattr(network.source, "companions", frozenset())
    aside = sum(
        info.num_entries
        for name, info in infos.items()
        if name not in used and name not in passed and not (name in hints and hints[name].tied)
    )
    read = sum(infos[name].num_entries for name in used if name in infos)
    if aside > MOST_SET_ASIDE * (aside + read):
        yield f"{aside / (aside + read):.0%} of the entries in the file were set aside"
    if bad := [note.tensor for note in network.notes if note.reason.endswith(NONFINITE)]:
        more = f" and {len(bad) - MOST_NAMES} more" if len(bad) > MOST_NAMES else ""
        yield f"layers were left out for NaN or infinite values in {', '.join(bad[:MOST_NAMES])}{more}"
    reasons = dict.fromkeys(note.reason for note in network.notes)
    yield from (reason for reason in reasons if reason in REWRITTEN)
    for words, sentence in _SENTENCES.items():
        if any(words in reason for reason in reasons):
            yield sentence
