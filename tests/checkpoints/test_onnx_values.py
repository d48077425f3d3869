"""Every element type of ONNX in every field that may hold it, and values outside the model."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_models import floats, node, parts, read, save

from sne import CheckpointError, read_network

TYPES = TensorProto.DataType.items()
UNREAD = {"UNDEFINED", "STRING", "FLOAT6E2M3", "FLOAT6E3M2"}
GEMM = [node("Gemm", ["x", "fc.weight"], ["y"], transB=1)]
QUANTISED = [node("DequantizeLinear", ["q", "s"], ["w"]), node("Gemm", ["x", "w"], ["y"], transB=1, name="/fc/Gemm")]


def stored(kind: int, *, raw: bool) -> tuple[onnx.TensorProto, np.ndarray]:
    """A tensor [3, 4] of a type, and its values as onnx itself decodes them."""
    values = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1]) if kind == TensorProto.BOOL else np.arange(12) % 4
    tensor = helper.make_tensor("t", kind, (3, 4), values.astype(np.float32) if kind != 15 else values * (1 + 2j))
    if raw:
        array = numpy_helper.to_array(tensor)
        tensor = numpy_helper.from_array(array, "t")
        assert tensor.data_type == kind and tensor.raw_data
    return tensor, numpy_helper.to_array(tensor)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("name", [name for name, _ in TYPES if name not in UNREAD])
def test_every_type_in_both_fields(name, raw, tmp_path):
    from sne.checkpoints.formats.onnx_graph.values import TYPES as READ
    from sne.checkpoints.formats.onnx_graph.values import DenseLeaf

    kind = TensorProto.DataType.Value(name)
    tensor, expected = stored(kind, raw=raw)
    got = DenseLeaf(tmp_path / "a.onnx", tensor, "t").read()
    assert got.dtype == READ[kind].loaded
    got = got if got.is_complex() else got.to(torch.float64)
    assert got.tolist() == expected.astype(np.complex128 if got.is_complex() else np.float64).tolist()


@pytest.mark.parametrize("name", ["INT4", "UINT4", "INT2", "UINT2", "INT8", "UINT8", "INT16", "UINT16"])
def test_negative_and_largest_integers(name, tmp_path):
    kind = TensorProto.DataType.Value(name)
    bits = int(name.removeprefix("U").removeprefix("INT"))
    low, high = (0, 2**bits - 1) if name[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    values = np.array([[low, high, 0], [1, high, low]])
    tensors = {"q": helper.make_tensor("q", kind, (2, 3), values.flatten()), "s": np.float32(0.5)}
    network = read(tmp_path, QUANTISED, tensors)
    assert torch.equal(parts(network)["fc weight"], torch.tensor(values * 0.5, dtype=torch.float32))


@pytest.mark.parametrize("name", ["BFLOAT16", "FLOAT16", "DOUBLE", "FLOAT8E4M3FN", "FLOAT8E5M2", "FLOAT8E4M3FNUZ"])
def test_floats_keep_their_values(name, tmp_path):
    kind = TensorProto.DataType.Value(name)
    tensor = helper.make_tensor("fc.weight", kind, (2, 3), [-1.5, 0.25, 3.0, -0.125, 1e-2, 7.0])
    network = read(tmp_path, GEMM, {"fc.weight": tensor})
    expected = torch.tensor(numpy_helper.to_array(tensor).astype(np.float32))
    assert torch.equal(parts(network)["fc weight"], expected)


def test_exponents_alone(tmp_path):
    tensor = TensorProto(name="s", dims=[3], data_type=TensorProto.FLOAT8E8M0, raw_data=bytes([126, 127, 130]))
    network = read(tmp_path, [node("DequantizeLinear", ["q", "s"], ["w"], axis=0), QUANTISED[1]],
                   {"q": np.ones((3, 2), np.int8), "s": tensor})  # fmt: skip
    assert parts(network)["fc weight"][:, 0].tolist() == [0.5, 1.0, 8.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.dims.__setitem__(0, 10**12), r"needs \d+ bytes, has 24"),
        (lambda t: t.dims.__setitem__(0, -2), "negative shape"),
        (lambda t: setattr(t, "raw_data", t.raw_data[:-1]), "needs 24 bytes, has 23"),
        (lambda t: setattr(t, "data_type", 99), "element type that is not read: number 99"),
        (lambda t: setattr(t, "data_type", TensorProto.FLOAT6E2M3), "FLOAT6E2M3"),
        (lambda t: t.segment.__setattr__("begin", 1), "segments"),
        (lambda t: t.ClearField("raw_data"), "values of float_data, has 0"),
        (lambda t: setattr(t, "name", "x" * 3) or t.dims.append(3), "needs 72 bytes"),
    ],
)
def test_tensors_that_are_not_whole(change, message, tmp_path):
    tensor = numpy_helper.from_array(floats(2, 3), "fc.weight")
    change(tensor)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, GEMM, {"fc.weight": tensor})


def test_bits_outside_their_type(tmp_path):
    tensor = TensorProto(name="fc.weight", dims=[1, 2], data_type=TensorProto.FLOAT16, int32_data=[1, 70_000])
    network = read(tmp_path, GEMM, {"fc.weight": tensor})
    with pytest.raises(CheckpointError, match="outside the range of float16"):
        network.source.load("fc.weight")


def test_strings_are_noted(tmp_path):
    words = helper.make_tensor("words", TensorProto.STRING, (2,), [b"a", b"b"])
    network = read(tmp_path, GEMM, {"fc.weight": floats(2, 3), "words": words})
    assert [note.reason for note in network.notes] == ["strings, not weights"]


def external(tmp_path, **fields):
    tensor = TensorProto(name="fc.weight", dims=[2, 3], data_type=1, data_location=1)
    for key, value in fields.items():
        tensor.external_data.add(key=key, value=value)
    return read(tmp_path, GEMM, {"fc.weight": tensor})


def test_external_values(tmp_path):
    weight = floats(2, 3)
    (tmp_path / "a.data").write_bytes(bytes(8) + weight.tobytes())
    network = external(tmp_path, location="a.data", offset="8", length="24")
    assert torch.equal(parts(network)["fc weight"], torch.from_numpy(weight))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offset": "16"}, r"truncated: tensor 'fc.weight' ends at byte 40"),
        ({"length": "23"}, "needs 24 bytes, has 23"),
        ({"length": "24 "}, "has the length"),
        ({"offset": "-1"}, "has the offset"),
        ({"offset": "9" * 30}, "has the offset"),
        ({"location": "../a.data"}, "not a file of the same folder"),
        ({"location": "missing"}, "there is no file missing"),
        ({"location": "x" * 5000}, "there is no file xxx"),
        ({"location": "."}, "not a file of the same folder"),
    ],
)
def test_external_values_that_are_not_there(fields, message, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.data").write_bytes(bytes(32))
    network = external(tmp_path / "model", **{"location": "a.data"} | fields)
    with pytest.raises(CheckpointError, match=message):
        network.source.load("fc.weight")


def test_external_link_out_of_the_folder(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(24))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.data").symlink_to(tmp_path / "secret")
    network = external(tmp_path / "model", location="a.data")
    with pytest.raises(CheckpointError, match="a link to a file"):
        network.source.load("fc.weight")


def test_external_links_of_a_cache(tmp_path):
    """Hugging Face links both the model and its data to a folder of blobs."""
    weight = floats(2, 3)
    for folder in ("blobs", "snapshot"):
        (tmp_path / folder).mkdir()
    save(tmp_path / "blobs" / "m.onnx", GEMM, {"fc.weight": weight},
         save_as_external_data=True, location="d.data", size_threshold=0)  # fmt: skip
    (tmp_path / "snapshot" / "m.onnx").symlink_to(tmp_path / "blobs" / "m.onnx")
    (tmp_path / "snapshot" / "d.data").symlink_to(tmp_path / "blobs" / "d.data")
    network = read_network(tmp_path / "snapshot" / "m.onnx")
    assert torch.equal(parts(network)["fc weight"], torch.from_numpy(weight))


def test_sparse_tensors(tmp_path):
    values = numpy_helper.from_array(np.array([1.0, 2.0, 3.0], np.float32), "fc.weight")
    for indices in (np.array([0, 5, 7]), np.array([[0, 0], [1, 1], [1, 3]])):
        sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(indices, "i"), (2, 4))
        network = read(tmp_path, GEMM, {}, sparse=[sparse])
        assert parts(network)["fc weight"].tolist() == [[1, 0, 0, 0], [0, 2, 0, 3]]


@pytest.mark.parametrize(
    ("indices", "dims", "message"),
    [
        ([0, 5, 8], (2, 4), "outside its shape"),
        ([0, 5, -1], (2, 4), "outside its shape"),
        ([0, 5], (2, 4), "do not fit"),
        ([0, 5, 7], (10**9, 10**9), "claims the shape"),
    ],
)
def test_sparse_tensors_that_do_not_fit(indices, dims, message, tmp_path):
    values = numpy_helper.from_array(np.ones(3, np.float32), "fc.weight")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array(indices), "i"), dims)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, GEMM, {}, sparse=[sparse]).source.load("fc.weight")
