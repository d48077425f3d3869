"""Reader of .onnx files: initializers, named after the nodes that use them where the exporter only numbered them."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, final

import torch
from torch import Tensor

from sne.checkpoints.composed.scales import ScaledWeight
from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.raw_data import DTYPES, read_tensor
from sne.checkpoints.stored import StoredTensors
from sne.errors import CheckpointError, install_hint
from sne.networks import Hint, LayerType, TensorInfo

_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
    16: "bfloat16", 17: "float8_e4m3fn", 19: "float8_e5m2",
}  # fmt: skip
_EXTERNAL = 1  # TensorProto.DataLocation.EXTERNAL
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
"""Name of the parameter that each input of a node is, by operator and position of the input."""
_TYPES = {
    "GroupNormalization": LayerType.GROUP_NORM,
    "InstanceNormalization": LayerType.GROUP_NORM,
    "LayerNormalization": LayerType.LAYER_NORM,
    "Gather": LayerType.EMBEDDING,
}
_TRANSPOSED = {3: LayerType.CONV_TRANSPOSE1D, 4: LayerType.CONV_TRANSPOSE2D, 5: LayerType.CONV_TRANSPOSE3D}


def is_onnx(start: FileStart) -> bool:
    """Whether a file has the suffix .onnx and starts with field 1 of a protobuf message, the version of ONNX."""
    return start.suffix == ".onnx" and start.head.startswith(b"\x08")


@final
class OnnxTensors(StoredTensors):
    """The initializers of an ONNX model. Values in external data files are read one tensor at a time.

    An initializer keeps its name if that names a parameter ("fc1.weight"). One that the exporter has numbered
    ("onnx::MatMul_12") is named after the node that uses it ("/fc1/MatMul" becomes "fc1.weight").

    Args:
        file: Path of the file.
        select: Ignored; the file holds one flat list of tensors.

    Raises:
        CheckpointError: If the package onnx is not installed, or the file is not an ONNX model.
    """

    def __init__(self, file: Path, select: str | None = None):
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
            raise CheckpointError(file, "the model has no initializers, so no weights")
        uses = _Uses(model.graph, stored)
        self._tensors: dict[str, Any] = {}
        infos: dict[str, TensorInfo] = {}
        for original, tensor in stored.items():
            name = uses.names.get(original, original)
            if tensor.data_type not in _DTYPES:
                kind = onnx.TensorProto.DataType.Name(tensor.data_type)
                raise CheckpointError(file, f"tensor {original!r} has the dtype {kind}, which is not read")
            self._tensors[name] = tensor
            infos[name] = TensorInfo(name, tuple(tensor.dims), _DTYPES[tensor.data_type])
        super().__init__(str(file), infos.values(), hints=uses.hints, composed=uses.scaled(infos))

    def read_stored(self, name: str) -> Tensor:
        """Reads one initializer from the model or from its external data file."""
        tensor, info = self._tensors[name], self.infos[name]
        if tensor.data_location == _EXTERNAL:
            return self._read_external(name, info)
        if tensor.raw_data and info.dtype in DTYPES:
            dtype = DTYPES[info.dtype]
            if len(tensor.raw_data) != info.num_entries * dtype.itemsize:
                raise CheckpointError(
                    self.name,
                    f"tensor {name!r} of shape {list(info.shape)} and dtype {info.dtype} needs "
                    f"{info.num_entries * dtype.itemsize} bytes, has {len(tensor.raw_data)}",
                )
            return torch.frombuffer(bytearray(tensor.raw_data), dtype=dtype).reshape(info.shape)
        from onnx import numpy_helper

        try:
            return torch.from_numpy(numpy_helper.to_array(tensor).copy())
        except Exception as error:  # damaged fields raise many kinds
            raise CheckpointError(self.name, f"tensor {name!r} cannot be read: {error}") from error

    def _read_external(self, name: str, info: TensorInfo) -> Tensor:
        fields = {entry.key: entry.value for entry in self._tensors[name].external_data}
        location = PurePosixPath(fields.get("location", ""))
        if not location.parts or location.is_absolute() or ".." in location.parts or "\\" in str(location):
            where = str(location)[:80]
            raise CheckpointError(self.name, f"tensor {name!r} is in {where!r}, not a file of the same folder")
        file = self._file.parent / location
        if not file.is_file():
            raise CheckpointError(self.name, f"the values of tensor {name!r} are missing: there is no file {location}")
        start = fields.get("offset", "0")
        if not start.isdigit():
            raise CheckpointError(self.name, f"tensor {name!r} starts at {start[:40]!r}, expected an offset in bytes")
        return read_tensor(file, int(start), info.shape, info.dtype, name)


class _Uses:
    """Facts about initializers from the nodes of a graph: names, hints and scales.

    Args:
        graph: The graph of an ONNX model.
        stored: Initializers, by name.
    """

    def __init__(self, graph: Any, stored: Mapping[str, Any]):
        self.names: dict[str, str] = {}
        self.hints: dict[str, Hint] = {}
        self._stored = stored
        self._quantised: dict[str, tuple[str, str | None, int]] = {}  # initializer -> scale, zero point, axis
        self._reached = {name: (name, False) for name in stored}  # value -> its initializer, whether transposed
        self._taken = set(stored)
        for index, node in enumerate(graph.node):
            attributes = {attribute.name: attribute for attribute in node.attribute}
            if not self._follow(node, attributes):
                self._name_inputs(node, index, attributes)

    def scaled(self, infos: Mapping[str, TensorInfo]) -> list[ScaledWeight]:
        """Returns the initializers that pass through a DequantizeLinear node.

        Args:
            infos: Every initializer, by its new name.
        """
        return [
            ScaledWeight(
                infos[self._name(key)], self._name(scale), None if zero is None else self._name(zero), axis=axis
            )
            for key, (scale, zero, axis) in self._quantised.items()
        ]

    def _name(self, original: str) -> str:
        return self.names.get(original, original)

    def _follow(self, node: Any, attributes: Mapping[str, Any]) -> bool:
        """Follows an initializer through a node that passes it on; False if the node is of another kind."""
        first = self._reached.get(node.input[0]) if node.input else None
        if node.op_type not in ("Identity", "Cast", "Transpose", "DequantizeLinear") or first is None:
            return False
        original, is_transposed = first
        if node.op_type == "DequantizeLinear" and len(node.input) > 1 and node.input[1] in self._stored:
            axis = attributes["axis"].i if "axis" in attributes else 1
            zero = node.input[2] if len(node.input) > 2 and node.input[2] in self._stored else None
            self._quantised[original] = node.input[1], zero, axis
        transposes = node.op_type == "Transpose" and len(self._stored[original].dims) == 2
        self._reached[node.output[0]] = (original, is_transposed ^ transposes)
        return True

    def _name_inputs(self, node: Any, index: int, attributes: Mapping[str, Any]) -> None:
        """Names the initializers that a node uses as parameters."""
        for position, leaf in _LEAVES.get(node.op_type, {}).items():
            if position >= len(node.input) or node.input[position] not in self._reached:
                continue
            original, is_transposed = self._reached[node.input[position]]
            if original in self.names:
                continue
            name = original
            if not _is_parameter(original):
                name = f"{_stem(node, index)}.{leaf}"
                if name in self._taken:
                    name = f"{_stem(node, index)}.{position}.{leaf}"
            self.names[original] = name
            self._taken.add(name)
            hint = _hint(node, attributes, leaf, position, len(self._stored[original].dims), is_transposed)
            if hint is not None:
                self.hints[name.rpartition(".")[0]] = hint


def _hint(
    node: Any, attributes: Mapping[str, Any], leaf: str, position: int, ndim: int, is_transposed: bool
) -> Hint | None:
    """Returns a hint from a node about the type of a weight's layer and the order of the weight's axes."""
    if leaf != "weight":
        return None
    if node.op_type == "MatMul" and ndim == 2:
        return Hint(in_first=(position == 1) ^ is_transposed)
    if node.op_type == "Gemm":
        is_out_first = "transB" in attributes and attributes["transB"].i == 1
        return Hint(in_first=not is_out_first ^ is_transposed)
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
    """Turns `/layer1/layer1.0/conv1/Conv` into `layer1.0.conv1`; a node without a path is named by its position."""
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
