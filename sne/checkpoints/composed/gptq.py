"""Weights of GPTQ and AWQ: whole numbers of few bits in words of 32 bits, with scales and zero points per group."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.composed.bits import packed_size, unpack_bits
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found
from sne.checkpoints.configuration import quantisation_of
from sne.errors import CheckpointError
from sne.networks import TensorInfo

_BITS = (2, 3, 4, 8)
_MAX_ZEROS = 2**20
_AWQ_BITS = 4
_AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
_UNREAD = "packed by {}, not read; save the network with its weights dequantised"
_VERSION = (
    "packed by GPTQ, not read: formats 1 and 2 store zero points differently, and no config.json with "
    "quantization_config or quantize_config.json beside the checkpoint tells which one this is"
)


@final
@dataclass(frozen=True)
class GroupedWeight(ComposedWeight):
    """A weight with the values (number - zero point) * scale, where scale and zero point belong to a group of inputs.

    Args:
        info: Name and shape [out, in] of the weight, and the dtype of the words.
        words: Name of the packed numbers.
        scales: Name of the scales, [groups, out].
        zeros: Name of the packed zero points, [groups, words].
        groups: Name of the group of each input; None if inputs are in groups of equal size, in order.
        bits: Bits per number.
        is_awq: Whether words run along outputs in the order of AWQ, rather than along inputs.
        zero_offset: Number to add to stored zero points; 1 in format 1 of GPTQ.

    Source: Frantar et al., arXiv 2210.17323, as AutoGPTQ 0.7 stores it (`qlinear_cuda.py`; format 2 as GPTQModel 7.7
    reads it); Lin et al., arXiv 2306.00978, as AutoAWQ 0.2.9 stores it (`WQLinear_GEMM`).
    Differs: nothing. Zero points of format 1 wrap around as in AutoGPTQ: a stored 15 of 4 bits means 0.
    """

    words: str
    scales: str
    zeros: str
    groups: str | None
    bits: int
    is_awq: bool = False
    zero_offset: int = 0

    @property
    def companions(self) -> Mapping[str, str]:
        """The packed numbers, scales, zero points and groups."""
        groups = {} if self.groups is None else {self.groups: "groups of inputs"}
        return {self.words: "packed numbers", self.scales: "scales", self.zeros: "zero points", **groups}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes float32 values, [out, in]."""
        num_out, num_in = self.info.shape
        words = stored(self.words)
        zeros = self._unpack_out(stored(self.zeros), num_out) + self.zero_offset
        zeros = (zeros & (2**self.bits - 1)).to(torch.float32)
        if self.is_awq:
            numbers = self._unpack_out(words, num_out).t()
        else:
            numbers = unpack_bits(words.t(), self.bits, num_in)
        scales = stored(self.scales).to(torch.float32)
        group = self._group_of(stored, scales.shape[0], num_in)
        return (numbers.to(torch.float32) - zeros[group].t()) * scales[group].t()

    def _unpack_out(self, words: Tensor, num_out: int) -> Tensor:
        """Unpacks numbers that are packed along outputs."""
        numbers = unpack_bits(words, self.bits, num_out)
        if not self.is_awq:
            return numbers
        return numbers.unflatten(-1, (-1, len(_AWQ_ORDER)))[..., _AWQ_ORDER].flatten(-2)

    def _group_of(self, stored: Callable[[str], Tensor], count: int, num_in: int) -> Tensor:
        if self.groups is None:
            return torch.arange(num_in) // (num_in // count)
        group = stored(self.groups).long()
        if group.numel() and not 0 <= int(group.min()) <= int(group.max()) < count:
            raise CheckpointError(self.groups, f"groups from {group.min()} to {group.max()}, expected 0 to {count - 1}")
        return group


def find_gptq(facts: Facts) -> Found:
    """Finds weights that GPTQ or AWQ packed: `x.qweight`, `x.scales`, `x.qzeros` and, for GPTQ, `x.g_idx`.

    The number of bits follows from the shapes, the format of GPTQ from `checkpoint_format` of the configuration. A
    configuration without it means format 1, as in transformers. Without a configuration only symmetric numbers are
    read, whose zero points are all the same and show the format.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The weights under the name `x.weight`, and the tensors of other packed layouts of these names.
    """
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    for name in facts.infos:
        prefix, dot, leaf = name.rpartition(".")
        if leaf != "qweight":
            continue
        found = _read(facts, prefix + dot)
        if isinstance(found, str):
            parts = (prefix + dot + part for part in ("qweight", "scales", "qzeros", "g_idx"))
            packed |= {part: found for part in parts if part in facts.infos}
        elif found is not None:
            weights[found.info.name] = found
    return Found(weights, packed)


