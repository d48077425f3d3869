"""What ComfyUI says about the format of each quantised layer."""

import json
from collections.abc import Mapping
from typing import Any

from sne.checkpoints.composed.weight import Facts

_MARK = "comfy_quant"
_METADATA = "_quantization_metadata"


def is_of_comfy(facts: Facts) -> bool:
    """Whether ComfyUI wrote the checkpoint with a format per layer."""
    return _METADATA in facts.metadata or any(name.endswith(f".{_MARK}") for name in facts.infos)


def comfy_layers(facts: Facts) -> dict[str, Mapping[str, Any]]:
    """Returns what ComfyUI says about each quantised layer, by its path.

    It stands in a tensor of bytes beside the weight, `x.comfy_quant`, or in the metadata of the file. Both are JSON.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        Settings such as `{"format": "int8_blockwise", "group_size": 128}`, by the path of the layer; empty if they
        cannot be parsed.

    Example:
        >>> text = '{"format_version": "1.0", "layers": {"fc": {"format": "float8_e4m3fn"}}}'
        >>> comfy_layers(Facts({}, metadata={"_quantization_metadata": text}))
        {'fc': {'format': 'float8_e4m3fn'}}

    Source: QUANTIZATION.md of ComfyUI, format version 1.0.
    Differs: nothing.
    """
    layers = _parse(facts.metadata.get(_METADATA)).get("layers")
    found = {path: own for path, own in layers.items() if isinstance(own, Mapping)} if isinstance(layers, dict) else {}
    for name in facts.infos:
        path, _, leaf = name.rpartition(".")
        if leaf == _MARK:
            found[path] = _parse(facts.read_text(name))
    return found


def _parse(text: str | None) -> dict[str, Any]:
    try:
        content = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
