"""Kernels of convolutions in files of MLX, which stores them [out, kernel..., in]."""

import re
from dataclasses import replace

from sne.checkpoints.composed.permuted import PermutedWeight
from sne.checkpoints.composed.weight import ComposedWeight, Facts, Found

_STACKED = re.compile(r"(^|\.)(experts|switch_mlp|switch_glu|switch)\.")


def find_channels_last(facts: Facts) -> Found:
    """Finds kernels whose axes MLX stores as [out, kernel..., in], by the metadata of the file.

    Weights of three axes that hold the matrices of experts are stored [experts, out, in] and stay as they are.
    A transposed convolution is stored like a plain one, and is read as one.

    Args:
        facts: What is known about the checkpoint.

    Source: `mlx.nn.Conv1d`, `Conv2d` and `Conv3d` of MLX, whose safetensors files have the metadata `format: mlx`.
    """
    if facts.metadata.get("format") != "mlx":
        return Found()
    weights: dict[str, ComposedWeight] = {}
    for name, info in facts.infos.items():
        is_kernel = name.rpartition(".")[2] == "weight" and 3 <= len(info.shape) <= 5
        if is_kernel and not _STACKED.search(name) and not info.dtype.startswith(("int", "uint", "bool")):
            axes = (0, len(info.shape) - 1, *range(1, len(info.shape) - 1))
            shape = tuple(info.shape[axis] for axis in axes)
            weights[name] = PermutedWeight(replace(info, shape=shape), name, axes)
    return Found(weights)
