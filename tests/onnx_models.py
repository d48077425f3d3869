"""Small ONNX models that the tests of the reader are made of."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from sne import Network, read_network

MICROSOFT = helper.make_opsetid("com.microsoft", 1)

node = helper.make_node
rng = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def constant(name: str, array: Any) -> onnx.NodeProto:
    return node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(array), name))


def save(path: Path, nodes: list, tensors: dict[str, Any], *, opset: int = 21, **settings: Any) -> Path:
    """Saves a graph from x to y; values of `tensors` are arrays or TensorProtos."""
    stored = [
        value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value), name)
        for name, value in tensors.items()
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored, sparse_initializer=settings.pop("sparse", []))
    opsets = [helper.make_opsetid("", opset), *settings.pop("opsets", [])]
    model = helper.make_model(graph, opset_imports=opsets, functions=settings.pop("functions", []))
    onnx.save(model, path, **settings)
    return path


def read(path: Path, nodes: list, tensors: dict[str, Any], **settings: Any) -> Network:
    return read_network(save(path / "a.onnx", nodes, tensors, **settings))


def parts(network: Network) -> dict[str, torch.Tensor]:
    """Every value by layer and role; matrices without the axis of kernel positions if that has one entry."""
    return {f"{layer.name} {part.role.value}": network.read(part).squeeze() for layer, part in network.parts()}


def reasons(network: Network) -> dict[str, str]:
    return {note.tensor: note.reason for note in network.notes}
