"""An `nn.Module` in memory as a source: its state dict, with hints from its classes."""

from torch import Tensor, nn

from sne.checkpoints.classes import class_hint
from sne.checkpoints.source import StateDictSource
from sne.networks import Hint


def module_source(module: nn.Module) -> StateDictSource:
    """The tensors of a module.

    Args:
        module: any module; its values are shared, not copied.

    Returns:
        A source named after the module's class.
    """
    hints: dict[str, Hint] = {}
    for path, inner in module.named_modules():
        hint = class_hint(type(inner).__name__)
        if hint is None and type(inner).__name__ == "Conv1D" and hasattr(inner, "nf"):
            hint = Hint(in_first=True)  # transformers.pytorch_utils.Conv1D
        if hint is not None and hint.type is not None and not _has_class_layout(inner, hint):
            hint = None
        if hint is not None and path:
            hints[path] = hint
    state: dict[str, Tensor] = {}
    notes: dict[str, str] = {}
    for key, value in module.state_dict().items():
        if isinstance(value, Tensor):
            state[key] = value
        else:
            notes[key] = f"extra state of type {type(value).__name__}, not a weight"
    return StateDictSource(state, name=type(module).__name__, hints=hints, notes=notes)


def _has_class_layout(module: nn.Module, hint: Hint) -> bool:
    """Whether the weight has the number of axes that its class promises; a user may name a class anything."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or hint.type is None:
        return False
    name = hint.type.value
    if name.endswith("_norm"):
        return weight.ndim == 1
    if name.startswith("conv"):
        return weight.ndim == int(name[-2]) + 2
    return weight.ndim == 2 if name == "embedding" else True