def _read(facts: Facts, prefix: str) -> GroupedWeight | str | None:
    """Returns the weight of a module, the reason why it is not read, or None if the module is of another kind."""
    infos = facts.infos
    words, scales, zeros = (infos.get(prefix + leaf) for leaf in ("qweight", "scales", "qzeros"))
    if scales is None or words is None:
        return None
    if zeros is None or words.dtype != "int32" or zeros.dtype != "int32":
        return _UNREAD.format("GPTQ, AWQ or a similar method in an unknown layout")
    if len(words.shape) != 2 or len(scales.shape) != 2 or len(zeros.shape) != 2 or not scales.num_entries:
        return _UNREAD.format("GPTQ or AWQ in an unknown layout")
    settings = quantisation_of(facts.config)
    found = _as_gptq(facts, prefix, settings), _as_awq(facts, prefix, settings)
    fitting = [weight for weight in found if weight is not None]
    if len(fitting) != 1 or prefix + "weight" in infos:
        return _UNREAD.format("GPTQ or AWQ in an unknown layout")
    return fitting[0]


def _as_gptq(facts: Facts, prefix: str, settings: Mapping[str, Any]) -> GroupedWeight | str | None:
    """Reads a module as one of GPTQ, where words run along inputs."""
    infos = facts.infos
    words, scales, zeros = (infos[prefix + leaf] for leaf in ("qweight", "scales", "qzeros"))
    count, num_out = scales.shape
    groups = infos.get(prefix + "g_idx")
    fitting = []
    for bits in _BITS:
        num_in = words.shape[0] * 32 // bits if groups is None else groups.num_entries
        is_whole = groups is not None or num_in % count == 0
        if words.shape == (packed_size(num_in, bits), num_out) and is_whole and num_in:
            if zeros.shape == (count, packed_size(num_out, bits)):
                fitting.append((bits, num_in))
    if len(fitting) != 1 or (groups is not None and (len(groups.shape) != 1 or not groups.dtype.startswith("int"))):
        return None
    ((bits, num_in),) = fitting
    offset = _zero_offset(facts, settings)
    if offset is None:
        offset = _symmetric_offset(facts, zeros, bits, num_out)
    if isinstance(offset, str):
        return offset
    info = TensorInfo(prefix + "weight", (num_out, num_in), words.dtype)
    names = words.name, scales.name, zeros.name, None if groups is None else groups.name
    return GroupedWeight(info, *names, bits, zero_offset=offset)


def _as_awq(facts: Facts, prefix: str, settings: Mapping[str, Any]) -> GroupedWeight | str | None:
    """Reads a module as one of AWQ, where words run along outputs in the order 0, 2, 4, 6, 1, 3, 5, 7."""
    words, scales, zeros = (facts.infos[prefix + leaf] for leaf in ("qweight", "scales", "qzeros"))
    count, num_out = scales.shape
    num_in = words.shape[0]
    size = packed_size(num_out, _AWQ_BITS)
    if num_out % 8 or words.shape[1] != size or zeros.shape != (count, size) or num_in % count:
        return None
    version = settings.get("version", "gemm")
    if not isinstance(version, str) or version.lower() != "gemm":
        return _UNREAD.format("AWQ in another version than GEMM")
    info = TensorInfo(prefix + "weight", (num_out, num_in), words.dtype)
    return GroupedWeight(info, words.name, scales.name, zeros.name, None, _AWQ_BITS, is_awq=True)


def _zero_offset(facts: Facts, settings: Mapping[str, Any]) -> int | str | None:
    """Returns what is added to the zero points of GPTQ, the reason why it is not read, or None if it is not said."""
    method = str(settings.get("quant_method", "gptq" if "bits" in settings else "")).lower()
    form = str(settings.get("checkpoint_format", "")).lower()
    if method in ("auto-round", "intel/auto-round"):
        packing = str(settings.get("packing_format", "")).lower()
        form = "gptq" if "auto_gptq" in packing else packing or "unknown"
    elif method != "gptq" and not any("gptq" in key for key in facts.metadata):
        return None
    if form in ("gptq_v2", "v2"):
        return 0
    return 1 if form in ("", "gptq") else _UNREAD.format(f"GPTQ in the format {form[:40]}")


def _symmetric_offset(facts: Facts, zeros: TensorInfo, bits: int, num_out: int) -> int | str:
    """Returns what is added to the zero points of symmetric numbers, all of which mean the middle of their range.

    Format 2 stores the middle, format 1 one less. Other zero points leave the format open.
    """
    if facts.read is None or zeros.num_entries > _MAX_ZEROS:
        return _VERSION
    values = unpack_bits(facts.read(zeros.name), bits, num_out)
    low, high = int(values.min()), int(values.max())
    middle = 2 ** (bits - 1)
    return {middle: 0, middle - 1: 1}.get(low, _VERSION) if low == high else _VERSION
