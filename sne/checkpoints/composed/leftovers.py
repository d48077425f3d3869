"""State of quantisation that is no weight: scales of activations, observers, markers of formats."""

import re
from collections.abc import Mapping

from sne.checkpoints.composed.weight import Facts, Found
from sne.networks import TensorInfo

_ACTIVATIONS = re.compile(
    r"^((input|output|in|out|act|activation|q|k|v|kv|k_cache|v_cache|kv_cache|prob|prob_output|softmax|p)"
    r"_(scale|scales|scale_ub|global_scale|scale_inv|zero_point|amax|amin)"
    r"|scale_(input|output|in|out|act)|act_pre_scale|act_quant_(scale|zero_point)|pre_quant_scale)$"
)
_ALWAYS = re.compile(r"^([kvq]|kv|k_cache|v_cache|kv_cache|prob|prob_output|input|output)_(scale|zero_point)$")
_QUANTISED = ("int8", "uint8", "int4", "uint4", "float8", "int32", "uint32", "qint", "quint")
_WORDS = re.compile(r"(^|\.)(qweight|W_q)$|_(packed|blocks)$")
_OBSERVERS = re.compile(
    r"^(activation_post_process(_\d+)?|\w*fake_quant(ize)?(_\d+)?|\w*observer(_\d+)?"
    r"|_?(input|weight|output|softmax|[qkv]_bmm)_quantizer)$"
)
_OBSERVED = {
    "min_val", "max_val", "min_vals", "max_vals", "eps", "histogram", "fake_quant_enabled", "observer_enabled",
    "scale", "zero_point", "ch_axis", "averaging_constant", "amax", "_amax", "_pre_quant_scale", "_scale",
}  # fmt: skip
_ACTIVATION = "scale of activations of a quantised network, not a weight"
_OBSERVER = "state of an observer of quantisation, not a weight; the float weights of its module are read as they are"
_OUTPUT = "scale and zero point of the outputs of a quantised module, not weights"
_MARKER = "mark of a format of quantised files, not a weight"
_FUSED = "8 bits with one factor for inputs, weights and outputs together (torch-int), not read: weights do not follow"


def is_activation_scale(name: str) -> bool:
    """Whether a tensor has the name of a scale of activations.

    Example:
        >>> is_activation_scale("fc.input_scale"), is_activation_scale("fc.weight_scale")
        (True, False)
    """
    return _ACTIVATIONS.match(name.rpartition(".")[2]) is not None


def find_leftovers(facts: Facts) -> Found:
    """Finds tensors that quantisation leaves in a checkpoint besides the weights.

    These are scales of activations and of caches, states of observers and of fake quantisation, scale and zero point
    of the outputs of torch's quantised modules, and marks of formats.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The tensors, with the reason why they are no weights.

    Example:
        >>> names = ("fc.weight", "fc.activation_post_process.min_val")
        >>> list(find_leftovers(Facts({name: TensorInfo(name, (), "float32") for name in names})).packed)
        ['fc.activation_post_process.min_val']
    """
    packed: dict[str, str] = {}
    is_quantised = any(_is_quantised(info) for info in facts.infos.values())
    for name, info in facts.infos.items():
        head, dot, leaf = name.rpartition(".")
        prefix = head + dot
        if leaf in _OBSERVED and any(_OBSERVERS.match(component) for component in head.split(".")):
            packed[name] = _OBSERVER
        elif leaf in ("min_val", "max_val") and {f"{prefix}min_val", f"{prefix}max_val"} <= facts.infos.keys():
            packed[name] = _OBSERVER
        elif leaf in ("fake_quant_enabled", "observer_enabled"):
            packed[name] = _OBSERVER
        elif leaf in ("scaled_fp8", "comfy_quant"):
            packed[name] = _MARKER
        elif ("scale" in leaf or "zero_point" in leaf) and _is_of_outputs(facts.infos, prefix, leaf):
            packed[name] = _OUTPUT
        elif _ACTIVATIONS.match(leaf) and (is_quantised or (info.num_entries == 1 and _ALWAYS.match(leaf))):
            packed[name] = _ACTIVATION
        elif leaf == "a" and _is_torch_int(facts.infos, prefix):
            parts = ("weight", "a", "b", "bias")
            packed |= {prefix + part: _FUSED for part in parts if prefix + part in facts.infos}
    return Found({}, packed)


def _is_quantised(info: TensorInfo) -> bool:
    """Whether a tensor is that of a weight in few bits."""
    if len(info.shape) < 2 or not info.dtype.startswith(_QUANTISED):
        return False
    return not info.dtype.startswith(("int32", "uint32")) or _WORDS.search(info.name) is not None


def _is_of_outputs(infos: Mapping[str, TensorInfo], prefix: str, leaf: str) -> bool:
    """Whether a tensor and another are a single scale and a single whole zero point.

    Quantised modules of torch have `scale` and `zero_point`, graph modules `x_scale_0` and `x_zero_point_0`.
    """
    scale = infos.get(prefix + leaf.replace("zero_point", "scale"))
    zero_point = infos.get(prefix + leaf.replace("scale", "zero_point"))
    if scale is None or zero_point is None or scale.num_entries != 1 or zero_point.num_entries != 1:
        return False
    return zero_point.dtype.startswith(("int", "uint"))


def _is_torch_int(infos: Mapping[str, TensorInfo], prefix: str) -> bool:
    """Whether a module is a linear layer of torch-int: a weight of 8 bits and a single factor `a`."""
    weight, factor = infos.get(f"{prefix}weight"), infos[f"{prefix}a"]
    return weight is not None and weight.dtype in ("int8", "uint8") and factor.num_entries == 1
