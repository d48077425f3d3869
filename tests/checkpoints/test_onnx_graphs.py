"""Weights are found by the nodes that use them, wherever the graph stores them."""

import numpy as np
import pytest
import torch
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from onnx_models import MICROSOFT, constant, floats, node, parts, read, reasons, save

from sne import CheckpointError, read_network
from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.onnx_file import is_onnx
from sne.networks import LayerType

W1, B1, W2, B2 = floats(5, 4), floats(5), floats(3, 5), floats(3)
GEMM = node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], transB=1)


def same(network, expected):
    """Whether the parts of a network are these arrays, by layer and role."""
    got = parts(network)
    assert set(got) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(got[key], torch.as_tensor(np.array(value), dtype=torch.float32).squeeze(), msg=key)
    return True


TWO = {"fc1 weight": W1, "fc1 bias": B1, "fc2 weight": W2, "fc2 bias": B2}
LAYERS = [
    node("MatMul", ["x", "w1"], ["h"], name="/fc1/MatMul"),
    node("Add", ["h", "b1"], ["r"], name="/fc1/Add"),
    node("Gemm", ["r", "w2", "b2"], ["y"], name="/fc2/Gemm", transB=1),
]
VALUES = {"w1": W1.T, "b1": B1, "w2": W2, "b2": B2}


def test_constant_nodes(tmp_path):
    constants = [constant(name, value) for name, value in VALUES.items()]
    assert same(read(tmp_path, constants + LAYERS, {}), TWO)
    assert same(read(tmp_path, constants[:2] + LAYERS, {"w2": W2, "b2": B2}), TWO)


def test_every_attribute_of_a_constant(tmp_path):
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([2.0], np.float32), "v"), numpy_helper.from_array(np.array([1]), "i"), (1, 2)
    )
    nodes = [
        node("Constant", [], ["w"], value_floats=[1.0, 2.0, 3.0, 4.0]),
        node("Constant", [], ["shape"], value_ints=[2, 2]),
        node("Reshape", ["w", "shape"], ["w22"]),
        node("Gemm", ["x", "w22"], ["h"], name="/a/Gemm", transB=1),
        node("Constant", [], ["s"], sparse_value=sparse),
        node("Gemm", ["h", "s"], ["g"], name="/b/Gemm", transB=1),
        node("Constant", [], ["n"], value_int=1),
        node("Constant", [], ["f"], value_float=3.0),
        node("Constant", [], ["t"], value_string="text"),
        node("Constant", [], ["u"], value_strings=["text"]),
        node("Mul", ["g", "f"], ["y"]),
    ]
    assert same(read(tmp_path, nodes, {}), {"a weight": [[1, 2], [3, 4]], "b weight": [[0, 2]]})


def branch(name, nodes, output, tensors=()):
    info = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, [], [info], list(tensors))


def test_subgraphs_of_an_if(tmp_path):
    then = branch("t", [node("Gemm", ["x", "then.fc.weight"], ["yt"], transB=1)], "yt",
                  [numpy_helper.from_array(W1, "then.fc.weight")])  # fmt: skip
    other = branch("e", [constant("w", 2 * W1.T), node("MatMul", ["x", "w"], ["ye"], name="/else/MatMul")], "ye")
    nodes = [node("If", ["c"], ["h"], then_branch=then, else_branch=other), node("MatMul", ["h", "out"], ["y"])]
    network = read(tmp_path, nodes, {"out": W2.T, "c": np.array(True)})
    assert same(network, {"then.fc weight": W1, "else weight": 2 * W1, "out weight": W2})


