"""Reads `nn.Module`s in memory, and the types of layers from the classes of modules."""

from collections.abc import Mapping

from torch import Tensor, nn

from sne.checkpoints.packed_params import unpack_entries
from sne.checkpoints.state_dict import StateDictTensors
from sne.networks import Hint, LayerType

_CLASSES: Mapping[str, LayerType] = {
    "ConvTranspose1d": LayerType.CONV_TRANSPOSE1D,
    "ConvTranspose2d": LayerType.CONV_TRANSPOSE2D,
    "ConvTranspose3d": LayerType.CONV_TRANSPOSE3D,
    "Conv1d": LayerType.CONV1D,
    "Conv2d": LayerType.CONV2D,
    "Conv3d": LayerType.CONV3D,
    "GroupNorm": LayerType.GROUP_NORM,
    "InstanceNorm1d": LayerType.GROUP_NORM,
    "InstanceNorm2d": LayerType.GROUP_NORM,
    "InstanceNorm3d": LayerType.GROUP_NORM,
    "BatchNorm1d": LayerType.BATCH_NORM,
    "BatchNorm2d": LayerType.BATCH_NORM,
    "BatchNorm3d": LayerType.BATCH_NORM,
    "SyncBatchNorm": LayerType.BATCH_NORM,
    "Embedding": LayerType.EMBEDDING,
    "EmbeddingBag": LayerType.EMBEDDING,
    "Bilinear": LayerType.OTHER,
    "PReLU": LayerType.OTHER,
}
_CLASS_ENDINGS: Mapping[str, LayerType] = {
    "RMSNorm": LayerType.RMS_NORM,
    "T5LayerNorm": LayerType.RMS_NORM,
    "LayerNorm": LayerType.LAYER_NORM,
}


def class_hint(class_name: str, axes: int | None = None) -> Hint | None:
    """Returns the hint that the name of a module's class gives about the type of its layer.

    Args:
        class_name: Name of the class without its package, such as "ConvTranspose2d"; the prefix that
            `torch.nn.utils.parametrize` gives to classes does not matter.
        axes: Number of axes of the module's weight, 0 if it has none; a class with another number than torch's is not
            torch's, because a user may give a class any name. None to skip this check.

    Returns:
        A hint, or None if names and shapes of the tensors say as much.

    Example:
        >>> class_hint("LlamaRMSNorm").type.value
        'rms_norm'
        >>> class_hint("Linear") is None
        True
    """
    class_name = class_name.removeprefix("Parametrized")
    kind = _CLASSES.get(class_name)
    if kind is None:
        kind = next((kind for ending, kind in _CLASS_ENDINGS.items() if class_name.endswith(ending)), None)
    return Hint(kind) if kind is not None and (axes is None or _has_expected_axes(axes, kind)) else None


def module_tensors(module: nn.Module) -> StateDictTensors:
    """Opens the tensors of a module.

    Args:
        module: Any module. Its values are shared, not copied.

    Returns:
        The tensors, named after the class of the module.

    Example:
        >>> module_tensors(nn.Linear(3, 2)).infos["weight"].shape
        (2, 3)
    """
    hints: dict[str, Hint] = {}
    for path, inner in module.named_modules():
        weight = getattr(inner, "weight", None)
        hint = class_hint(type(inner).__name__, weight.ndim if isinstance(weight, Tensor) else 0)
        if hint is None and type(inner).__name__ == "Conv1D" and hasattr(inner, "nf"):
            hint = Hint(in_first=True)  # transformers.pytorch_utils.Conv1D, used by GPT-2
        if hint is not None and path:
            hints[path] = hint
    state: dict[str, Tensor] = {}
    notes: dict[str, str] = {}
    for key, value in unpack_entries(module.state_dict()).items():
        if isinstance(value, Tensor):
            state[key] = value
        else:
            notes[key] = f"extra state of type {type(value).__name__}, not a weight"
    return StateDictTensors(state, name=type(module).__name__, hints=hints, notes=notes)


def _has_expected_axes(axes: int, kind: LayerType) -> bool:
    """Whether the weight of a layer has the number of axes that its type suggests."""
    name = kind.value
    if name.endswith("_norm"):
        return axes == 1
    if name.startswith("conv"):
        return axes == int(name[-2]) + 2
    return axes == 2 if name == "embedding" else axes > 0
