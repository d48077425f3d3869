"""Reader of .onnx files: initializers, named after the nodes that use them where exporters number them."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.regions import DTYPES, read_tensor
from sne.checkpoints.scales import Scaling
from sne.checkpoints.source import CheckpointSource
from sne.errors import CheckpointError, install_hint
from sne.networks import Hint, LayerType, TensorInfo

_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
    16: "bfloat16", 17: "float8_e4m3fn", 19: "float8_e5m2",
}  # fmt: skip
_LEAVES = {
    "MatMul": {0: "weight", 1: "weight"},
    "Gemm": {1: "weight", 2: "bias"},
    "Conv": {1: "weight", 2: "bias"},
    "ConvTranspose": {1: "weight", 2: "bias"},
    "BatchNormalization": {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"},
    "LayerNormalization": {1: "weight", 2: "bias"},
    "GroupNormalization": {1: "weight", 2: "bias"},
    "InstanceNormalization": {1: "weight", 2: "bias"},
    "Gather": {0: "weight"},
}
_TYPES = {
    "GroupNormalization": LayerType.GROUP_NORM,
    "InstanceNormalization": LayerType.GROUP_NORM,
    "LayerNormalization": LayerType.LAYER_NORM,
    "Gather": LayerType.EMBEDDING,
}
_TRANSPOSED = {3: LayerType.CONV_TRANSPOSE1D, 4: LayerType.CONV_TRANSPOSE2D, 5: LayerType.CONV_TRANSPOSE3D}


@final
class OnnxSource(CheckpointSource):
    """The initializers of an ONNX model. Values in external data files are read one tensor at a time.

    An initializer keeps its own name where that names a parameter ("fc1.weight"); one that the exporter has
    numbered ("onnx::MatMul_12") is named after the node that uses it ("/fc1/MatMul" -> "fc1.weight").

    Args:
        file: the file.

    Raises:
        CheckpointError: where the extra `onnx` is not installed, or the file is no ONNX model.
    """

    def __init__(self, file: Path):
        try:
            import onnx
        except ImportError as error:
            raise CheckpointError(file, f"reading ONNX needs the package onnx; {install_hint('onnx')}") from error
        try:
            model = onnx.load(str(file), load_external_data=False)
        except Exception as error:  # protobuf's errors have no common class
            raise CheckpointError(file, f"truncated or damaged ONNX file: {error}") from error
        self._file = file
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        if not stored:
            raise CheckpointError(file, "holds no initializers, so no weights")
        names, hints, scaled = _name_by_use(model.graph, stored)
        self._tensors: dict[str, Any] = {}
        infos = []
        for original, tensor in stored.items():
            name = names.get(original, original)
            if tensor.data_type not in _DTYPES:
                kind = onnx.TensorProto.DataType.Name(tensor.data_type)
                raise CheckpointError(file, f"tensor {original!r} has the unknown type {kind}")
            self._tensors[name] = tensor
            infos.append(TensorInfo(name, tuple(tensor.dims), _DTYPES[tensor.data_type]))
        scalings = {
            names.get(key, key): Scaling(
                names.get(value.scale, value.scale),
                None if value.zero_point is None else names.get(value.zero_point, value.zero_point),
                axis=value.axis,
            )
            for key, value in scaled.items()
        }
        super().__init__(str(file), infos, hints=hints, scalings=scalings)

    def _stored(self, name: str) -> Tensor:
        tensor, info = self._tensors[name], self.infos[name]
        if tensor.data_location == 1:
            return self._external(name, info)
        if tensor.raw_data and info.dtype in DTYPES:
            kind = DTYPES[info.dtype]
            if len(tensor.raw_data) != info.num_entries * kind.itemsize:
                raise CheckpointError(self.name, f"tensor {name!r} has {len(tensor.raw_data)} bytes of data")
            return torch.frombuffer(bytearray(tensor.raw_data), dtype=kind).reshape(info.shape)
        from onnx import numpy_helper

        try:
            return torch.from_numpy(numpy_helper.to_array(tensor).copy())
        except Exception as error:
            raise CheckpointError(self.name, f"tensor {name!r} cannot be read: {error}") from error

    def _external(self, name: str, info: TensorInfo) -> Tensor:
        fields = {entry.key: entry.value for entry in self._tensors[name].external_data}
        location = PurePosixPath(fields.get("location", ""))
        if not location.parts or location.is_absolute() or ".." in location.parts or "\\" in str(location):
            raise CheckpointError(
                self.name, f"tensor {name!r} is sent to {str(location)[:80]!r}, not a file of its folder"
            )
        file = self._file.parent / location
        if not file.is_file():
            raise CheckpointError(self.name, f"the values of tensor {name!r} are missing: no file {location}")
        start = fields.get("offset", "0")
        if not start.isdigit():
            raise CheckpointError(self.name, f"tensor {name!r} starts at {start[:40]!r}, expected a byte offset")
        return read_tensor(file, int(start), info.shape, info.dtype, name)


def _name_by_use(graph: Any, stored: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Hint], dict[str, Scaling]]:
    """Names, hints and scales of initializers, from the nodes that use them."""
    names: dict[str, str] = {}
    hints: dict[str, Hint] = {}
    scaled: dict[str, Scaling] = {}
    reached = {name: (name, False) for name in stored}  # output -> initializer it comes from, transposed or not
    taken = set(stored)
    for index, node in enumerate(graph.node):
        attributes = {attribute.name: attribute for attribute in node.attribute}
        first = reached.get(node.input[0]) if node.input else None
        if node.op_type in ("Identity", "Cast", "Transpose", "DequantizeLinear") and first is not None:
            original, is_turned = first
            if node.op_type == "DequantizeLinear" and len(node.input) > 1 and node.input[1] in stored:
                axis = attributes["axis"].i if "axis" in attributes else 1
                zero = node.input[2] if len(node.input) > 2 and node.input[2] in stored else None
                scaled[original] = Scaling(node.input[1], zero, axis=axis)
            turns = node.op_type == "Transpose" and len(stored[original].dims) == 2
            reached[node.output[0]] = (original, is_turned ^ turns)
            continue
        leaves = _LEAVES.get(node.op_type, {})
        for position, leaf in leaves.items():
            if position >= len(node.input) or node.input[position] not in reached:
                continue
            original, is_turned = reached[node.input[position]]
            if original in names:
                continue
            name = original
            if not _is_parameter(original):
                name = f"{_stem(node, index)}.{leaf}"
                if name in taken:
                    name = f"{_stem(node, index)}.{position}.{leaf}"
            names[original] = name
            taken.add(name)
            hint = _hint(node, attributes, leaf, position, len(stored[original].dims), is_turned)
            if hint is not None:
                hints[name.rpartition(".")[0]] = hint
    return names, hints, scaled


def _hint(
    node: Any, attributes: Mapping[str, Any], leaf: str, position: int, ndim: int, is_turned: bool
) -> Hint | None:
    if leaf != "weight":
        return None
    if node.op_type == "MatMul" and ndim == 2:
        return Hint(in_first=(position == 1) ^ is_turned)
    if node.op_type == "Gemm":
        is_out_first = "transB" in attributes and attributes["transB"].i == 1
        return Hint(in_first=not is_out_first ^ is_turned)
    if node.op_type == "ConvTranspose" and ndim in _TRANSPOSED:
        return Hint(_TRANSPOSED[ndim])
    if node.op_type == "Gather" and ndim != 2:
        return None
    return Hint(_TYPES[node.op_type]) if node.op_type in _TYPES else None


def _is_parameter(name: str) -> bool:
    return "::" not in name and "/" not in name and name.rpartition(".")[2] in (
        "weight", "bias", "running_mean", "running_var"
    )  # fmt: skip


def _stem(node: Any, index: int) -> str:
    """`/layer1/layer1.0/conv1/Conv` -> `layer1.0.conv1`; a node without a path is named by its place."""
    parts = [part for part in node.name.split("/") if part][:-1]
    if not parts:
        return f"nodes.{index}"
    path: list[str] = []
    for part in parts:  # exporters repeat the parent in the name of a list's entry
        parent = ".".join(path)
        last = path[-1] if path else ""
        if parent and part.startswith(parent + "."):
            part = part[len(parent) + 1 :]
        elif last and part.startswith(last + "."):
            part = part[len(last) + 1 :]
        path += part.split(".")
    return ".".join(path)
