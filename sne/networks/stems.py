"""Selects the tensors that are weights and groups them to layers: tensors of a layer share the stem of their names."""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from sne.networks.adapters import module_path
from sne.networks.buffers import why_buffer
from sne.networks.grammar import has_role
from sne.networks.network import Hint, Note
from sne.networks.part import TensorInfo
from sne.networks.spelling import natural_key

WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")

_GENERIC = {
    "weight": "weight", "kernel": "kernel", "bias": "bias",
    "gamma": "gamma", "beta": "beta", "scale": "scale",
    "running_mean": "running_mean", "running_var": "running_var", "num_batches_tracked": "counter",
}  # fmt: skip
_RECURRENT = re.compile(r"^(weight|bias)_(ih|hh|hr)(_l\d{1,9})?(_reverse)?$")
_FUSED = {"in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight"}
_AFFIXED = re.compile(r"^(.+)[_](weight|bias|kernel)$")
_COUNTED = re.compile(r"^(weight|kernel|bias|w|b|W)[_]?(\d+)$")
_LETTERS = {"w": "weight", "W": "weight", "b": "bias", "weight": "weight", "bias": "bias", "kernel": "kernel"}
_NO_HINT = Hint()


@dataclass
class Stem:
    """The tensors that share a stem.

    Args:
        path: Dotted path of the layer without the prefix of a wrapper.
        stored: The path with the prefix, under which hints are filed.
        leaves: Tensors by leaf name ("weight", "in_proj_bias", ...).
    """

    path: str
    stored: str
    leaves: dict[str, TensorInfo] = field(default_factory=dict)

    @property
    def last(self) -> str:
        """The last component of the path that is not a number: `to_out` for `to_out.0`."""
        components = self.path.split(".")
        return next((c for c in reversed(components) if not c.isdigit()), components[-1])

    @property
    def component(self) -> str:
        """The last component of the path."""
        return self.path.rpartition(".")[2]


def common_prefix(names: Iterable[str]) -> str:
    """Returns the wrapper prefix (`module.`, `_orig_mod.`, `model.`) that all names share, also several in a row.

    Example:
        >>> common_prefix(["module.model.0.weight", "module.model.0.bias"])
        'module.model.'
    """
    names = list(names)
    prefix = ""
    while names:
        for wrapper in WRAPPER_PREFIXES:
            if all(name.startswith(wrapper, len(prefix)) for name in names):
                prefix += wrapper
                break
        else:
            break
    return prefix


def find_weights(
    infos: Mapping[str, TensorInfo], hints: Mapping[str, Hint]
) -> tuple[dict[str, TensorInfo], list[Note]]:
    """Separates weights from counters, masks, other buffers, complex numbers, tied copies and scales of other tensors.

    Args:
        infos: Tensors by stored name.
        hints: Hints by stored name.

    Returns:
        The weights by name, and one note for each other tensor.
    """
    weights: dict[str, TensorInfo] = {}
    notes: list[Note] = []
    tied: dict[str, list[str]] = {}
    for name, info in infos.items():
        hint = hints.get(name, _NO_HINT)
        if reason := _why_no_weight(info, hint, infos):
            notes.append(Note(name, reason))
        elif hint.tied is None:
            weights[name] = info
        else:
            tied.setdefault(hint.tied, []).append(name)
    for names in tied.values():
        first, *copies = sorted(names, key=_reading_order)
        weights[first] = infos[first]
        notes += [Note(name, f"tied: the same tensor as {first}, which is read") for name in copies]
    return weights, notes


def group_by_stem(weights: Mapping[str, TensorInfo], prefix: str) -> dict[str, Stem]:
    """Groups tensors by the stem of their names.

    Args:
        weights: Tensors by stored name.
        prefix: Wrapper prefix to remove from the stems.

    Returns:
        Stems by path, in alphabetical order of their first tensor. If two tensors have one stem and one leaf
        (`fc_weight`, `fc.weight`) the second gets a stem of its own.
    """
    stems: dict[str, Stem] = {}
    for name in sorted(weights):
        stored, leaf = split_name(name[len(prefix) :])
        path = module_path(stored)
        stem = stems.get(path)
        if stem is None:
            stem = stems[path] = Stem(path, prefix + stored)
        if leaf in stem.leaves:
            stem = stems.setdefault(name[len(prefix) :], Stem(name[len(prefix) :], name))
            leaf = ""
        stem.leaves[leaf] = weights[name]
    return stems


def split_name(name: str) -> tuple[str, str]:
    """Cuts a tensor's name into stem and leaf.

    Args:
        name: Full name of the tensor.

    Returns:
        Stem and leaf. A bare parameter is its own stem with an empty leaf.

    Example:
        >>> split_name("layer1.0.conv1.weight"), split_name("fc_bias"), split_name("pos_embed")
        (('layer1.0.conv1', 'weight'), ('fc', 'bias'), ('pos_embed', ''))
    """
    head, _, leaf = name.rpartition(".")
    if leaf in _GENERIC:
        return head, _GENERIC[leaf]
    if leaf in _FUSED or _RECURRENT.match(leaf):
        return head, leaf
    dot = "." if head else ""
    if match := _AFFIXED.match(leaf):
        return f"{head}{dot}{match[1]}", match[2]
    if match := _COUNTED.match(leaf):
        return f"{head}{dot}{match[2]}", _LETTERS[match[1]]
    return name, ""


def _why_no_weight(info: TensorInfo, hint: Hint, names: Container[str]) -> str:
    """Returns why a tensor is not a weight, empty if it is one."""
    if hint.unused is not None:
        return hint.unused
    if info.num_entries == 0:
        return f"empty: shape {list(info.shape)}"
    if hint.is_scaled:
        return ""
    if not info.dtype.startswith(("int", "uint", "bool", "complex")):
        return why_buffer(info, names)
    if info.dtype.startswith("complex"):
        kind = "complex numbers"
    elif info.dtype == "bool":
        kind = "a mask"
    else:
        kind = "a counter" if not info.shape else "a table of integers"
    return f"{info.dtype}: {kind}, not a weight"


def _reading_order(name: str) -> tuple[bool, bool, tuple[str | int, ...]]:
    """Returns a key by which the first of several names of one tensor is read: inputs first, then short names."""
    components = name.split(".")
    return any(has_role(c, "output") for c in components), len(components) > 2, natural_key(name)
