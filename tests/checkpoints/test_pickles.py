"""Whatever torch, NumPy and trainers put into pickles is read with the values that it has in memory."""

import argparse
import collections
import datetime
import enum
import gzip
import io
import pathlib
import pickle
import pickletools
import subprocess
import sys
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import torch
from checkpoint_files import Branching, branching, layout, same_values, values, write_big_endian
from torch import nn

import sne
from sne.checkpoints import CheckpointError, open_source, read_network
from sne.checkpoints.described import InertObject
from sne.checkpoints.formats.pickles.opcodes import OPCODES, Execution
from sne.checkpoints.formats.torch_file import read_content
from sne.networks import LayerType


class Colour(enum.Enum):
    RED = 1


class Settings:
    def __init__(self):
        self.rate = 0.1
        self.inner = {"a": [1, 2]}


class Attributes(dict):
    def __getattr__(self, name):
        return self[name]


class Subclass(torch.Tensor):
    pass


OBJECTS = {
    "namespace": argparse.Namespace(lr=0.1, model="resnet"),
    "path": pathlib.PurePosixPath("data"),
    "date": datetime.datetime(2024, 1, 1),
    "counter": collections.Counter("abca"),
    "default": collections.defaultdict(list, a=[1]),
    "enum": Colour.RED,
    "object": Settings(),
    "set": {1, 2},
    "frozen": frozenset({"a"}),
    "complex": 3j,
    "ordered": collections.OrderedDict(a=1),
    "deque": collections.deque([1, 2], 3),
    "generator": np.random.default_rng(0),
    "text": np.array(["a", "b"]),
    "record": np.zeros(2, dtype=[("a", "f4"), ("b", "i8")]),
    "range": range(3),
    "dtype": torch.float16,
    "device": torch.device("cpu"),
    "size": torch.Size([1, 2]),
    "function": torch.relu,
    "class": nn.Linear,
    "bytes": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_beside_the_weights_are_noted(kind, is_zip, tmp_path):
    module = nn.Linear(3, 2)
    content = {"state_dict": module.state_dict(), "beside": OBJECTS[kind], "epoch": 3}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=is_zip)
    network = read_network(tmp_path / "a.pt")
    assert torch.equal(network.source.load("weight"), module.weight)
    assert {"beside", "epoch"} <= {note.tensor for note in network.notes}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_those_of_python(protocol, tmp_path):
    content = {
        "numbers": [0, 255, 256, -1, 2**31, -(2**40), 2**100, 0.5, float("inf"), True, None],
        "text": ["", "ä\n'\"\\", "x" * 300, b"", b"\xff" * 300],
        "nested": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[]], {"a": {}}),
        "shared": [shared := [1], shared],
        "scalar": np.float32(0.5),
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
    assert read_content(tmp_path / "a.pkl") == content


def test_the_method_of_an_opcode_has_its_name():
    refused = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}
    assert len(OPCODES) == len(pickletools.opcodes) - len(refused | {"STOP"})
    for opcode in pickletools.opcodes:
        if opcode.name not in refused | {"STOP"}:
            name = opcode.name.lower()
            method = getattr(Execution, name if hasattr(Execution, name) else f"{name}_")
            assert OPCODES[ord(opcode.code)] is method, opcode.name


def test_an_unknown_object_keeps_what_the_file_says(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": Settings(), "y": Attributes(a=1), "z": Colour.RED}))
    content = read_content(tmp_path / "a.pkl")
    assert isinstance(content["x"], InertObject)
    assert content["x"].class_name.endswith("Settings")
    assert content["x"].fields == {"rate": 0.1, "inner": {"a": [1, 2]}}
    assert content["y"] == {"a": 1}
    assert content["z"].args[-1] in (1, "RED")  # by value or, if a library has changed the class, by name


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f2", "<i8", ">i4", "u1", "?", "<c8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays(dtype, order, protocol, tmp_path):
    array = np.asarray(np.arange(12).reshape(3, 4) % 5, dtype=dtype, order=order)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"fc.weight": array}, protocol))
    expected = torch.from_numpy(array.real.astype(np.float64)).float()
    assert torch.equal(open_source(tmp_path / "a.pkl").load("fc.weight").float(), expected)


def test_a_long_array_is_not_read_when_the_file_is_opened(tmp_path):
    array = np.random.default_rng(0).standard_normal((300, 40))
    for protocol in (2, 4):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": {"fc.weight": array}}, protocol))
        assert np.array_equal(open_source(tmp_path / "a.pkl").load("fc.weight").numpy(), array)


