"""Weights of HQQ: whole numbers of 1 to 8 bits that are packed along rows, with scales and zero points per group."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Tensor

from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found, is_shape
from sne.networks import TensorInfo

_SETTINGS = (
    "nbits", "group_size", "shape", "axis", "packing", "unpack_view_dtype", "view_as_float", "quant_scale",
    "quant_zero", "compute_dtype", "offload_meta", "encoded_state_dict", "stores_quant_config", "channel_wise",
    "optimize", "round_zero",
)  # fmt: skip
_TENSORS = ("W_q", "scale", "zero", "scale_q", "zero_q", "zero_scale")
_PER_WORD = {8: 1, 6: 1, 5: 1, 4: 2, 3: 10, 2: 4, 1: 8}
_UNREAD = "packed by HQQ in an unknown layout, not read; save the network with its weights dequantised"


@final
@dataclass(frozen=True)
class HqqWeight(ComposedWeight):
    """A weight with the values (number - zero point) * scale in groups, reshaped to the shape of the weight.

    Args:
        info: Name and shape of the weight, and the dtype of the words.
        words: Name of the packed numbers: each word holds numbers of rows that are far apart.
        scale: Name of the scales, [groups, 1] or [1, groups].
        zero: Name of the zero points, of the same shape.
        bits: Bits per number.

    Source: Badri & Shaji, "Half-Quadratic Quantization", as hqq 0.2.8 stores it (`BitPack`, `Quantizer.dequantize`).
    Differs: nothing.
    """

    words: str
    scale: str
    zero: str
    bits: int

    @property
    def companions(self) -> Mapping[str, str]:
        """The packed numbers, scales and zero points."""
        return {self.words: "packed numbers", self.scale: "scale", self.zero: "zero point"}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes float32 values of the shape of the weight."""
        words, scale, zero = stored(self.words), stored(self.scale).float(), stored(self.zero).float()
        per_word = _PER_WORD[self.bits]
        if per_word > 1:
            # The first rows are in the highest bits. Numbers of 3 bits leave the two highest bits of a word unused.
            shifts = [self.bits * i for i in reversed(range(per_word))]
            words = torch.cat([(words >> shift) & (2**self.bits - 1) for shift in shifts])
        columns = words.shape[1]
        rows = self.info.num_entries // columns
        return ((words[:rows].float() - zero) * scale).reshape(self.info.shape)


def find_hqq(facts: Facts) -> Found:
    """Finds weights that HQQ packed: `x.W_q` with `x.scale`, `x.zero` and the settings `x.shape` and `x.nbits`.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The weights under the name `x.weight`, the settings, and the tensors of other packed layouts of these names.
    """
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    for name in facts.infos:
        prefix, dot, leaf = name.rpartition(".")
        if leaf != "W_q":
            continue
        prefix += dot
        packed |= {f"{prefix}{s}": "settings of HQQ, not a weight" for s in _SETTINGS if f"{prefix}{s}" in facts.infos}
        weight = _read(facts, prefix)
        if weight is not None:
            weights[weight.info.name] = weight
        else:
            packed |= {f"{prefix}{part}": _UNREAD for part in _TENSORS if f"{prefix}{part}" in facts.infos}
    return Found(weights, packed)


def _read(facts: Facts, prefix: str) -> HqqWeight | None:
    infos = facts.infos
    words, scale, zero = (infos.get(prefix + leaf) for leaf in ("W_q", "scale", "zero"))
    shape, bits = facts.read_integers(f"{prefix}shape"), facts.read_integers(f"{prefix}nbits")
    if words is None or scale is None or zero is None or shape is None or bits is None:
        return None
    if len(bits) != 1 or bits[0] not in _PER_WORD or len(words.shape) != 2 or f"{prefix}weight" in infos:
        return None
    per_word = _PER_WORD[bits[0]]
    if words.dtype != ("int32" if bits[0] == 3 else "uint8") or not words.shape[1] or not is_shape(shape):
        return None
    rows, rest = divmod(prod(shape), words.shape[1])
    # Rows of 3 bits are padded to a multiple of 10; all others fill their words.
    if rest or words.shape[0] != -(-rows // per_word) or (rows % per_word and bits[0] != 3):
        return None
    expected = {(rows, 1), (1, words.shape[1]), (1, 1), (1,), ()}
    if scale.shape not in expected or zero.shape not in expected:
        return None
    info = TensorInfo(f"{prefix}weight", shape, words.dtype)
    return HqqWeight(info, words.name, scale.name, zero.name, bits[0])
