"""Packed parameters of torch's quantised modules, under the names that the modules' float versions use."""

from typing import Any, TypeAlias

from torch import Tensor

from sne.checkpoints.described import DescribedTensor, InertObject

AnyTensor: TypeAlias = Tensor | DescribedTensor

_ENDINGS = ("._packed_params._packed_params", "._packed_params", "_packed_params")
_MOST_PARTS = 10_000


def unpack(value: Any) -> dict[str, AnyTensor]:
    """Finds weight and bias in packed parameters.

    Args:
        value: Pair of weight and bias, state of a quantised module, or object of `torch.classes.quantized` or
            `torch.classes.rnn`.

    Returns:
        Tensors by their names in the module; empty if the value is nothing of the kind.

    Source: `__getstate__` of the classes in ATen/native/quantized and of `torch.ao.nn.quantized` modules: the weight
        comes before the bias in all of them.
    """
    if isinstance(value, InertObject):
        value = value.fields.get("state")
        if type(value) is tuple and len(value) == 2 and type(value[1]) is str and type(value[0]) is tuple:
            value = value[0]  # an object of `torch.classes`, beside the name of its class
    if type(value) is not tuple:
        return {}
    if len(value) == 5 and value[0] in ("quantized", "quantized_dynamic", "quantized_fp16") and _is_list(value[4]):
        return _cell(value)
    parts = _tensors(value)
    weight = next((index for index, part in enumerate(parts) if part.ndim >= 2), None)
    if weight is None:
        return {}
    found = {"weight": parts[weight]}
    if weight + 1 < len(parts) and parts[weight + 1].shape in ((parts[weight].shape[0],), (parts[weight].shape[1],)):
        found["bias"] = parts[weight + 1]
    return found


def _cell(value: tuple[Any, ...]) -> dict[str, AnyTensor]:
    """Returns the tensors of the cell of a recurrent layer: packed matrices of input and state, and biases."""
    found: dict[str, AnyTensor] = {}
    for suffix, packed in zip(("ih", "hh"), value[4], strict=False):
        found |= {f"{name}_{suffix}": part for name, part in unpack(packed).items()}
    return found


def _is_list(value: Any) -> bool:
    return type(value) is list and len(value) == 2


def _tensors(value: Any) -> list[AnyTensor]:
    """Returns the tensors within tuples and lists, in order."""
    found: list[AnyTensor] = []
    pending: list[Any] = [value]
    for _ in range(_MOST_PARTS):
        if not pending:
            break
        part = pending.pop()
        if isinstance(part, Tensor | DescribedTensor):
            found.append(part)
        elif type(part) in (tuple, list) and len(part) < _MOST_PARTS:
            pending += reversed(part)
    return found


def unpack_entries(state: dict[Any, Any]) -> dict[Any, Any]:
    """Replaces packed parameters in a state dict by weights and biases.

    Args:
        state: Entries by name.

    Returns:
        The same object if there are none.
    """
    packed = [key for key, value in state.items() if type(key) is str and _is_packed(key, value)]
    if not packed:
        return state
    result = dict(state)
    cells: dict[str, list[dict[str, AnyTensor]]] = {}
    for key in packed:
        found = unpack(state[key])
        path, is_cell, _ = key.partition("_all_weight_values.")
        if not found:
            continue
        del result[key]
        if is_cell:
            cells.setdefault(path, []).append(found)
            continue
        ending = next(end for end in (*_ENDINGS, "") if key.endswith(end))
        start = key.removesuffix(ending)
        start = f"{start}." if start else ""
        result.update((start + name, part) for name, part in found.items())
    for path, layers in cells.items():
        result.update(_named_cells(path, layers))
    return result


def _is_packed(key: str, value: Any) -> bool:
    if key.rpartition(".")[2] == "_packed_params":
        return type(value) is tuple or isinstance(value, InertObject)
    if not isinstance(value, InertObject):
        return False
    if ".quantized." in value.class_name:  # a quantised convolution is pickled by a state of its own
        return type(value.fields.get("state")) is tuple
    return value.class_name.rpartition(".")[2] == "ScriptObject"


def _named_cells(path: str, layers: list[dict[str, AnyTensor]]) -> dict[str, AnyTensor]:
    """Names the cells of a recurrent layer as the float layer does: by level and direction."""
    both = _is_bidirectional(layers)
    named: dict[str, AnyTensor] = {}
    for index, cell in enumerate(layers):
        level, reverse = divmod(index, 2) if both else (index, 0)
        for name, part in cell.items():
            named[f"{path}{name}_l{level}{'_reverse' if reverse else ''}"] = part
    return named


def _is_bidirectional(layers: list[dict[str, AnyTensor]]) -> bool:
    """Whether two cells work side by side at each level, judged by their widths.

    The cells of the second level read the outputs of all cells of the first. Two cells of which both read as many
    values as they have states could be either; they are taken for two levels.
    """
    if len(layers) < 2 or len(layers) % 2 or any("weight_hh" not in cell or "weight_ih" not in cell for cell in layers):
        return False
    states = layers[0]["weight_hh"].shape[1]
    if len(layers) > 2:
        return layers[2]["weight_ih"].shape[1] == 2 * states
    first, second = (cell["weight_ih"].shape[1] for cell in layers)
    return first == second != states