EXOTIC = {
    "strided": lambda w: w[:, ::2].t(),
    "conjugate": lambda w: w.to(torch.complex64).conj(),
    "negative": lambda w: (w.to(torch.complex64) * 1j).conj().imag,
    "channels last": lambda w: w.view(2, 3, 2, 2).to(memory_format=torch.channels_last),
    "coo": lambda w: w.to_sparse(),
    "csr": lambda w: w.to_sparse_csr(),
    "csc": lambda w: w.to_sparse_csc(),
    "bsr": lambda w: w.to_sparse_bsr((2, 2)),
    "bsc": lambda w: w.to_sparse_bsc((2, 2)),
    "expanded": lambda w: w[:, :1].expand(4, 9),
    "parameter": nn.Parameter,
    "subclass": lambda w: w.as_subclass(Subclass),
    "empty": lambda w: w[:0],
    "float8": lambda w: w.to(torch.float8_e4m3fn),
    "uint16": lambda w: (w.abs() * 100).to(torch.uint16),
    "per tensor": lambda w: torch.quantize_per_tensor(w, 0.03, 2, torch.quint8),
    "per channel": lambda w: torch.quantize_per_channel(w, torch.rand(6) + 0.1, torch.arange(6), 1, torch.qint8),
    "float zeros": lambda w: torch.quantize_per_channel(w, torch.rand(4) + 0.1, torch.rand(4), 0, torch.quint8),
    "int32": lambda w: torch.quantize_per_tensor(w, 0.001, 0, torch.qint32),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("kind", EXOTIC)
def test_tensors_have_the_values_that_torch_gives_them(kind, is_zip, tmp_path):
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    tensor = EXOTIC[kind](weight * (weight > -0.5))
    torch.save({"fc.weight": tensor}, tmp_path / "a.pt", _use_new_zipfile_serialization=is_zip)
    expected = tensor.detach().as_subclass(torch.Tensor) if kind == "subclass" else tensor.detach()
    expected = expected.dequantize() if expected.is_quantized else expected
    expected = expected.to_dense() if expected.layout is not torch.strided else expected
    expected = (expected.resolve_conj().real if expected.is_complex() else expected.resolve_neg()).float()
    source = open_source(tmp_path / "a.pt")
    assert source.infos["fc.weight"].shape == expected.shape
    assert torch.equal(source.load("fc.weight").float(), expected)


class ListedScales:
    """A tensor quantised per channel, in the form of old versions of torch: scales and zero points are lists."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce_ex__(self, protocol):
        rebuild, args = self.tensor.__reduce_ex__(protocol)
        scheme, scales, zeros, axis = args[4]
        return rebuild, (*args[:4], (scheme, scales.tolist(), zeros.tolist(), axis), *args[5:])


@pytest.mark.filterwarnings("ignore")
def test_listed_scales_keep_their_precision(tmp_path):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 64, generator=generator)
    scales = torch.rand(64, generator=generator, dtype=torch.float64) + 0.1
    tensor = torch.quantize_per_channel(weight, scales, torch.arange(64), 1, torch.qint32)
    torch.save({"fc.weight": ListedScales(tensor)}, tmp_path / "a.pt")
    assert torch.equal(open_source(tmp_path / "a.pt").load("fc.weight"), tensor.dequantize())


@pytest.mark.filterwarnings("ignore")
def test_tensors_without_values_are_refused_by_name(tmp_path):
    nested = torch.nested.nested_tensor([torch.randn(2, 3), torch.randn(4, 3)])
    for tensor, reason in ((nested, "nested tensor"), (torch.empty(3, 3, device="meta"), "meta device")):
        torch.save({"fc.weight": tensor, "b.weight": torch.ones(2, 2)}, tmp_path / "a.pt")
        source = open_source(tmp_path / "a.pt")
        with pytest.raises(CheckpointError, match=rf"a\.pt: tensor 'fc\.weight' is .*{reason}"):
            source.load("fc.weight")
    torch.save({"fc.weight": nn.LazyLinear(2).weight, "b.weight": torch.ones(2, 2)}, tmp_path / "a.pt")
    notes = {note.tensor: note.reason for note in read_network(tmp_path / "a.pt").notes}
    assert "UninitializedParameter" in notes["fc.weight"]


def test_big_endian_archives(tmp_path):
    weight = torch.randn(3, 4)
    torch.save({"fc.weight": weight}, tmp_path / "a.pt")
    write_big_endian(tmp_path / "a.pt", tmp_path / "b.pt")
    assert torch.equal(torch.load(tmp_path / "b.pt")["fc.weight"], weight), "as torch reads it"
    assert torch.equal(open_source(tmp_path / "b.pt").load("fc.weight"), weight)


def test_storages_that_views_share(tmp_path):
    whole = torch.randn(10, 4)
    content = {"a.weight": whole[:4], "b.weight": whole[4:8].t(), "c.weight": whole, "d.weight": whole[:4]}
    for is_zip in (True, False):
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=is_zip)
        network = read_network(tmp_path / "a.pt")
        assert all(torch.equal(network.source.load(name), value) for name, value in content.items())
        assert [layer.name for layer in network.layers] == ["a", "b", "c"]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    assert torch.equal(open_source(tmp_path / "a.pkl").load("b.weight"), whole[4:8].t())


def test_weights_that_are_shared_with_permuted_axes(tmp_path):
    weight = torch.randn(6, 4)
    torch.save({"encoder.weight": weight, "decoder.weight": weight.t()}, tmp_path / "a.pt")
    network = read_network(tmp_path / "a.pt")
    assert {layer.name: layer.parts[0].shape for layer in network.layers} == {"encoder": (6, 4), "decoder": (4, 6)}
    (note,) = [note for note in network.notes if "permuted axes" in note.reason]
    assert (note.tensor, "'encoder.weight'" in note.reason) == ("decoder.weight", True)


class Whole(nn.Module):
    """Modules whose types names and shapes do not tell."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 4, 2)
        self.norm = nn.GroupNorm(2, 4)
        self.twice = nn.Linear(4, 4)
        self.again = self.twice
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("lost", torch.ones(3), persistent=False)
        self.register_parameter("none", None)
        self.anything = {"a": Settings()}


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"model": m, "epoch": 3}, nn.DataParallel])
def test_a_whole_module_is_its_state_dict(is_zip, wrap, tmp_path):
    module = Whole()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(wrap(module), tmp_path / "a.pt", _use_new_zipfile_serialization=is_zip)
    network = read_network(tmp_path / "a.pt")
    prefix = "module." if wrap is nn.DataParallel else ""
    state = module.state_dict()
    assert [name.removeprefix(prefix) for name in network.source.infos] == list(state)
    assert all(torch.equal(network.source.load(prefix + name), value) for name, value in state.items())
    types = {layer.name.removeprefix(prefix): layer.type for layer in network.layers}
    assert types["up"] is LayerType.CONV_TRANSPOSE2D
    assert types["norm"] is LayerType.GROUP_NORM
    assert "twice" not in types, "tied"


