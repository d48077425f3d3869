"""The `config.json` beside a checkpoint: what names and shapes leave open, such as the number of heads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sne.checkpoints.raw_data import parse_json
from sne.errors import CheckpointError
from sne.networks import Heads

_NAME = "config.json"
_QUANTISATION = "quantization_config"
_NESTED = ("text_config", "llm_config", "language_config")
_QUANTISATION_FILES = {
    "quantize_config.json": "",  # GPTQ
    "quant_config.json": "",  # AWQ
    "hf_quant_config.json": "quantization",  # TensorRT Model Optimizer
}
_MAX_SIZE = 10_000_000


def read_config(path: Path) -> dict[str, Any]:
    """Reads the `config.json` that belongs to a checkpoint.

    Args:
        path: A checkpoint file, or a folder with one.

    Returns:
        The content, empty if there is no such file. It is empty, too, if the file is not a JSON object of at most
        10 MB, since a file of that name may belong to another program. Settings of quantisation that stand in a file
        of their own (`quantize_config.json`, `quant_config.json`, `hf_quant_config.json`) are added as
        `quantization_config`.
    """
    folder = path if path.is_dir() else path.parent
    config = _read_object(folder / _NAME)
    if quantisation_of(config):
        return config
    for name, key in _QUANTISATION_FILES.items():
        settings = _read_object(folder / name)
        settings = settings.get(key, {}) if key else settings
        if isinstance(settings, dict) and settings:
            return {**config, _QUANTISATION: settings}
    return config


def _read_object(file: Path) -> dict[str, Any]:
    """Reads a JSON object; empty if there is none."""
    try:
        if not file.is_file() or file.stat().st_size > _MAX_SIZE:
            return {}
        content = parse_json(file.read_bytes(), file, "configuration")
    except (OSError, CheckpointError):
        return {}
    return content if isinstance(content, dict) else {}


def heads_of(config: Mapping[str, Any]) -> Heads | None:
    """Returns what a configuration says about the heads of the attentions.

    Args:
        config: Content of a `config.json` as `transformers` writes it.

    Returns:
        The heads; None if the configuration does not say how many there are.

    Example:
        >>> heads_of({"model_type": "llama", "num_attention_heads": 8, "num_key_value_heads": 2})
        Heads(num_heads=8, num_kv_heads=2, head_size=None, model_type='llama')
    """
    num_heads = _count(config, "num_attention_heads", "n_head", "num_heads", "n_heads")
    if num_heads is None:
        return None
    num_kv_heads = _count(config, "num_key_value_heads", "num_kv_heads", "n_head_kv")
    kind = config.get("model_type")
    return Heads(num_heads, num_kv_heads, _count(config, "head_dim"), kind if isinstance(kind, str) else "")


def quantisation_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what a configuration says about quantisation.

    Args:
        config: Content of a `config.json`.

    Returns:
        Its `quantization_config`, also if it stands in the configuration of the text model of a multimodal network;
        empty if there is none.

    Example:
        >>> quantisation_of({"quantization_config": {"quant_method": "gptq", "bits": 4}})["bits"]
        4
    """
    for part in (config, *(config.get(key) for key in _NESTED)):
        found = part.get(_QUANTISATION) if isinstance(part, Mapping) else None
        if isinstance(found, Mapping):
            return found
    return {}


def _count(config: Mapping[str, Any], *keys: str) -> int | None:
    found = (config.get(key) for key in keys)
    return next((value for value in found if type(value) is int and value > 0), None)
