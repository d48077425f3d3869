"""Adapters: files that hold changes of a network's weights and no whole network."""

import re
from collections.abc import Mapping

from sne.networks import TensorInfo

_PARTS = re.compile(
    r"(^|[._])(lora_(A|B|down|up|mid|embedding_A|embedding_B|magnitude_vector)|lokr_w\d(_[ab])?|lokr_t\d|"
    r"hada_(w|t)\d(_[ab])?|oft_(r|s|diag|blocks)|ia3_l|dora_scale|vera_lambda_[bd]|lora\.(down|up))([._]|$)"
)
_BESIDE = re.compile(r"(^|\.)(alpha|network_alpha|dora_scale|bias)$")
_FIRST = re.compile(r"lora_(A|down)|lora\.down")


def describe_adapter(infos: Mapping[str, TensorInfo]) -> str | None:
    """Says that a checkpoint is an adapter, by the names of its tensors.

    Args:
        infos: Every stored tensor, by name.

    Returns:
        A sentence with the ranks of its matrices, if they are known; None if there are no tensors of adapters.

    Example:
        >>> infos = {name: TensorInfo(name, (4, 8), "float32") for name in ("q.lora_A.weight", "q.lora_B.weight")}
        >>> describe_adapter(infos)
        'an adapter (LoRA, rank 4), which holds changes of the weights of a base network and no network of its own'
    """
    if not any(map(_PARTS.search, infos)):
        return None
    if not is_adapter(infos):
        return "an unmerged adapter beside the weights that it changes, which are read as they are"
    return f"{name_adapter(infos)}, which holds changes of the weights of a base network and no network of its own"


def name_adapter(infos: Mapping[str, TensorInfo]) -> str:
    """Names the kind of an adapter and the ranks of its matrices, if they are known.

    Args:
        infos: Every tensor of the adapter, by name.

    Example:
        >>> infos = {name: TensorInfo(name, (4, 8), "float32") for name in ("q.lora_A.weight", "q.lora_B.weight")}
        >>> name_adapter(infos)
        'an adapter (LoRA, rank 4)'
    """
    parts = [name for name in infos if _PARTS.search(name)]
    ranks = sorted({infos[name].shape[0] for name in parts if _FIRST.search(name) and len(infos[name].shape) > 1})
    kind = "LoRA" if ranks else "LyCORIS or another kind"
    shown = f", rank {' and '.join(map(str, ranks[:5]))}" if ranks else ""
    return f"an adapter ({kind}{shown})"


def is_adapter(infos: Mapping[str, TensorInfo]) -> bool:
    """Whether a checkpoint is an adapter without the network that it changes, by the names of its tensors.

    Args:
        infos: Every stored tensor, by name.

    Example:
        >>> is_adapter({name: TensorInfo(name, (4, 8), "float32") for name in ("q.lora_A.weight", "q.lora_B.weight")})
        True
        >>> is_adapter({name: TensorInfo(name, (4, 8), "float32") for name in ("q.lora_A.weight", "q.weight")})
        False
    """
    parts = {name for name in infos if _PARTS.search(name)}
    return bool(parts) and all(name in parts or _BESIDE.search(name) for name in infos)
