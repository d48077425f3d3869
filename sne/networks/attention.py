"""Recognises attentions among modules, and the linear layers in them: queries, keys, values and outputs."""

from collections.abc import Mapping
from dataclasses import dataclass

from sne.networks.grammar import attention_word, has_role
from sne.networks.stems import Stem


@dataclass(frozen=True)
class Attentions:
    """The attentions of a network.

    Args:
        modules: Paths of the modules that hold queries and keys, separate or fused.
        roles: "query", "key", "value", "qkv" or "out" by stem, for the stems that have one.
        outputs: Stored shape of the weight of the output projection, by path of the module.
    """

    modules: frozenset[str]
    roles: Mapping[str, str]
    outputs: Mapping[str, tuple[int, ...]]


def find_attentions(stems: Mapping[str, Stem]) -> Attentions:
    """Finds the attentions of a network.

    Args:
        stems: Tensors by stem.

    Returns:
        The attentions, and the roles of stems in them.
    """
    words: dict[str, set[str]] = {}
    outputs: dict[str, tuple[int, ...]] = {}
    for path, stem in stems.items():
        if is_multihead(stem):
            words.setdefault(path, set()).add("qkv")
        elif any(len(info.shape) in (2, 4) for info in stem.leaves.values()):
            module, name, is_listed = _module_and_name(path)
            word = "qkv" if has_role(name, "interleaved qkv") else attention_word(name)
            weight = stem.leaves.get("weight")
            if word and not is_listed:
                words.setdefault(module, set()).add(word)
            if word == "out" and weight is not None and len(weight.shape) == 2:
                outputs.setdefault(module, weight.shape)
    found = {module for module, held in words.items() if "qkv" in held or {"query", "key"} <= held}
    modules = frozenset(module for module in found if not _is_state_space(module, stems, outputs))
    roles = {path: role for path in stems if (role := _role(path, modules))}
    return Attentions(modules, roles, outputs)


def is_multihead(stem: Stem) -> bool:
    """Whether a stem holds the tensors of `nn.MultiheadAttention`, in the shapes that these have."""
    leaves = stem.leaves
    bias = leaves.get("in_proj_bias")
    if bias is not None and (len(bias.shape) != 1 or bias.shape[0] % 3):
        return False
    if "in_proj_weight" in leaves:
        shape = leaves["in_proj_weight"].shape
        return len(shape) == 2 and shape[0] % 3 == 0 and not any(f"{p}_proj_weight" in leaves for p in "qkv")
    apart = [leaves.get(f"{piece}_proj_weight") for piece in "qkv"]
    return all(info is not None and len(info.shape) == 2 for info in apart)


def _module_and_name(path: str) -> tuple[str, str, bool]:
    """Cuts a layer's path into module and name, and returns whether it is in a list (`attn.to_out.0`: attn, to_out)."""
    module, _, name = path.rpartition(".")
    if not name.isdigit():
        return module, name, False
    module, _, name = module.rpartition(".")
    return module, name, True


def _is_state_space(module: str, stems: Mapping[str, Stem], outputs: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether `in_proj` has other rows than three for each input of the output projection, as in Mamba."""
    stem = stems.get(f"{module}.in_proj" if module else "in_proj")
    if stem is None or "weight" not in stem.leaves:
        return False
    return module not in outputs or stem.leaves["weight"].shape[:1] != (3 * outputs[module][1],)


def _role(path: str, modules: frozenset[str]) -> str:
    module, name, _ = _module_and_name(path)
    if module in modules:
        return attention_word(name)
    # attention.output.dense next to attention.self.query (BERT) and attention.attention.query (ViT)
    parent, _, middle = module.rpartition(".")
    if middle == "output" and attention_word(name) == "out":
        return "out" if any(f"{parent}.{inner}" in modules for inner in ("self", "attention")) else ""
    return ""