def test_a_whole_module_reads_like_the_module_in_memory(tmp_path):
    torch.save(branching(), tmp_path / "a.pt")
    assert layout(read_network(tmp_path / "a.pt")) == layout(read_network(branching()))


PROGRAM = """
import sys, types, torch
from torch import nn
package = types.ModuleType("vanished")
class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
Detector.__module__, Detector.__qualname__ = "vanished", "Detector"
package.Detector = Detector
sys.modules["vanished"] = package
torch.manual_seed(0)
torch.save({"epoch": -1, "model": Detector().half(), "ema": None, "train_args": {"imgsz": 640}}, sys.argv[1])
"""


def test_modules_of_packages_that_are_not_installed(tmp_path):
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "a.pt")], check=True, timeout=60)
    network = read_network(tmp_path / "a.pt")
    assert [(layer.name, layer.type) for layer in network.layers] == [
        ("0", LayerType.CONV2D),
        ("1", LayerType.BATCH_NORM),
    ]
    assert network.source.infos["model.0.weight"].dtype == "float16"
    assert "vanished" not in sys.modules


def quantised() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
    return torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["state", "module", "script", "memory"])
def test_quantised_linear_layers(form, tmp_path):
    module = quantised()
    file = tmp_path / "a.pt"
    if form == "script":
        torch.jit.save(torch.jit.script(module), str(file))
    else:
        torch.save(module.state_dict() if form == "state" else module, file)
    network = read_network(module if form == "memory" else file)
    assert [layer.name for layer in network.layers] == ["0", "2"]
    for layer in network.layers:
        inner = module[int(layer.name)]
        expected = {"weight": inner.weight().dequantize(), "bias": inner.bias()}
        for part in layer.parts:
            assert torch.equal(network.read(part).reshape(expected[part.role].shape), expected[part.role].detach())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_bidirectional", [True, False])
def test_quantised_recurrent_layers(is_bidirectional, tmp_path):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.LSTM(8, 16, num_layers=2, bidirectional=is_bidirectional))
    module = torch.ao.quantization.quantize_dynamic(plain, {nn.LSTM}, dtype=torch.qint8)
    torch.save(module.state_dict(), tmp_path / "a.pt")
    source, expected = open_source(tmp_path / "a.pt"), plain.state_dict()
    assert set(source.infos) == set(expected)
    for name, value in expected.items():
        assert torch.allclose(source.load(name), value, atol=0.002), name


