"""Tensor names cut into stem (the layer) and leaf (the tensor in it); a bias finds its layer by its stem."""

import re
from dataclasses import dataclass, field

from sne.networks.network import TensorInfo

_GENERIC = {
    "weight": "weight", "kernel": "kernel", "bias": "bias",
    "gamma": "gamma", "beta": "beta", "scale": "scale",
    "running_mean": "running_mean", "running_var": "running_var", "num_batches_tracked": "counter",
}  # fmt: skip
_RECURRENT = re.compile(r"^(weight|bias)_(ih|hh|hr)(_l\d+)?(_reverse)?$")
_FUSED = {"in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight"}
_AFFIXED = re.compile(r"^(.+)[_](weight|bias|kernel)$")
_COUNTED = re.compile(r"^(weight|kernel|bias|w|b|W)[_]?(\d+)$")
_LETTERS = {"w": "weight", "W": "weight", "b": "bias", "weight": "weight", "bias": "bias", "kernel": "kernel"}


@dataclass
class Stem:
    """The tensors that share a stem, by leaf.

    Args:
        path: the dotted path of the layer, wrapper prefixes removed.
        stored: the path with its prefixes, as hints are filed.
        leaves: leaf name ("weight", "in_proj_bias", ...) to tensor.
    """

    path: str
    stored: str
    leaves: dict[str, TensorInfo] = field(default_factory=dict)

    @property
    def last(self) -> str:
        """The last component of the path that is a word: of `to_out.0`, `to_out`."""
        components = self.path.split(".")
        return next((c for c in reversed(components) if not c.isdigit()), components[-1])


def split_name(name: str) -> tuple[str, str]:
    """Cuts a tensor's name into stem and leaf.

    Args:
        name: full name, such as `layer1.0.conv1.weight`, `fc_bias` or `pos_embed`.

    Returns:
        Stem and leaf. A bare parameter (`pos_embed`) is its own stem with an empty leaf.
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


def gather(infos: dict[str, TensorInfo], prefix: str) -> dict[str, Stem]:
    """Groups tensors by stem.

    Args:
        infos: tensors by stored name.
        prefix: wrapper prefix to remove from the stems.

    Returns:
        Stems by path. A stem with a bare parameter and other leaves is split, so no tensor hides another.
    """
    stems: dict[str, Stem] = {}
    for name in sorted(infos):
        path, leaf = split_name(name[len(prefix) :])
        stem = stems.setdefault(path, Stem(path, prefix + path))
        if leaf in stem.leaves:  # fc_weight beside fc.weight: two layers, not one
            stem = stems.setdefault(name[len(prefix) :], Stem(name[len(prefix) :], name))
            leaf = ""
        stem.leaves[leaf] = infos[name]
    return stems
