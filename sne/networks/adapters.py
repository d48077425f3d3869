"""Adapters: low-rank changes of a network's layers, stored in a file of their own or beside the weights they change."""

import re
from collections.abc import Mapping
from functools import lru_cache

from sne.networks.grammar import has_role
from sne.networks.network import Note
from sne.networks.part import TensorInfo

_KOHYA = re.compile(r"^(lora|lycoris)_(te\d?|unet|transformer|prior_te|prior_unet)_")
_KOHYA_NUMBER = re.compile(r"_(\d+)_")
_KOHYA_MODULES = re.compile(r"(?<=[._])(mid_block|text_model|encoder|self_attn|mlp|attn\d?|ff|ff_context)_(?!norm)")
_BARE = re.compile(r"^(lokr|hada)_(w[12]|t[12])(_[ab])?$|^(lora_magnitude_vector|dora_scale|ia3_l)$|^diff(_b)?$")
_MAYBE = re.compile(r"(?i)lora|lokr|hada_|dora_|ia3_|base_layer|\.diff")
_ALONE = "changes of a network that is not in the file"
_BESIDE = "stored beside the weights that it changes; read as layers, not merged"

FACTOR = "a factor of an adapter (LoHa, LoKr) or its scale (DoRA); read as other"


@lru_cache(maxsize=65536)
def module_path(path: str) -> str:
    """Returns the path of a module whose dots kohya-ss/sd-scripts replaced by underscores.

    Args:
        path: Path of a layer; other paths than those are returned as they are.

    Example:
        >>> module_path("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down")
        'lora_unet.down_blocks.0.attentions.0.proj_in.lora_down'
        >>> module_path("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up")
        'lora_te.text_model.encoder.layers.0.self_attn.q_proj.lora_up'
    """
    match = _KOHYA.match(path)
    if match is None:
        return path
    module, dot, rest = path[match.end() :].partition(".")
    while (split := _KOHYA_NUMBER.sub(r".\1.", module)) != module:
        module = split
    module = f"_{module}"
    while (split := _KOHYA_MODULES.sub(r"\1.", module)) != module:
        module = split
    module = module.removeprefix("_")
    return f"{match[0][:-1]}.{module}{dot}{rest}"


def is_factor(component: str) -> bool:
    """Whether a parameter of this name belongs to an adapter, other than a matrix of LoRA."""
    return _BARE.match(component) is not None


def adapted_path(path: str) -> tuple[str, bool] | None:
    """Returns the path of the layer that a layer changes or has as its base, None if it is no part of an adapter.

    Args:
        path: Path of a layer.

    Returns:
        The path of the adapted layer, and whether this layer is the base, the original weight.

    Example:
        >>> adapted_path("attn.q_proj.lora_A.default"), adapted_path("attn.q_proj.base_layer"), adapted_path("attn.q")
        (('attn.q_proj', False), ('attn.q_proj', True), None)
    """
    if _MAYBE.search(path) is None:
        return None
    components = path.split(".")
    for at in range(len(components) - 1, max(len(components) - 4, 0), -1):
        name = components[at]
        if name == "base_layer":
            return ".".join(components[:at]), True
        if has_role(name, "adapter") or is_factor(name):
            return ".".join(components[:at]), False
    return None


def is_first_factor(name: str) -> bool:
    """Whether a tensor is the factor of a LoRA that reads the input.

    Args:
        name: Name of the tensor.

    Example:
        >>> is_first_factor("q.lora_A.default.weight"), is_first_factor("q.lora_B.default.weight")
        (True, False)
    """
    return any(has_role(word, "adapter first") for word in name.split(".")) or ".lora.down." in name


def adapter_notes(weights: Mapping[str, TensorInfo]) -> list[Note]:
    """Returns the note that says that a network is an adapter, or that adapters are stored beside its weights.

    Args:
        weights: The weights by stored name.

    Returns:
        One note on the first tensor of an adapter, or none.
    """
    parts = [name for name in weights if (adapted := adapted_path(name)) is not None and not adapted[1]]
    if not parts:
        return []
    ranks = sorted({rank for name in parts if (rank := _rank(name, weights[name].shape)) is not None})
    shown = f" of rank {ranks[0]}" if len(ranks) == 1 else f" of ranks {ranks[0]} to {ranks[-1]}" if ranks else ""
    first = min(parts)
    if len(parts) == len(weights):
        return [Note(first, f"the file is an adapter{shown}: {_ALONE}")]
    return [Note(first, f"an adapter{shown} is {_BESIDE}")]


def is_adapter_note(note: Note) -> bool:
    """Whether a note is one of `adapter_notes`.

    Args:
        note: The note.

    Example:
        >>> is_adapter_note(Note("adapter_model.safetensors", "an adapter beside the network; not applied"))
        False
    """
    return note.reason.endswith((_ALONE, _BESIDE))


def _rank(name: str, shape: tuple[int, ...]) -> int | None:
    """Returns the rank of an adapter from its first factor, None for its other tensors."""
    components = name.split(".")
    if len(shape) < 2:
        return None
    if is_first_factor(name):
        return min(shape[:2])
    is_second = re.match(r"^(lokr_w[12]|hada_w[12])_b$", components[-1])
    return shape[0] if is_second else None