@pytest.mark.parametrize("operator", ["Loop", "Scan"])
def test_body_of_a_loop_reads_values_around_it(operator, tmp_path):
    x = helper.make_tensor_value_info("state", TensorProto.FLOAT, None)
    y = helper.make_tensor_value_info("next", TensorProto.FLOAT, None)
    inputs, outputs = [x], [y]
    nodes = [node("MatMul", ["state", "w"], ["next"], name="/cell/MatMul")]
    if operator == "Loop":
        step = helper.make_tensor_value_info("i", TensorProto.INT64, [])
        go = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("go", "go_on")]
        inputs, outputs = [step, go[0], x], [go[1], y]
        nodes.append(node("Identity", ["go"], ["go_on"]))
    body = helper.make_graph(nodes, "b", inputs, outputs)
    extra = {"num_scan_inputs": 0} if operator == "Scan" else {}
    given = ["", "", "x"] if operator == "Loop" else ["x"]
    network = read(tmp_path, [node(operator, given, ["y"], body=body, **extra)], {"w": W1.T})
    assert same(network, {"cell weight": W1})


def function(name, inputs, nodes, *, uses=()):
    opsets = [helper.make_opsetid("", 21), *(helper.make_opsetid(domain, 1) for domain in uses)]
    return helper.make_function("local", name, inputs, ["o"], nodes, opsets)


def test_functions(tmp_path):
    linear = function("Linear", ["a", "w", "b"], [node("Gemm", ["a", "w", "b"], ["o"], transB=1, name="Gemm")])
    block = function(
        "Block",
        ["a"],
        [constant("w", W1), constant("b", B1), node("Linear", ["a", "w", "b"], ["o"], domain="local", name="fc")],
        uses=["local"],
    )
    nodes = [
        node("Block", ["x"], ["h"], domain="local", name="block"),
        node("Linear", ["h", "fc2.weight", "fc2.bias"], ["y"], domain="local"),
    ]
    settings = {"functions": [linear, block], "opsets": [helper.make_opsetid("local", 1)]}
    network = read(tmp_path, nodes, {"fc2.weight": W2, "fc2.bias": B2}, **settings)
    expected = {"block.fc weight": W1, "block.fc bias": B1, "fc2 weight": W2, "fc2 bias": B2}
    assert same(network, expected)


def test_attributes_that_a_function_passes_on(tmp_path):
    gemm = node("Gemm", ["a", "w"], ["o"])
    gemm.attribute.add(name="transB", ref_attr_name="is_turned", type=AttributeProto.INT)
    linear = helper.make_function("local", "L", ["a", "w"], ["o"], [gemm], [helper.make_opsetid("", 21)], ["is_turned"])
    nodes = [
        node("L", ["x", "a.weight"], ["h"], domain="local", is_turned=1),
        node("L", ["h", "b.weight"], ["y"], domain="local", is_turned=0),
    ]
    settings = {"functions": [linear], "opsets": [helper.make_opsetid("local", 1)]}
    network = read(tmp_path, nodes, {"a.weight": W1, "b.weight": W2.T}, **settings)
    assert same(network, {"a weight": W1, "b weight": W2})


def test_constants_are_followed_to_the_effective_weight(tmp_path):
    whole = floats(4, 8)
    halves = whole.astype(np.float16)
    nodes = [
        node("Cast", ["w"], ["f"], to=TensorProto.FLOAT),
        constant("starts", np.array([2])), constant("ends", np.array([7])), constant("axes", np.array([1])),
        node("Slice", ["f", "starts", "ends", "axes"], ["part"]),
        constant("two", np.float32(2)),
        node("Mul", ["part", "two"], ["scaled"]),
        node("Identity", ["scaled"], ["named"]),
        node("MatMul", ["x", "named"], ["h"], name="/fc/MatMul"),
        node("Split", ["pair", "sizes"], ["first", "second"], axis=0),
        node("Unsqueeze", ["first", "axes"], ["unsqueezed"]),
        node("Squeeze", ["unsqueezed", "axes"], ["squeezed"]),
        node("Concat", ["second", "squeezed"], ["bias"], axis=0),
        node("Add", ["h", "bias"], ["y"]),
    ]  # fmt: skip
    network = read(tmp_path, nodes, {"w": halves, "pair": np.arange(5.0, dtype=np.float32), "sizes": np.array([2, 3])})
    expected = {"fc weight": 2 * halves.astype(np.float32)[:, 2:7].T, "fc bias": [2, 3, 4, 0, 1]}
    assert same(network, expected)


