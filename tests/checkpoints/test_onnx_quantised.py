"""Quantised operators: the weight that their integers stand for, and nothing else as a weight."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnx_models import MICROSOFT, floats, node, parts, read, reasons

from sne import Network

rng = np.random.default_rng(1)
BIAS = floats(5)
INTEGERS = rng.integers(-120, 120, (4, 5)).astype(np.int8)  # [in, out]
ZERO = rng.integers(-3, 3, 5).astype(np.int8)
SCALE = np.abs(floats(5)) + 0.1
WEIGHT = ((INTEGERS.astype(np.float32) - ZERO) * SCALE).T
KERNEL = rng.integers(-120, 120, (5, 2, 3, 3)).astype(np.int8)
KERNEL_WEIGHT = (KERNEL - ZERO.astype(np.float32)[:, None, None, None]) * SCALE[:, None, None, None]


def assert_only(network: Network, weight: np.ndarray, bias: np.ndarray | None = None) -> None:
    """Asserts one layer "fc" with this weight and bias."""
    got = parts(network)
    assert set(got) == ({"fc weight"} if bias is None else {"fc weight", "fc bias"})
    expected = torch.from_numpy(np.ascontiguousarray(weight.reshape(*weight.shape[:2], -1), dtype=np.float32)).squeeze()
    torch.testing.assert_close(got["fc weight"], expected)
    if bias is not None:
        torch.testing.assert_close(got["fc bias"], torch.from_numpy(np.asarray(bias, dtype=np.float32)))


DYNAMIC = node("DynamicQuantizeLinear", ["x"], ["q", "xs", "xz"])
STATIC = node("QuantizeLinear", ["x", "xs", "xz"], ["q"])
STATIC_VALUES = {"xs": np.float32(0.25), "xz": np.uint8(3)}


def integer_product(op="MatMulInteger"):
    return [node(op, ["q", "w", "xz", "z"], ["i"], name=f"/fc/{op}"), node("Cast", ["i"], ["f"], to=TensorProto.FLOAT)]


SCALINGS = {
    "product of scales": [node("Mul", ["xs", "s"], ["p"]), node("Mul", ["f", "p"], ["h"])],
    "one after the other": [node("Mul", ["f", "xs"], ["g"]), node("Mul", ["s", "g"], ["h"])],
}


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("is_static", [False, True])
def test_matmul_integer(scaling, is_static, tmp_path):
    nodes = [STATIC if is_static else DYNAMIC, *integer_product(), *SCALINGS[scaling], node("Add", ["h", "b"], ["y"])]
    tensors = {"w": INTEGERS, "z": ZERO, "s": SCALE, "b": BIAS} | (STATIC_VALUES if is_static else {})
    network = read(tmp_path, nodes, tensors)
    assert_only(network, WEIGHT, BIAS)
    assert set(reasons(network)) == set(tensors) - {"w", "b"}


def test_matmul_integer_with_the_product_of_scales_stored(tmp_path):
    nodes = [STATIC, *integer_product(), node("Mul", ["f", "p"], ["y"])]
    tensors = {"w": INTEGERS, "z": ZERO, "p": SCALE * np.float32(0.25), **STATIC_VALUES}
    assert_only(read(tmp_path, nodes, tensors), WEIGHT)


def test_matmul_integer_without_a_scale_is_noted(tmp_path):
    nodes = [*integer_product(), node("MatMul", ["f", "v"], ["y"], name="/other/MatMul")]
    network = read(tmp_path, nodes, {"w": np.tile(INTEGERS, (10, 1)), "z": ZERO, "v": floats(5, 5), "xz": np.uint8(0)})
    assert [layer.name for layer in network.layers] == ["other"]
    assert "in a form that is not read" in reasons(network)["w"]


@pytest.mark.parametrize("shape", [(5,), (1, 5, 1, 1)])
def test_conv_integer(shape, tmp_path):
    nodes = [DYNAMIC, *integer_product("ConvInteger"), *SCALINGS["product of scales"], node("Add", ["h", "b"], ["y"])]
    tensors = {"w": KERNEL, "z": ZERO, "s": SCALE.reshape(shape), "b": BIAS.reshape(1, 5, 1, 1)}
    assert_only(read(tmp_path, nodes, tensors), KERNEL_WEIGHT, BIAS)


def test_qlinear_conv(tmp_path):
    given = ["q", "xs", "xz", "w", "s", "z", "ys", "yz", "b"]
    bias = rng.integers(-1000, 1000, 5).astype(np.int32)
    tensors = {"w": KERNEL, "s": SCALE, "z": ZERO, "b": bias, "ys": np.float32(1), "yz": np.uint8(0), **STATIC_VALUES}
    network = read(tmp_path, [STATIC, node("QLinearConv", given, ["y"], name="/fc/Conv_quant")], tensors)
    assert_only(network, KERNEL_WEIGHT, bias * 0.25 * SCALE)
    assert set(reasons(network)) == set(tensors) - {"w", "b"}


def test_qlinear_matmul_and_qgemm(tmp_path):
    given = ["q", "xs", "xz", "w", "s", "z"]
    tensors = {"w": INTEGERS, "s": SCALE, "z": ZERO, "ys": np.float32(1), "yz": np.uint8(0), **STATIC_VALUES}
    assert_only(
        read(tmp_path, [STATIC, node("QLinearMatMul", [*given, "ys", "yz"], ["y"], name="/fc/M")], tensors), WEIGHT
    )
    bias = rng.integers(-1000, 1000, 5).astype(np.int32)
    gemm = node("QGemm", [*given, "b", "ys", "yz"], ["y"], domain="com.microsoft", name="/fc/G", transB=1, alpha=2.0)
    turned = tensors | {"w": np.ascontiguousarray(INTEGERS.T), "b": bias}
    network = read(tmp_path, [STATIC, gemm], turned, opsets=[MICROSOFT])
    assert_only(network, 2 * WEIGHT, 2 * bias * 0.25 * SCALE)


def test_matmuls_that_quantise_their_input(tmp_path):
    tensors = {"w": INTEGERS, "s": SCALE, "z": ZERO, "b": BIAS}
    dynamic = node("DynamicQuantizeMatMul", ["x", "w", "s", "z", "b"], ["y"], domain="com.microsoft", name="/fc/M")
    assert_only(read(tmp_path, [dynamic], tensors, opsets=[MICROSOFT]), WEIGHT, BIAS)
    given = ["q", "w", "xs", "s", "xz", "z", "b"]
    to_float = node("MatMulIntegerToFloat", given, ["y"], domain="com.microsoft", name="/fc/M")
    assert_only(read(tmp_path, [DYNAMIC, to_float], tensors, opsets=[MICROSOFT]), WEIGHT, BIAS)


def dequantise(weight, scale, **settings):
    return [node("DequantizeLinear", ["w", "s", *settings.pop("zero", [])], ["d"], **settings),
            node("MatMul", ["x", "d"], ["y"], name="/fc/MatMul")], {"w": weight, "s": scale}  # fmt: skip


def test_dequantize_linear(tmp_path):
    nodes, tensors = dequantise(INTEGERS, SCALE, zero=["z"], axis=-1)
    assert_only(read(tmp_path, nodes, tensors | {"z": ZERO}), WEIGHT)
    nodes, tensors = dequantise(INTEGERS, np.float32(0.5))
    assert_only(read(tmp_path, nodes, tensors), INTEGERS.T * np.float32(0.5))
    weight, scale = rng.integers(-9, 9, (10, 5)).astype(np.int8), np.abs(floats(3, 5))  # the last block is short
    nodes, tensors = dequantise(weight, scale, axis=0, block_size=4)
    assert_only(read(tmp_path, nodes, tensors), (weight * scale.repeat(4, 0)[:10]).T)


@pytest.mark.parametrize("axis", [0, 1])
def test_dequantize_linear_of_4_bits_in_blocks(axis, tmp_path):
    weight = rng.integers(-8, 8, (8, 6))
    scale = np.abs(floats(*((2, 6) if axis == 0 else (8, 2))))
    zero = rng.integers(-8, 8, scale.shape)
    nodes, tensors = dequantise(helper.make_tensor("w", TensorProto.INT4, (8, 6), weight.flatten()), scale,
                                zero=["z"], axis=axis, block_size=4 if axis == 0 else 3)  # fmt: skip
    tensors["z"] = helper.make_tensor("z", TensorProto.INT4, zero.shape, zero.flatten())
    spread = [array.repeat(4 if axis == 0 else 3, axis) for array in (scale, zero)]
    assert_only(read(tmp_path, nodes, tensors), ((weight - spread[1]) * spread[0]).T)


def test_scales_that_do_not_fit_are_noted(tmp_path):
    nodes, tensors = dequantise(np.tile(INTEGERS, (10, 1)), SCALE[:3])
    network = read(
        tmp_path, [*nodes, node("MatMul", ["x", "v"], ["z"], name="/other/M")], tensors | {"v": floats(5, 5)}
    )
    assert "fc" not in [layer.name for layer in network.layers]
    assert "not read" in reasons(network)["w"]


def test_weights_that_are_rounded_in_the_graph(tmp_path):
    weight, scale = floats(4, 5), np.float32(0.05)
    nodes = [
        node("QuantizeLinear", ["fc.weight", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    network = read(tmp_path, nodes, {"fc.weight": weight, "s": scale, "z": np.int8(0)})
    assert_only(network, (np.round(weight / scale).clip(-128, 127) * scale).T)
    assert set(reasons(network)) == {"s", "z"}


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zeros", ["none", "packed", "floats"])
def test_matmul_nbits(bits, zeros, tmp_path):
    """Numbers are packed by hand, as onnxruntime documents it: rows, blocks, the first number in the low bits."""
    rows, columns, block = 3, 40, 16  # the last block of each row is padded
    blocks, per_byte = 3, 8 // bits
    numbers = rng.integers(0, 2**bits, (rows, blocks, block))
    scale = np.abs(floats(rows, blocks)) + 0.1
    middle = np.full((rows, blocks), 2.0 ** (bits - 1))
    given, tensors = ["x", "w", "s"], {"w": pack(numbers, bits), "s": scale.flatten()}
    if zeros == "packed":
        middle = rng.integers(0, 2**bits, (rows, blocks))
        padded = np.zeros((rows, -(-blocks // per_byte) * per_byte), np.int64)
        padded[:, :blocks] = middle
        given, tensors["z"] = [*given, "z"], pack(padded, bits).flatten()
    elif zeros == "floats":
        middle = floats(rows, blocks)
        given, tensors["z"] = [*given, "z"], middle.flatten()
    sizes = {"K": columns, "N": rows, "bits": bits, "block_size": block}
    layer = node("MatMulNBits", given, ["y"], domain="com.microsoft", name="/fc/MatMul_Q4", **sizes)
    network = read(tmp_path, [layer], tensors, opsets=[MICROSOFT])
    assert_only(network, ((numbers - middle[..., None]) * scale[..., None]).reshape(rows, -1)[:, :columns])
    assert set(reasons(network)) == set(tensors) - {"w"}


def pack(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Packs numbers along the last axis into bytes."""
    per_byte = 8 // bits
    groups = numbers.reshape(*numbers.shape[:-1], -1, per_byte)
    return sum(groups[..., place] << (bits * place) for place in range(per_byte)).astype(np.uint8)


