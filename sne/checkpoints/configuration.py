"""The `config.json` beside a checkpoint: what names and shapes leave open, such as the number of heads."""

from collections.abc import Mapping
from typing import Any

from sne.checkpoints.raw_data import parse_json
from sne.checkpoints.remote.path import FilePath
from sne.errors import CheckpointError, RemoteError
from sne.networks import Heads

_NAME = "config.json"
_ADAPTER = "adapter_config.json"
_LONGEST_NAME = 200
_QUANTISATION = "quantization_config"
_NESTED = ("text_config", "llm_config", "language_config", "thinker_config")
_MAX_DEPTH = 4
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
_HEADS_OF_STACKS = ("encoder_attention_heads", "decoder_attention_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "n_kv_heads")
_HEAD_SIZES = ("head_dim", "kv_channels", "d_kv")
_QUANTISATION_FILES = {
    "quantize_config.json": "",  # GPTQ
    "quant_config.json": "",  # AWQ
    "hf_quant_config.json": "quantization",  # TensorRT Model Optimizer
}
CONFIG_FILES = (_NAME, *_QUANTISATION_FILES)
"""Names of the files that `read_config` reads."""
_MAX_SIZE = 10_000_000


def read_config(path: FilePath) -> dict[str, Any]:
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


def base_of_adapter(path: FilePath) -> str:
    """Returns the network that an adapter was trained with, by the `adapter_config.json` of PEFT beside it.

    Args:
        path: File or folder of the adapter.

    Returns:
        The name, as it is written there; empty if there is none.
    """
    folder = path if path.is_dir() else path.parent
    name = _read_object(folder / _ADAPTER).get("base_model_name_or_path")
    return name[:_LONGEST_NAME] if isinstance(name, str) else ""


def _read_object(file: FilePath) -> dict[str, Any]:
    """Reads a JSON object; empty if there is none."""
    try:
        if not file.is_file() or file.stat().st_size > _MAX_SIZE:
            return {}
        content = parse_json(file.read_bytes(), file, "configuration")
    except RemoteError:
        raise
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
        >>> heads_of({"model_type": "falcon", "num_attention_heads": 71, "multi_query": True}).num_kv_heads
        1
    """
    for part in _parts(config):
        num_heads = _count(part, *_HEADS) or _common(part, *_HEADS_OF_STACKS)
        if num_heads is not None:
            kind = part.get("model_type", config.get("model_type"))
            kind = kind if isinstance(kind, str) else ""
            return Heads(num_heads, _kv_heads(part, kind), _count(part, *_HEAD_SIZES), kind)
    return None


def _kv_heads(config: Mapping[str, Any], kind: str) -> int | None:
    """Returns the number of heads of keys and values; None if it is that of the queries, or not said."""
    is_multi_query = config.get("multi_query", True if kind == "gpt_bigcode" else None)
    if is_multi_query is True and config.get("new_decoder_architecture") is not True and "n_head_kv" not in config:
        return 1
    if is_multi_query is False and kind == "gpt_bigcode":
        return None
    if kind == "chatglm":
        return _count(config, "multi_query_group_num") if config.get("multi_query_attention") is True else None
    inner = config.get("attn_config")
    inner = inner if isinstance(inner, Mapping) else {}
    return _count(config, *_KV_HEADS) or _count(inner, "kv_n_heads")


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
    found = (part.get(_QUANTISATION) for part in _parts(config))
    return next((settings for settings in found if isinstance(settings, Mapping)), {})


def _parts(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns a configuration and those of the text model within it, from the outside in."""
    parts = [config]
    for _ in range(_MAX_DEPTH):
        inner = (parts[-1].get(key) for key in _NESTED)
        found = next((part for part in inner if isinstance(part, Mapping)), None)
        if found is None:
            break
        parts.append(found)
    return parts


def _common(config: Mapping[str, Any], *keys: str) -> int | None:
    """Returns a count that is the same under all keys."""
    counts = {_count(config, key) for key in keys}
    return counts.pop() if len(counts) == 1 else None


def _count(config: Mapping[str, Any], *keys: str) -> int | None:
    found = (config.get(key) for key in keys)
    return next((value for value in found if type(value) is int and value > 0), None)
