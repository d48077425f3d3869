"""Hints from the classes of modules, in memory or as a TorchScript archive names them."""

from collections.abc import Mapping

from sne.networks import Hint, LayerType

_PLAIN: Mapping[str, Hint] = {
    "ConvTranspose1d": Hint(LayerType.CONV_TRANSPOSE1D),
    "ConvTranspose2d": Hint(LayerType.CONV_TRANSPOSE2D),
    "ConvTranspose3d": Hint(LayerType.CONV_TRANSPOSE3D),
    "Conv2d": Hint(LayerType.CONV2D),
    "Conv3d": Hint(LayerType.CONV3D),
    "Conv1d": Hint(LayerType.CONV1D),
    "GroupNorm": Hint(LayerType.GROUP_NORM),
    "InstanceNorm1d": Hint(LayerType.GROUP_NORM),
    "InstanceNorm2d": Hint(LayerType.GROUP_NORM),
    "InstanceNorm3d": Hint(LayerType.GROUP_NORM),
    "BatchNorm1d": Hint(LayerType.BATCH_NORM),
    "BatchNorm2d": Hint(LayerType.BATCH_NORM),
    "BatchNorm3d": Hint(LayerType.BATCH_NORM),
    "SyncBatchNorm": Hint(LayerType.BATCH_NORM),
    "LayerNorm": Hint(LayerType.LAYER_NORM),
    "Embedding": Hint(LayerType.EMBEDDING),
    "EmbeddingBag": Hint(LayerType.EMBEDDING),
    "Bilinear": Hint(LayerType.OTHER),
    "PReLU": Hint(LayerType.OTHER),
}


def class_hint(class_name: str) -> Hint | None:
    """What the name of a module's class says of its layer.

    Args:
        class_name: the bare name, such as "ConvTranspose2d".

    Returns:
        A hint, or None where names and shapes say as much.
    """
    if class_name in _PLAIN:
        return _PLAIN[class_name]
    if class_name.endswith(("RMSNorm", "T5LayerNorm")):
        return Hint(LayerType.RMS_NORM)
    if class_name.endswith("LayerNorm"):
        return Hint(LayerType.LAYER_NORM)
    return None