def test_matmul_nbits_that_is_not_read_is_noted(tmp_path):
    for settings in ({"bits": 3}, {"block_size": 0}, {"K": 10**9}):
        fields = {"K": 32, "N": 3, "bits": 4, "block_size": 16} | settings
        layer = node("MatMulNBits", ["x", "w", "s"], ["h"], domain="com.microsoft", **fields)
        nodes = [layer, node("MatMul", ["h", "v"], ["y"], name="/other/M")]
        tensors = {"w": np.zeros((3, 2, 8), np.uint8), "s": floats(6), "v": floats(3, 3)}
        network = read(tmp_path, nodes, tensors, opsets=[MICROSOFT])
        assert "fc" not in [layer.name for layer in network.layers]
        assert "not read" in reasons(network)["w"]


def test_quantised_attention_and_lstm(tmp_path):
    weight = rng.integers(-9, 9, (4, 12)).astype(np.int8)
    layer = node("QAttention", ["q", "w", "b", "xs", "s", "", "xz", "z"], ["y"], domain="com.microsoft", name="/attn/A")
    tensors = {"w": weight, "b": floats(12), "s": np.float32(0.5), "z": np.int8(1), **STATIC_VALUES}
    got = parts(read(tmp_path, [STATIC, layer], tensors, opsets=[MICROSOFT]))
    assert torch.equal(got["attn.query weight"], torch.from_numpy((weight[:, :4].T - np.float32(1)) * np.float32(0.5)))
    w, r = (rng.integers(-9, 9, (1, size, 12)).astype(np.int8) for size in (4, 3))
    given = ["x", "w", "r", "", "", "", "", "", "ws", "wz", "rs", "rz"]
    lstm = node("DynamicQuantizeLSTM", given, ["y"], domain="com.microsoft", name="/rnn/L", hidden_size=3)
    zeros = {"wz": np.zeros(1, np.int8), "rz": np.zeros(1, np.int8)}
    scales = {"ws": np.full(1, 0.5, np.float32), "rs": np.full((1, 12), 0.25, np.float32)}
    got = parts(read(tmp_path, [lstm], {"w": w, "r": r} | zeros | scales, opsets=[MICROSOFT]))
    assert torch.equal(got["rnn.l0.output weight"], torch.from_numpy(w[0, :, 3:6].T * np.float32(0.5)))
    assert torch.equal(got["rnn.l0.forget recurrent_weight"], torch.from_numpy(r[0, :, 6:9].T * np.float32(0.25)))