def test_weight_norm_that_was_not_folded(tmp_path):
    v, g = floats(5, 4), np.abs(floats(5, 1))
    nodes = [
        node("ReduceL2", ["fc.weight_v", "axis"], ["norm"], keepdims=1),
        node("Div", ["fc.weight_v", "norm"], ["unit"]),
        node("Mul", ["unit", "fc.weight_g"], ["w"]),
        node("Gemm", ["x", "w"], ["y"], transB=1, name="/fc/Gemm"),
    ]
    network = read(tmp_path, nodes, {"fc.weight_v": v, "fc.weight_g": g, "axis": np.array([1])})
    assert same(network, {"fc weight": v / np.linalg.norm(v, axis=1, keepdims=True) * g})


@pytest.mark.parametrize("turned", [0, 1])
def test_gemm(turned, tmp_path):
    weight = W1 if turned else W1.T
    gemm = node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], transB=turned, alpha=0.5, beta=2.0)
    assert same(read(tmp_path, [gemm], {"fc.weight": weight, "fc.bias": B1[None]}),
                {"fc weight": 0.5 * W1, "fc bias": 2 * B1})  # fmt: skip
    one = read(tmp_path, [gemm], {"fc.weight": weight, "fc.bias": np.float32(3)})
    assert same(one, {"fc weight": 0.5 * W1, "fc bias": [6] * 5})


def test_weight_on_the_left(tmp_path):
    nodes = [node("MatMul", ["w", "x"], ["h"], name="/fc/MatMul"), node("Add", ["h", "b"], ["y"])]
    network = read(tmp_path, nodes, {"w": W1, "b": B1[:, None]})
    assert same(network, {"fc weight": W1, "fc bias": B1})


def test_what_is_added_to_a_layer_and_is_no_bias(tmp_path):
    nodes = [node("MatMul", ["x", "w"], ["h"], name="/fc/MatMul"), node("Add", ["h", "pos_embed"], ["y"])]
    network = read(tmp_path, nodes, {"w": W1.T, "pos_embed": floats(1, 7, 5)})
    assert [layer.type for layer in network.layers] == [LayerType.POSITION, LayerType.LINEAR]
    shared = [node("MatMul", ["x", "w"], ["h"], name="/fc/MatMul"), node("Add", ["h", "b"], ["g"], name="/a/Add"),
              node("Mul", ["h", "g"], ["y"])]  # fmt: skip
    network = read(tmp_path, shared, {"w": W1.T, "b": B1})
    assert "fc bias" not in parts(network) and network.num_weights == 25


def test_convolution_with_a_bias_apart(tmp_path):
    weight, bias = floats(6, 3, 3, 3), floats(6)
    nodes = [node("Conv", ["x", "w"], ["h"], name="/conv/Conv"), node("Add", ["h", "b"], ["y"])]
    for shape in ((1, 6, 1, 1), (6, 1, 1)):
        network = read(tmp_path, nodes, {"w": weight, "b": bias.reshape(shape)})
        assert same(network, {"conv weight": weight.reshape(6, 3, 9), "conv bias": bias})


@pytest.mark.parametrize("ndim", [3, 4, 5])
def test_transposed_convolutions(ndim, tmp_path):
    weight = floats(6, 6, *[2] * (ndim - 2))
    network = read(
        tmp_path, [node("ConvTranspose", ["x", "onnx::W"], ["y"], name="/c/ConvTranspose")], {"onnx::W": weight}
    )
    assert network.layers[0].type.value == f"conv_transpose{ndim - 2}d"
    assert torch.equal(parts(network)["c weight"], torch.from_numpy(weight).transpose(0, 1).flatten(2))