class Quantisable(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8 * 36, 10)

    def forward(self, x):
        return self.dequant(self.fc(torch.relu(self.conv(self.quant(x))).flatten(1)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["state", "trace", "whole"])
def test_statically_quantised_convolutions(form, tmp_path):
    torch.manual_seed(0)
    module = Quantisable().eval()
    module.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
    prepared = torch.ao.quantization.prepare(module)
    prepared(torch.randn(4, 3, 8, 8))
    converted = torch.ao.quantization.convert(prepared)
    if form == "state":
        torch.save(converted.state_dict(), tmp_path / "a.pt")
    elif form == "whole":
        torch.save(converted, tmp_path / "a.pt")
    else:
        torch.jit.save(torch.jit.trace(converted, torch.randn(1, 3, 8, 8)), str(tmp_path / "a.pt"))
    network = read_network(tmp_path / "a.pt")
    assert [(layer.name, layer.type) for layer in network.layers] == [
        ("conv", LayerType.CONV2D),
        ("fc", LayerType.LINEAR),
    ]
    weight = network.source.load("conv.weight")
    assert torch.equal(weight, converted.conv.weight().dequantize())
    assert any("scale and zero point" in note.reason for note in network.notes)


def archive_of(kind: str, content: bytes, file: pathlib.Path) -> None:
    if kind.startswith("tar"):
        with tarfile.open(file, "w:gz" if kind == "tar.gz" else "w") as archive:
            info = tarfile.TarInfo("folder/model_weights.ckpt")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    elif kind == "gz":
        file.write_bytes(gzip.compress(content))
    else:
        method = zipfile.ZIP_STORED if kind == "zip" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("data", "{}")
            archive.writestr("policy.pth", content)
            archive.writestr("policy.optimizer.pth", content)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "gz", "zip", "deflated zip"])
@pytest.mark.parametrize("form", ["state.pt", "legacy.bin", "plain.safetensors"])
def test_packed_checkpoints(kind, form, tmp_path):
    from checkpoint_files import WRITERS

    WRITERS[form](branching(), tmp_path / "a")
    archive_of(kind, (tmp_path / "a").read_bytes(), tmp_path / "packed")
    network = read_network(tmp_path / "packed")
    assert network.name == str(tmp_path / "packed")
    assert same_values(network, read_network(branching()))


def test_archives_of_several_checkpoints(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for seed in (0, 1):
            stream = io.BytesIO()
            torch.save(branching(seed).state_dict(), stream)
            archive.writestr(f"{seed}.pt", stream.getvalue())
    with pytest.raises(CheckpointError, match=r"2 checkpoints: 0\.pt, 1\.pt; select='0\.pt' reads the first"):
        read_network(tmp_path / "a.zip")
    network = read_network(tmp_path / "a.zip", select="1.pt")
    assert same_values(network, read_network(branching(1)))
    assert {note.tensor for note in network.notes if "another file" in note.reason} == {"0.pt"}


def test_the_temporary_file_goes_with_the_network(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    archive_of("gz", gzip.compress(b"no checkpoint at all, but long enough to be looked at" * 3), tmp_path / "a.gz")
    with pytest.raises(CheckpointError, match=r"a\.gz"):
        read_network(tmp_path / "a.gz")
    stream = io.BytesIO()
    torch.save(branching().state_dict(), stream)
    archive_of("gz", stream.getvalue(), tmp_path / "a.gz")
    network = read_network(tmp_path / "a.gz")
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    del network
    assert not list((tmp_path / "temporary").iterdir())


def test_a_recompressed_archive(tmp_path):
    torch.save(branching().state_dict(), tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert same_values(read_network(tmp_path / "b.pt"), read_network(branching()))


def test_reading_changes_nothing_in_the_file(tmp_path):
    torch.save({"fc.weight": torch.ones(4, 4)}, tmp_path / "a.pt")
    before = (tmp_path / "a.pt").read_bytes()
    read_network(tmp_path / "a.pt").source.load("fc.weight").zero_()
    assert (tmp_path / "a.pt").read_bytes() == before
    assert read_network(tmp_path / "a.pt").source.load("fc.weight").sum() == 16


def test_a_file_that_shrinks_is_an_error(tmp_path):
    torch.save({"fc.weight": torch.ones(400, 400)}, tmp_path / "a.pt")
    source = open_source(tmp_path / "a.pt")
    with (tmp_path / "a.pt").open("r+b") as stream:
        stream.truncate(1000)
    with pytest.raises(CheckpointError, match="truncated"):
        source.load("fc.weight")


def test_a_single_tensor_and_paddle(tmp_path):
    torch.save(torch.ones(2, 2), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="a single tensor"):
        read_network(tmp_path / "a.pt")
    content = {"linear_0.w_0": np.ones((2, 3)), "StructuredToParameterName@@": {"fc.weight": "linear_0.w_0"}}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match="PaddlePaddle"):
        read_network(tmp_path / "a.pkl")


def test_no_message_of_torch_reaches_a_user(tmp_path):
    torch.save({"x": Settings()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError) as error:
        sne.read_network(tmp_path / "a.pt")
    assert "weights_only" not in str(error.value)
    assert values(read_network(Branching()))
