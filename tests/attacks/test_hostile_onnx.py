"""ONNX files that were made to crash or exhaust their reader."""

import random

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx_models import MICROSOFT, floats, node, read, save

from sne import CheckpointError, read_network

LOCAL = helper.make_opsetid("local", 1)
GEMM = node("Gemm", ["x", "fc.weight"], ["y"], transB=1)


def function(name, nodes):
    return helper.make_function("local", name, ["a"], ["b"], nodes, [helper.make_opsetid("", 21), LOCAL])


def test_a_function_that_calls_itself(tmp_path):
    own = function("f", [node("f", ["a"], ["b"], domain="local")])
    with pytest.raises(CheckpointError, match="nested more than 32 deep"):
        read(tmp_path, [node("f", ["x"], ["y"], domain="local")], {}, functions=[own], opsets=[LOCAL])


def test_functions_that_double_their_nodes(tmp_path):
    functions = [function("f0", [node("Relu", ["a"], ["b"])])]
    for index in range(1, 30):
        calls = [node(f"f{index - 1}", [i], [o], domain="local") for i, o in (("a", "c"), ("c", "b"))]
        functions.append(function(f"f{index}", calls))
    with pytest.raises(CheckpointError, match="more nodes"):
        read(tmp_path, [node("f29", ["x"], ["y"], domain="local")], {}, functions=functions, opsets=[LOCAL])


def test_nodes_that_read_their_own_output(tmp_path):
    nodes = [node("Identity", ["y"], ["y"]), node("Add", ["z", "y"], ["z"]), node("MatMul", ["z", "w"], ["z"])]
    assert read(tmp_path, nodes, {"w": floats(2, 2)}).num_weights == 4


def test_constants_that_grow(tmp_path):
    nodes = [node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(40)]
    network = read(tmp_path, [*nodes, node("MatMul", ["x", "c40"], ["y"])], {"c0": floats(2**14, 2)})
    assert network.num_weights == 2**15  # the tensor as it is stored
    assert any("not followed" in note.reason for note in network.notes)


def test_long_chains_of_constants(tmp_path):
    nodes = [node("Neg", [f"c{i}"], [f"c{i + 1}"]) for i in range(3000)]
    network = read(tmp_path, [*nodes, node("MatMul", ["x", "c3000"], ["y"])], {"c0": floats(3, 2)})
    assert network.num_weights == 6


@pytest.mark.parametrize(
    "layer",
    [
        node("Reshape", ["fc.weight", "big"], ["y"]),
        node("Expand", ["fc.weight", "big"], ["y"]),
        node("ConstantOfShape", ["big"], ["y"]),
        node("MatMulNBits", ["x", "bytes", "fc.weight"], ["y"], domain="com.microsoft", K=2**40, N=2**40, block_size=8),
        node("Split", ["fc.weight"], ["y"], num_outputs=2**40),
        node("DequantizeLinear", ["bytes", "fc.weight"], ["y"], block_size=2**40),
        node("LSTM", ["x", "fc.weight", "fc.weight"], ["y"], hidden_size=2**40),
        node("Conv", ["x", "fc.weight"], ["y"], group=2**40),
    ],
)
def test_sizes_that_are_claimed(layer, tmp_path):
    tensors = {"fc.weight": floats(3, 2), "big": np.array([2**40, 2**20]), "bytes": np.zeros((3, 2), np.uint8)}
    network = read(tmp_path, [layer, node("Gemm", ["x", "fc.weight"], ["z"], transB=1)], tensors, opsets=[MICROSOFT])
    for _, part in network.parts():
        network.read(part)
    assert network.num_weights <= 12


def test_names_that_are_not_text(tmp_path):
    content = save(tmp_path / "a.onnx", [GEMM], {"fc.weight": floats(3, 2)}).read_bytes()
    for word in (b"fc.weight", b"Gemm", b"transB"):
        (tmp_path / "a.onnx").write_bytes(content.replace(word, b"\xff" * len(word)))
        with pytest.raises(CheckpointError, match="not UTF-8"):
            read_network(tmp_path / "a.onnx")


OPERATORS = ("MatMul", "Transpose", "Reshape", "Concat", "Slice", "Gather", "LSTM", "GRU", "Conv", "QLinearConv", "Mul",
             "DequantizeLinear", "MatMulInteger", "BatchNormalization", "Identity", "Squeeze", "Cast")  # fmt: skip
NUMBERS = (0, 1, -1, 2, 3, 64, 2**31, -(2**63), 2**63 - 1)


def change(model: ModelProto, draw: random.Random) -> None:
    """Changes one field of a model."""
    layer, tensor = draw.choice(model.graph.node), draw.choice(model.graph.initializer)
    names = [*(name for each in model.graph.node for name in each.output), *(t.name for t in model.graph.initializer)]
    match draw.randrange(7):
        case 0:
            layer.op_type = draw.choice(OPERATORS)
        case 1 if layer.input:
            layer.input[draw.randrange(len(layer.input))] = draw.choice(names)
        case 2:
            layer.input.append(draw.choice(names))
        case 3 if tensor.dims:
            tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(NUMBERS)
        case 4:
            tensor.data_type = draw.randrange(30)
        case 5:
            name = draw.choice(("axis", "perm", "axes", "transB", "to", "block_size", "split", "group"))
            kind = TensorProto.INT64 if draw.random() < 0.5 else 0
            layer.attribute.add(name=name, i=draw.choice(NUMBERS), ints=[draw.choice(NUMBERS)] * (2 if kind else 0))
        case _:
            tensor.raw_data = tensor.raw_data[: draw.randrange(len(tensor.raw_data) + 1)]


def test_changed_models_are_refused_or_read_whole(tmp_path):
    nodes = [
        node("DequantizeLinear", ["q", "s"], ["w"], axis=0),
        node("MatMul", ["x", "w"], ["h"], name="/a/MatMul"),
        node("Transpose", ["v"], ["t"], perm=[1, 0]),
        node("Slice", ["t", "starts", "ends"], ["part"]),
        node("Gemm", ["h", "part", "b"], ["g"], name="/b/Gemm", transB=1),
        node("LSTM", ["g", "W", "R"], ["k", "l"], name="/rnn/LSTM", hidden_size=2),
        node("Conv", ["l", "c"], ["y"], name="/c/Conv"),
    ]
    tensors = {
        "q": np.ones((4, 6), np.int8), "s": floats(4), "v": floats(6, 8), "starts": np.array([1]),
        "ends": np.array([6]), "b": floats(5), "W": floats(1, 8, 5), "R": floats(1, 8, 2), "c": floats(3, 2, 1, 1),
    }  # fmt: skip
    file = save(tmp_path / "a.onnx", nodes, tensors)
    content, draw, refused = file.read_bytes(), random.Random(0), 0
    for _ in range(150):
        model = ModelProto.FromString(content)
        for _ in range(draw.randint(1, 4)):
            change(model, draw)
        file.write_bytes(model.SerializeToString())
        try:
            network = read_network(file)
            for _, part in network.parts():
                assert network.read(part).shape == part.arranged_shape
        except CheckpointError as error:
            assert str(error).startswith(str(file))
            refused += 1
        else:
            assert network.num_weights > 0
    assert 40 < refused < 145
