"""What stands for the functions by which torch rebuilds tensors from a pickle."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from sne.checkpoints.described import DescribedTensor
from sne.checkpoints.formats.pickles.stand_ins import Global, PickleError
from sne.checkpoints.formats.pickles.tensors import (
    ELEMENTS,
    QUANTISED,
    CastTensor,
    MissingTensor,
    QuantisedTensor,
    SparseTensor,
    StridedTensor,
    dtype_name,
    sizes,
)

_SCHEMES = {
    f"torch.{name}": getattr(torch, name)
    for name in ("per_tensor_affine", "per_channel_affine", "per_channel_affine_float_qparams")
}
_LAYOUTS = {f"torch.sparse_{kind}": getattr(torch, f"sparse_{kind}") for kind in ("coo", "csr", "csc", "bsr", "bsc")}


def _rebuild_v2(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> StridedTensor:
    tensor = StridedTensor(storage, offset, shape, stride)
    return _with_metadata(tensor, rest[2]) if len(rest) > 2 else tensor


def _rebuild_v3(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> StridedTensor:
    tensor = StridedTensor(storage, offset, shape, stride, dtype_name(rest[2]))
    return _with_metadata(tensor, rest[3]) if len(rest) > 3 else tensor


def _with_metadata(tensor: StridedTensor, metadata: Any) -> StridedTensor:
    if type(metadata) is dict:
        tensor.is_conjugate = metadata.get("conj") is True
        tensor.is_negative = metadata.get("neg") is True
        if unknown := set(metadata) - {"conj", "neg"}:
            raise PickleError(f"a tensor has the unknown property {str(unknown)[:80]}")
    return tensor


def _first(value: Any, *_: Any) -> Any:
    return value


def _rebuild_quantised(storage: Any, offset: Any, shape: Any, stride: Any, params: Any, *_: Any) -> DescribedTensor:
    tensor = StridedTensor(storage, offset, shape, stride)
    if type(params) is not tuple or not params or not isinstance(params[0], Global):
        raise PickleError("a quantised tensor has parameters that are not understood")
    scheme = _SCHEMES.get(params[0].class_name)
    if scheme is None or tensor.dtype not in QUANTISED:
        kind = f"{tensor.dtype}, {params[0].class_name[:80]}"
        return MissingTensor(tensor.shape, tensor.dtype, f"packed by torch ({kind}), which is not read")
    if scheme is torch.per_tensor_affine:
        if len(params) != 3 or type(params[1]) not in (float, int) or type(params[2]) is not int:
            raise PickleError("a quantised tensor has a scale that is no number")
        return QuantisedTensor(tensor, scheme, (float(params[1]), params[2]))
    if len(params) != 4 or type(params[3]) is not int or not 0 <= params[3] < len(tensor.shape):
        raise PickleError("a quantised tensor has no axis")
    for values in params[1:3]:
        count = values.shape if isinstance(values, DescribedTensor) else (len(values),)
        if count != (tensor.shape[params[3]],):
            raise PickleError(f"a quantised tensor of shape {list(tensor.shape)} has {list(count)} scales")
    return QuantisedTensor(tensor, scheme, params[1:])


def _rebuild_sparse(layout: Any, data: Any) -> SparseTensor:
    kind = _LAYOUTS.get(layout.class_name if isinstance(layout, Global) else str(layout))
    count = 1 if kind is torch.sparse_coo else 2
    if kind is None or type(data) is not tuple or len(data) < count + 2:
        raise PickleError("a sparse tensor has an unknown layout")
    parts = data[: count + 1]
    if not all(isinstance(part, DescribedTensor) for part in parts):
        raise PickleError("a sparse tensor is described in an unknown way")
    return SparseTensor(kind, parts[:count], parts[count], sizes(data[count + 1]))


def _rebuild_meta(dtype: Any, shape: Any, *_: Any) -> MissingTensor:
    return MissingTensor(sizes(shape), dtype_name(dtype), "on the meta device and has no values")


def _rebuild_nested(buffer: Any, *_: Any) -> MissingTensor:
    if not isinstance(buffer, DescribedTensor):
        raise PickleError("a nested tensor is described in an unknown way")
    return MissingTensor(buffer.shape, buffer.dtype, "a nested tensor, rows of different lengths, which are not read")


def _rebuild_cast(data: Any, dtype: Any, *_: Any) -> DescribedTensor:
    tensor = getattr(data, "tensor", data)
    if not isinstance(tensor, DescribedTensor):
        raise PickleError("a tensor is described in an unknown way")
    wanted = dtype_name(dtype)
    return tensor if tensor.dtype == wanted or wanted not in ELEMENTS else CastTensor(tensor, wanted)


def _rebuild_wrapper(cls: Any, dtype: Any, shape: Any, *_: Any) -> MissingTensor:
    name = cls.class_name if isinstance(cls, Global) else "unknown"
    return MissingTensor(sizes(shape), dtype_name(dtype), f"of class {name[:200]}, whose values are not understood")


def _rebuild_type(func: Any, cls: Any, args: Any, state: Any = None) -> Any:
    """Makes a tensor of a subclass: the plain tensor, or the whole of a distributed one."""
    if not isinstance(func, Global) or func.call is None or type(args) is not tuple:
        raise PickleError("a tensor is described in an unknown way")
    tensor = func.call(*args)
    if type(state) is tuple:  # attributes and slots
        state = {key: value for part in state if type(part) is dict for key, value in part.items()}
    name = cls.class_name if isinstance(cls, Global) else "unknown"
    if isinstance(tensor, MissingTensor) and type(state) is dict:
        return _local_part(tensor, name, state)
    if isinstance(tensor, DescribedTensor) and not name.startswith(("torch.nn.", "torch.Tensor")):
        tensor.note = f"stored as a tensor of class {name[:200]}; its plain values are read"
    return tensor


def _local_part(whole: MissingTensor, name: str, state: dict[Any, Any]) -> DescribedTensor:
    """Returns the values of a distributed tensor, if the file has all of them."""
    local = state.get("_local_tensor")
    if not name.endswith(".DTensor") or not isinstance(local, DescribedTensor):
        return whole
    if local.shape == whole.shape:
        return local
    reason = f"one part, of shape {list(local.shape)}, of a distributed tensor; join the parts before saving"
    return MissingTensor(whole.shape, whole.dtype, reason)


CALLS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_v2,
    "torch._utils._rebuild_tensor_v2": _rebuild_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_v3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch.nn.Parameter": _first,
    "torch.nn.parameter.Buffer": _first,
    "torch.autograd.variable.Variable": _first,
    "torch._utils._rebuild_qtensor": _rebuild_quantised,
    "torch._utils._rebuild_sparse_tensor": _rebuild_sparse,
    "torch._utils._rebuild_nested_tensor": _rebuild_nested,
    "torch._utils._rebuild_meta_tensor_no_storage": _rebuild_meta,
    "torch._utils._rebuild_device_tensor_from_numpy": _rebuild_cast,
    "torch._utils._rebuild_xla_tensor": _rebuild_cast,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _rebuild_cast,
    "torch._utils._rebuild_wrapper_subclass": _rebuild_wrapper,
    "torch._tensor._rebuild_from_type_v2": _rebuild_type,
    "torch._tensor._rebuild_from_type": _rebuild_type,
    "torch.serialization._get_layout": _first,
    "torch.Size": _first,
}  # fmt: skip
"""What stands for these functions, by name."""
