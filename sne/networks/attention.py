"""Recognises attentions among modules, and the linear layers in them: queries, keys, values and outputs."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from sne.networks.adapters import adapted_path
from sne.networks.grammar import attention_word, has_role
from sne.networks.stems import Stem

_OTHER_WORDS = ("low-rank kv", "interleaved kv")  # roles of layers that are not one of the types of an attention


@dataclass(frozen=True)
class Attentions:
    """The attentions of a network.

    Args:
        modules: Paths of the modules that hold queries and keys, separate or fused.
        roles: "query", "key", "value", "qkv", "kv" or "out" by stem, for the stems that have one.
        outputs: Stored shape of the weight of the output projection, by path of the module.
        queries: Stored shape of the weight of queries that have a tensor of their own, by path of the module.
        bias_heads: Number of heads of a table of attention biases, by path of the module.
        siblings: Names of the modules and parameters in each module that is an attention.
    """

    modules: frozenset[str]
    roles: Mapping[str, str]
    outputs: Mapping[str, tuple[int, ...]]
    queries: Mapping[str, tuple[int, ...]]
    bias_heads: Mapping[str, int]
    siblings: Mapping[str, frozenset[str]]


def find_attentions(stems: Mapping[str, Stem]) -> Attentions:
    """Finds the attentions of a network.

    Args:
        stems: Tensors by stem.

    Returns:
        The attentions, and the roles of stems in them.
    """
    words: dict[str, set[str]] = {}
    outputs: dict[str, tuple[int, ...]] = {}
    queries: dict[str, tuple[int, ...]] = {}
    bias_heads: dict[str, int] = {}
    for path, stem in stems.items():
        if is_multihead(stem):
            words.setdefault(path, set()).add("qkv")
        elif any(len(info.shape) in (2, 4) for info in stem.leaves.values()):
            adapted = adapted_path(path)
            module, name, is_listed = _module_and_name(path if adapted is None else adapted[0])
            if adapted is not None and not adapted[1]:
                words.setdefault(module, set()).update({"adapter", attention_word(name)})
                continue
            word = next((word for word in _OTHER_WORDS if has_role(name, word)), "") or attention_word(name)
            weight = stem.leaves.get("weight")
            if word and not is_listed:
                words.setdefault(module, set()).add(word)
            if weight is not None and len(weight.shape) == 2 and word in ("out", "query"):
                (outputs if word == "out" else queries).setdefault(module, weight.shape)
            if name == "attention_biases" and "" in stem.leaves:
                bias_heads[module] = stem.leaves[""].shape[0]
    found = {module for module, held in words.items() if held & {"qkv", "low-rank kv"} or _holds_pair(held)}
    modules = frozenset(module for module in found if not _is_other_in_proj(module, stems, outputs))
    roles = {path: role for path in stems if (role := _role(path, modules))}
    for path, role in roles.items():
        if role == "qkv" and path.rpartition(".")[0] in queries:
            roles[path] = "kv"  # c_attn beside q_attn: the cross-attention of GPT-2
    return Attentions(modules, roles, outputs, queries, bias_heads, _siblings(stems, modules))


def _holds_pair(held: Set[str]) -> bool:
    """Whether a module that holds these roles of linear layers is an attention without a fused tensor of all three."""
    others = {"key", "kv", "interleaved kv"} | ({"value"} if "adapter" in held else set())
    return "query" in held and bool(held & others)


def _siblings(stems: Mapping[str, Stem], modules: frozenset[str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {module: set() for module in modules}
    for path in stems:
        module, _, name = path.rpartition(".")
        if module in found:
            found[module].add(name)
    return {module: frozenset(names) for module, names in found.items()}


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


def _is_other_in_proj(module: str, stems: Mapping[str, Stem], outputs: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether `in_proj` does not hold queries, keys and values: Mamba, and the short convolutions of LFM2."""
    dot = "." if module else ""
    stem = stems.get(f"{module}{dot}in_proj")
    if stem is None or "weight" not in stem.leaves:
        return False
    beside = {
        name for name in ("conv", "conv1d", "pos_proj", "pos_q_proj", "q", "v") if f"{module}{dot}{name}" in stems
    }
    if beside & {"conv", "conv1d"}:
        return True
    if beside & {"pos_proj", "pos_q_proj"} or beside >= {"q", "v"}:  # DeBERTa, whose q_bias and v_bias are apart
        return False
    return module not in outputs or stem.leaves["weight"].shape[:1] != (3 * outputs[module][1],)


def _role(path: str, modules: frozenset[str]) -> str:
    adapted = adapted_path(path)
    if adapted is not None and not adapted[1]:
        return ""
    module, name, _ = _module_and_name(path if adapted is None else adapted[0])
    if module in modules:
        return attention_word(name)
    # attention.output.dense next to attention.self.query (BERT) and attention.attention.query (ViT)
    parent, _, middle = module.rpartition(".")
    if middle == "output" and attention_word(name) == "out":
        return "out" if any(f"{parent}.{inner}" in modules for inner in ("self", "attention")) else ""
    return ""