def norm(kind, *, centred=True):
    """The nodes of a norm that an exporter has taken apart."""
    mean = (
        [node("ReduceMean", ["x"], ["m"], axes=[-1]), node("Sub", ["x", "m"], ["c"])]
        if centred
        else [node("Identity", ["x"], ["c"])]
    )
    root = [
        node("Pow", ["c", "two"], ["p"]), node("ReduceMean", ["p"], ["v"], axes=[-1]),
        node("Add", ["v", "eps"], ["e"]), node("Sqrt", ["e"], ["s"]),
    ]  # fmt: skip
    ends = {
        "torch": [node("Div", ["c", "s"], ["n"]), node("Mul", ["n", "w"], ["g"], name="/ln/Mul")],
        "reciprocal": [node("Reciprocal", ["s"], ["r"]), node("Mul", ["c", "r"], ["n"]),
                       node("Mul", ["w", "n"], ["g"], name="/ln/Mul_1")],
        "tensorflow": [
            node("Reciprocal", ["s"], ["r"]), node("Mul", ["r", "w"], ["k"], name="ln/batchnorm/mul"),
            node("Mul", ["m", "k"], ["km"]), node("Sub", ["b", "km"], ["d"]), node("Mul", ["x", "k"], ["kx"]),
            node("Add", ["kx", "d"], ["y"]),
        ],
    }[kind]  # fmt: skip
    shift = [] if kind == "tensorflow" else [node("Add", ["g", "b"], ["y"])]
    tensors = {"two": np.float32(2), "eps": np.float32(1e-5), "w": B1, "b": 2 * B1}
    return mean + root + ends + shift, tensors


@pytest.mark.parametrize("kind", ["torch", "reciprocal", "tensorflow"])
def test_layer_norms_taken_apart(kind, tmp_path):
    nodes, tensors = norm(kind)
    network = read(tmp_path, nodes, tensors, opset=13)
    assert [layer.type for layer in network.layers] == [LayerType.LAYER_NORM]
    name = network.layers[0].name
    assert same(network, {f"{name} scale": B1, f"{name} bias": 2 * B1})


def test_rms_norm_taken_apart(tmp_path):
    nodes, tensors = norm("reciprocal", centred=False)
    nodes = [*nodes[:-1], node("Identity", ["g"], ["y"])]
    network = read(tmp_path, nodes, {key: value for key, value in tensors.items() if key != "b"}, opset=13)
    assert [layer.type for layer in network.layers] == [LayerType.RMS_NORM]


def test_group_norm_of_torch(tmp_path):
    nodes = [
        node("Reshape", ["x", "s1"], ["r"]),
        node("InstanceNormalization", ["r", "onnx::ones", "onnx::zeros"], ["i"]),
        node("Reshape", ["i", "s2"], ["n"]),
        node("Mul", ["n", "onnx::Mul_1"], ["g"], name="/gn/Mul"),
        node("Add", ["g", "onnx::Add_2"], ["y"], name="/gn/Add"),
    ]
    shapes = {"s1": np.array([0, 2, -1]), "s2": np.array([0, 6, 4, 4])}
    units = {"onnx::ones": np.ones(2, np.float32), "onnx::zeros": np.zeros(2, np.float32)}
    scale = floats(6, 1, 1)
    network = read(tmp_path, nodes, shapes | units | {"onnx::Mul_1": scale, "onnx::Add_2": 2 * scale})
    assert [layer.type for layer in network.layers] == [LayerType.GROUP_NORM]
    assert same(network, {"gn scale": scale, "gn bias": 2 * scale})
    assert "no weights" not in reasons(network)["onnx::ones"] and "has none" in reasons(network)["onnx::ones"]


