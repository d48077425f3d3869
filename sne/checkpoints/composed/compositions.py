"""The table of compositions, and the search for all of them among the tensors of a checkpoint."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from sne.checkpoints.composed.bitsandbytes import find_bitsandbytes
from sne.checkpoints.composed.channels_last import find_channels_last
from sne.checkpoints.composed.compressed_tensors import find_compressed_tensors
from sne.checkpoints.composed.float4 import find_float4
from sne.checkpoints.composed.gptq import find_gptq
from sne.checkpoints.composed.hqq import find_hqq
from sne.checkpoints.composed.leftovers import find_leftovers
from sne.checkpoints.composed.mlx import find_mlx
from sne.checkpoints.composed.parametrised import find_parametrised
from sne.checkpoints.composed.pruning import find_pruned
from sne.checkpoints.composed.quanto import find_quanto
from sne.checkpoints.composed.scales import find_scaled
from sne.checkpoints.composed.spectral_norm import find_spectral
from sne.checkpoints.composed.torchao import find_torchao
from sne.checkpoints.composed.unread import find_unread
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found
from sne.checkpoints.composed.weight_norm import find_normalised
from sne.networks import Remembered

_KNOWN: Remembered[Found] = Remembered(256, 200_000)
_LONGEST_METADATA = 10_000  # characters

COMPOSITIONS: Mapping[str, Callable[[Facts], Found]] = {
    "pruning": find_pruned,
    "weight norm": find_normalised,
    "spectral norm": find_spectral,
    "other parametrisations": find_parametrised,
    "unread formats": find_unread,
    "GPTQ and AWQ": find_gptq,
    "bitsandbytes": find_bitsandbytes,
    "HQQ": find_hqq,
    "4-bit floats": find_float4,
    "MLX": find_mlx,
    "kernels of MLX": find_channels_last,
    "compressed-tensors": find_compressed_tensors,
    "quanto": find_quanto,
    "torchao": find_torchao,
    "scales": find_scaled,
    "leftovers": find_leftovers,
}
"""Functions that find composed weights among stored tensors, from names, shapes, dtypes and configuration. If two of
them claim one tensor, the first takes it. Weights under pruning masks are found first, and the other functions see
them like stored tensors, since they may be part of other compositions."""


def find_composed(facts: Facts) -> Found:
    """Finds every composed weight among stored tensors.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The composed weights, and the tensors that are recognised as packed and cannot be read. If two rows of
        `COMPOSITIONS` claim one tensor, the first row takes it. Results that depend on names, shapes, dtypes and short
        metadata alone are remembered.
    """
    size = sum(len(key) + len(value) for key, value in facts.metadata.items())
    if facts.config or facts.read is None or size > _LONGEST_METADATA or len(facts.infos) > _KNOWN.largest:
        return _search(facts)
    key = tuple(facts.infos.values()), frozenset(facts.metadata.items())
    found = _KNOWN.get(key)
    if found is None:
        reads: list[str] = []
        found = _search(replace(facts, read=_recording(facts.read, reads)))
        if not reads:
            _KNOWN.put(key, found, len(facts.infos))
    return found


def _recording(read: Callable[[str], Tensor], reads: list[str]) -> Callable[[str], Tensor]:
    """Returns a function that reads a tensor and adds its name to a list."""

    def recorded(name: str) -> Tensor:
        reads.append(name)
        return read(name)

    return recorded


def _search(facts: Facts) -> Found:
    """Does the work of `find_composed`."""
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    claimed: set[str] = set()
    for find in COMPOSITIONS.values():
        found = find(facts)
        for name, weight in found.weights.items():
            if name not in weights and not claimed & {name, *weight.companions}:
                weights[name] = weight
                claimed.update(weight.companions)
                if find is not find_pruned:
                    claimed.add(name)
        if find is find_pruned:
            facts = replace(facts, infos={**facts.infos, **{name: weight.info for name, weight in weights.items()}})
        for name, reason in found.packed.items():
            if name not in claimed and name not in weights:
                packed[name] = reason
                claimed.add(name)
    return Found(weights, packed)
