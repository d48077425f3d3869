"""Weights of 4-bit floats with scales per block: MXFP4 (blocks of 32) and NVFP4 (blocks of 16)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from sne.checkpoints.composed.bits import powers_of_two, spread_groups, unpack_float4
from sne.checkpoints.composed.comfy import is_of_comfy
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found
from sne.networks import TensorInfo

_MX_BLOCK = 32
_NV_BLOCK = 16
_EXPONENTS = ("uint8", "float8_e8m0fnu")
_UNREAD = "packed floats of 4 bits in an unknown layout, not read; save the network with its weights dequantised"


@final
@dataclass(frozen=True)
class FloatFourWeight(ComposedWeight):
    """A weight of 4-bit floats times one scale per block, and in NVFP4 one scale of the whole tensor.

    Args:
        info: Name and shape of the weight, and the dtype of the bytes.
        packed: Name of the bytes, each of which holds two floats, the first in its lower half.
        scales: Name of the scales per block.
        global_scale: Name of the scale of the whole tensor; None for MXFP4.
        is_divided: Whether the scale of the whole tensor divides, as in compressed-tensors, rather than multiplies.
        is_transposed: Whether the last two axes change places after unpacking, as in gpt-oss.

    Source: Rouhani et al., arXiv 2310.10537; MXFP4 as transformers reads gpt-oss (`convert_moe_packed_tensors`), NVFP4
    as TensorRT Model Optimizer (`weight_scale_2` multiplies) and compressed-tensors 0.20 (`weight_global_scale`
    divides) store it.
    Differs: nothing.
    """

    packed: str
    scales: str
    global_scale: str | None = None
    is_divided: bool = False
    is_transposed: bool = False

    @property
    def companions(self) -> Mapping[str, str]:
        """The bytes, if they have another name than the weight, and the scales."""
        own = {} if self.packed == self.info.name else {self.packed: "packed floats"}
        whole = {} if self.global_scale is None else {self.global_scale: "scale"}
        return {**own, self.scales: "scales of blocks", **whole}

    def compose(self, stored: Callable[[str], Tensor]) -> Tensor:
        """Computes float32 values of the shape of the weight."""
        values = unpack_float4(stored(self.packed))
        scales = stored(self.scales)
        if scales.ndim < values.ndim:  # gpt-oss has an axis of blocks, and one of bytes within a block
            values = values.flatten(-2)
        scales = powers_of_two(scales) if self.global_scale is None else scales.float()
        if self.global_scale is not None:
            whole = stored(self.global_scale).float()
            whole = whole.reshape(-1, *[1] * (values.ndim - 1)) if whole.numel() > 1 else whole.reshape(())
            scales = scales / whole if self.is_divided else scales * whole
        values = values * spread_groups(scales, values.shape[-1])
        return values.transpose(-1, -2) if self.is_transposed else values


def find_float4(facts: Facts) -> Found:
    """Finds weights of 4-bit floats.

    gpt-oss: `x_blocks` with `x_scales`. compressed-tensors: `x_packed` with `x_scale`, and for NVFP4
    `x_global_scale`. TensorRT Model Optimizer: `x` with `x_scale` and `x_scale_2`.

    Args:
        facts: What is known about the checkpoint.

    Returns:
        The weights, and the tensors of other packed layouts of these names.
    """
    weights: dict[str, ComposedWeight] = {}
    packed: dict[str, str] = {}
    is_comfy = is_of_comfy(facts)
    for name, info in facts.infos.items():
        if info.dtype not in ("uint8", "float4_e2m1fn_x2"):
            continue
        companions: tuple[str, ...] = ()
        weight: FloatFourWeight | None = None
        if name.endswith("_blocks") and f"{name[:-7]}_scales" in facts.infos:
            companions = (f"{name[:-7]}_scales",)
            weight = _gpt_oss(facts, name)
        elif name.endswith("_packed") and f"{name[:-7]}_scale" in facts.infos:
            companions = (f"{name[:-7]}_scale", f"{name[:-7]}_global_scale")
            weight = _compressed(facts, name)
        elif f"{name}_scale_2" in facts.infos and f"{name}_scale" in facts.infos:
            companions = (f"{name}_scale", f"{name}_scale_2")
            weight = None if is_comfy else _optimizer(facts, name)  # ComfyUI stores scales in tiles
        if weight is not None:
            weights[weight.info.name] = weight
        elif companions:
            packed |= {part: _UNREAD for part in (name, *companions) if part in facts.infos}
    return Found(weights, packed)


def _gpt_oss(facts: Facts, name: str) -> FloatFourWeight | None:
    blocks, scales = facts.infos[name], facts.infos[f"{name[:-7]}_scales"]
    if len(blocks.shape) < 3 or blocks.shape != (*scales.shape, _MX_BLOCK // 2) or scales.dtype not in _EXPONENTS:
        return None
    target = name[:-7]
    if target in facts.infos:
        return None
    shape = (*scales.shape[:-1], scales.shape[-1] * _MX_BLOCK)
    is_transposed = len(shape) == 3  # experts multiply from the right: [experts, in, out]
    if is_transposed:
        shape = (shape[0], shape[2], shape[1])
    return FloatFourWeight(TensorInfo(target, shape, blocks.dtype), name, scales.name, is_transposed=is_transposed)


def _compressed(facts: Facts, name: str) -> FloatFourWeight | None:
    target = name[:-7]
    packed, scales, whole = (facts.infos.get(n) for n in (name, f"{target}_scale", f"{target}_global_scale"))
    if packed is None or scales is None or target in facts.infos:
        return None
    block = _MX_BLOCK if whole is None else _NV_BLOCK
    dtypes = _EXPONENTS if whole is None else ("float8_e4m3fn",)
    if not _fits(packed, scales, block) or scales.dtype not in dtypes or not _is_whole(whole, packed):
        return None
    info = TensorInfo(target, (*packed.shape[:-1], 2 * packed.shape[-1]), packed.dtype)
    return FloatFourWeight(info, name, scales.name, None if whole is None else whole.name, is_divided=True)


def _optimizer(facts: Facts, name: str) -> FloatFourWeight | None:
    packed, scales, whole = (facts.infos[n] for n in (name, f"{name}_scale", f"{name}_scale_2"))
    if not _fits(packed, scales, _NV_BLOCK) or scales.dtype != "float8_e4m3fn":
        return None
    if not _is_whole(whole, packed):
        return None
    info = TensorInfo(name, (*packed.shape[:-1], 2 * packed.shape[-1]), packed.dtype)
    return FloatFourWeight(info, name, scales.name, whole.name)


def _fits(packed: TensorInfo, scales: TensorInfo, block: int) -> bool:
    """Whether there is one scale per block of the last axis."""
    if len(packed.shape) < 2 or packed.shape[:-1] != scales.shape[:-1] or not packed.num_entries:
        return False
    return 2 * packed.shape[-1] == block * scales.shape[-1]


def _is_whole(whole: TensorInfo | None, packed: TensorInfo) -> bool:
    """Whether a scale belongs to the whole tensor, or to each entry of the first axis of three."""
    if whole is None or whole.num_entries == 1:
        return True
    return len(packed.shape) == 3 and whole.num_entries == packed.shape[0]