def test_a_batch_norm_that_became_a_scale_and_a_shift(tmp_path):
    nodes = [
        node("Conv", ["x", "conv.weight"], ["h"]),
        node("Mul", ["h", "s"], ["g"], name="/bn/Mul"),
        node("Add", ["g", "t"], ["y"]),
    ]
    tensors = {"conv.weight": floats(6, 3, 1, 1), "s": floats(6, 1, 1), "t": floats(6, 1, 1)}
    network = read(tmp_path, nodes, tensors)
    assert {layer.type for layer in network.layers} == {LayerType.CONV2D, LayerType.BATCH_NORM}
    assert "statistics" in reasons(network)["bn.weight"]


def test_embeddings_and_ties(tmp_path):
    table = floats(9, 4)
    nodes = [
        node("Gather", ["emb.weight", "x"], ["h"], name="/emb/Gather"),
        node("MatMul", ["h", "onnx::MatMul_7"], ["y"], name="/head/MatMul"),
    ]
    copied = read(tmp_path, nodes, {"emb.weight": table, "onnx::MatMul_7": table.T})
    assert [layer.type for layer in copied.layers] == [LayerType.EMBEDDING]
    assert "tied" in reasons(copied)["head.weight"]
    apart = read(tmp_path, nodes, {"emb.weight": table, "onnx::MatMul_7": 2 * table.T})
    assert len(apart.layers) == 2


def test_a_tensor_that_several_layers_share_is_read_by_each(tmp_path):
    """Exporters store equal values once, also those of layers that only start alike."""
    nodes = [
        node("Gemm", ["x", "a.weight", "a.bias"], ["h"], name="/a/Gemm", transB=1),
        node("Gemm", ["h", "b.weight", "a.bias"], ["g"], name="/b/Gemm", transB=1),
        node("Gemm", ["g", "b.weight", "a.bias"], ["y"], name="/c/Gemm", transB=1),
    ]
    network = read(tmp_path, nodes, {"a.weight": floats(4, 4), "b.weight": floats(4, 4), "a.bias": floats(4)})
    assert [layer.name for layer in network.layers] == ["a", "b", "c"]
    assert all(len(layer.parts) == 2 for layer in network.layers)
    assert "stored once for several layers" in reasons(network)["c.weight"]


NAMES = {
    "torch 1": ("/net/net.0/fc/MatMul", "onnx::MatMul_3", "net.0.fc"),
    "tensorflow": ("net/dense_1/MatMul", "net/dense_1/MatMul/ReadVariableOp:0", "net.dense_1"),
    "variable": ("", "dense/kernel:0", "dense"),
    "sklearn": ("MatMul1", "coefficient1", "coefficient1"),
    "parameter": ("", "block.fc.weight", "block.fc"),
    "number": ("", "17", "nodes.0"),
    "operator": ("MatMul_4", "17", "MatMul_4"),
    "plain": ("", "W1", "W1"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names(case, tmp_path):
    name, weight, expected = NAMES[case]
    network = read(
        tmp_path, [node("MatMul", ["x", weight], ["h"], name=name), node("Relu", ["h"], ["y"])], {weight: W1.T}
    )
    assert same(network, {f"{expected} weight": W1})


def test_names_of_scopes_beside_the_node(tmp_path):
    layer = node("MatMul", ["x", "val_3"], ["y"], name="node_linear")
    layer.metadata_props.add(
        key="pkg.torch.onnx.name_scopes", value="['', 'blocks', 'blocks.0', 'blocks.0.fc', 'linear']"
    )
    assert same(read(tmp_path, [layer], {"val_3": W1.T}), {"blocks.0.fc weight": W1})


def test_order_of_the_graph(tmp_path):
    nodes, tensors, before = [], {}, "x"
    for index, name in enumerate(["zeta", "alpha", "mid"]):
        nodes.append(node("Gemm", [before, f"{name}.weight"], [f"h{index}"], transB=1))
        tensors[f"{name}.weight"] = floats(4, 4)
        before = f"h{index}"
    network = read_network(save(tmp_path / "a.onnx", nodes, dict(sorted(tensors.items()))))
    orders = {name: hint.order for name, hint in network.source.hints.items()}
    assert orders["zeta"] < orders["alpha"] < orders["mid"]


def test_order_of_the_graph_where_made_up_names_contradict_it(tmp_path):
    """The name fc1 sounds like a head, which no layer follows."""
    nodes = [node("Gemm", ["x", "fc1.weight"], ["h"], transB=1), node("Gemm", ["h", "w2"], ["y"], transB=1)]
    network = read(tmp_path, nodes, {"fc1.weight": floats(16, 8), "w2": floats(4, 16)})
    assert [layer.name for layer in network.layers] == ["fc1", "w2"]


def test_everything_is_in_a_layer_or_noted(tmp_path):
    tensors = {
        "fc.weight": W1, "fc.bias": B1, "mask": np.where(np.tri(6), 0, -np.inf).astype(np.float32)[None, None],
        "big_mask": np.where(np.tri(6), 0, -1e9).astype(np.float32), "ids": np.arange(100),
        "odd.table": floats(7, 3), "floor": np.float32(0), "factor": np.float32(3), "val_9": np.ones(64, np.float32),
    }  # fmt: skip
    nodes = [
        GEMM,
        *(node("Add", [a, b], [c]) for a, b, c in (("y", "mask", "a"), ("a", "big_mask", "b"), ("b", "ids", "c"))),
        node("Special", ["c", "odd.table"], ["d"], domain="custom", table=[float(i) for i in range(100)], name="s"),
        node("Clip", ["d", "floor"], ["e"]), node("Mul", ["e", "factor"], ["f"]), node("Add", ["f", "val_9"], ["g"]),
    ]  # fmt: skip
    network = read(tmp_path, nodes, tensors, opsets=[helper.make_opsetid("custom", 1)])
    noted = reasons(network)
    assert {"fc", "odd.table"} == {layer.name for layer in network.layers}
    assert set(tensors) - set(noted) == {"fc.weight", "fc.bias"}
    assert noted["mask"] == noted["big_mask"] and "mask" in noted["mask"]
    assert "setting" in noted["floor"] and "number" in noted["factor"] and "indices" in noted["ids"]
    assert "custom.Special" in noted["s.table"]
    for _, part in network.parts():
        network.read(part)


def test_fused_operators_of_onnxruntime(tmp_path):
    qkv = floats(4, 12)
    nodes = [
        node("EmbedLayerNormalization", ["x", "", "words", "places", "", "s", "t"], ["e"], domain="com.microsoft",
             name="/embeddings/E"),
        node("Attention", ["e", "qkv_weight", "qkv_bias"], ["a"], domain="com.microsoft", name="/attn/Attention"),
        node("SkipLayerNormalization", ["a", "e", "ln.weight", "ln.bias"], ["n"], domain="com.microsoft"),
        node("FusedMatMul", ["n", "w"], ["h"], domain="com.microsoft", name="/fc/MatMul", alpha=0.5),
        node("BiasGelu", ["h", "b"], ["y"], domain="com.microsoft"),
    ]  # fmt: skip
    tensors = {
        "words": floats(9, 4), "places": floats(7, 4), "s": floats(4), "t": floats(4), "qkv_weight": qkv,
        "qkv_bias": floats(12), "ln.weight": floats(4), "ln.bias": floats(4), "w": W1.T, "b": B1,
    }  # fmt: skip
    network = read(tmp_path, nodes, tensors, opsets=[MICROSOFT])
    got = parts(network)
    assert torch.equal(got["attn.key weight"], torch.from_numpy(qkv[:, 4:8].T.copy()))
    assert torch.allclose(got["fc weight"], torch.from_numpy(W1 / 2)) and torch.equal(got["fc bias"], torch.tensor(B1))
    assert {layer.type for layer in network.layers} >= {LayerType.EMBEDDING, LayerType.POSITION, LayerType.LAYER_NORM}
    assert network.num_weights == sum(value.size for value in tensors.values())


def test_no_weights_and_no_network(tmp_path):
    with pytest.raises(CheckpointError, match="the model holds no weights"):
        read(tmp_path, [node("Relu", ["x"], ["y"])], {})
    tree = node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", nodes_values=[0.5], nodes_modes=["LEAF"])
    with pytest.raises(CheckpointError, match="no neural network; it consists of TreeEnsembleRegressor"):
        read(tmp_path, [tree], {}, opsets=[helper.make_opsetid("ai.onnx.ml", 3)])


def test_weights_in_blocks_of_a_processor_are_refused(tmp_path):
    blocked = node("Conv", ["x", "conv.weight"], ["y"], domain="com.microsoft.nchwc")
    with pytest.raises(CheckpointError, match="optimised for one kind of processor"):
        read(tmp_path, [blocked], {"conv.weight": W1}, opsets=[helper.make_opsetid("com.microsoft.nchwc", 1)])


def test_recognised_by_content(tmp_path):
    file = save(tmp_path / "model", [GEMM], {"fc.weight": W1, "fc.bias": B1})
    assert same(read_network(file), {"fc weight": W1, "fc bias": B1})
    content = file.read_bytes()
    for other in (content[:-1], b"\x08\x07", b"\x08\x01\x12\x02ab", b"\x08\x01" + bytes(20), content + b"\x08"):
        file.write_bytes(other)
        assert not is_onnx(FileStart.read(file))
    (tmp_path / "model.onnx").write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match="truncated or damaged ONNX"):
        read_network(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("equation", "shape", "arranged"),
    [
        ("abc,cd->abd", (4, 6), lambda w: w.T),
        ("...c,dc->...d", (6, 4), lambda w: w),
        ("abc,cde->abde", (4, 3, 2), lambda w: w.reshape(4, 6).T),
        ("abde,dec->abc", (2, 2, 6), lambda w: w.reshape(4, 6).T),
    ],
)
def test_einsum_of_keras(equation, shape, arranged, tmp_path):
    weight, bias = floats(*shape), floats(6)
    bias_shape = (3, 2) if equation.endswith("abde") else (6,)
    nodes = [
        node("Einsum", ["x", "kernel"], ["h"], equation=equation, name="net/query/einsum/Einsum"),
        node("Add", ["h", "bias"], ["y"], name="net/query/add"),
    ]
    network = read(tmp_path, nodes, {"kernel": weight, "bias": bias.reshape(bias_shape)})
    (layer,) = network.layers
    assert same(network, {f"{layer.name} weight": arranged(weight), f"{layer.name} bias": bias})


@pytest.mark.parametrize("equation", ["abc,bcd->abd", "abc,cc->abc", "abc,cd->ab", "abc,cd", "ab,cd->abcd"])
def test_einsum_that_is_no_linear_layer(equation, tmp_path):
    weight = floats(4, 4, 4) if "bcd" in equation else floats(4, 4)
    nodes = [node("Einsum", ["x", "net.table"], ["y"], equation=equation)]
    (layer,) = read(tmp_path, nodes, {"net.table": weight}).layers
    assert layer.type is LayerType.OTHER


def test_constants_of_made_up_names_are_not_weights(tmp_path):
    nodes = [
        constant("anchors", floats(1, 2, 50)),
        GEMM,
        node("Add", ["y", "anchors"], ["z"]),
        node("Mul", ["z", "val_7"], ["a"]),
    ]
    network = read(tmp_path, nodes, {"fc.weight": W1, "fc.bias": B1, "val_7": floats(30)})
    assert [layer.name for layer in network.layers] == ["fc"]
    assert set(reasons(network)) == {"anchors", "val_7"}
