"""One network in every form reads as the same layers with the same values."""

import json
import subprocess
import sys

import pytest
import torch
from checkpoint_files import WRITERS, branching, layout, same_values, write_safetensors
from safetensors.torch import save_file
from torch import nn

from sne.checkpoints import CheckpointError, StateDictTensors, read_network
from sne.checkpoints.formats import FORMATS, FileStart
from sne.networks import LayerType


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITERS)
def test_every_file_reads_as_its_module(name, tmp_path):
    module = branching()
    WRITERS[name](module, tmp_path / name)
    read, expected = read_network(tmp_path / name), read_network(module)
    assert layout(read) == layout(expected)
    assert same_values(read, expected)
    assert read.name == str(tmp_path / name)


@pytest.mark.filterwarnings("ignore")
def test_every_format_has_a_writer(tmp_path):
    """A new row in the table of formats needs a row in `WRITERS` of tests/checkpoint_files.py.

    ONNX, whose names differ, has tests of its own.
    """
    recognised = set()
    for name, write in WRITERS.items():
        write(branching(), tmp_path / name)
        start = FileStart.read(tmp_path / name)
        recognised.add(next(known.name for known in FORMATS if known.recognises(start)))
    assert recognised | {"ONNX"} == {known.name for known in FORMATS}


def test_module_and_state_dict_agree():
    module = branching()
    expected = read_network(module)
    assert expected.name == "Branching"
    assert [layer.type for layer in expected.layers] == [
        LayerType.CONV2D,
        LayerType.BATCH_NORM,
        LayerType.CONV_TRANSPOSE2D,
        LayerType.LINEAR,
        LayerType.LINEAR,
    ]
    for state in (module.state_dict(), {"state_dict": module.state_dict()}):
        assert read_network(state).layers == expected.layers
    assert read_network(module, name="mine").name == "mine"


def test_wrapper_says_what_it_left(tmp_path):
    state = {"ema": branching().state_dict(), "optimizer": {"m": torch.ones(2)}, "epoch": 3}
    torch.save(state, tmp_path / "a.pt")
    notes = {note.tensor: note.reason for note in read_network(tmp_path / "a.pt").notes}
    assert "state of the training" in notes["optimizer"]
    assert "int" in notes["epoch"]


def test_numpy_numbers_beside_the_weights_are_passed_over(tmp_path):
    import numpy as np

    module = torch.nn.Linear(3, 2)
    content = {"state_dict": module.state_dict(), "best": np.float64(0.7), "curve": np.arange(5.0), "epoch": 3}
    torch.save(content, tmp_path / "a.ckpt")
    network = read_network(tmp_path / "a.ckpt")
    assert torch.equal(network.source.load("weight"), module.weight)
    assert {"best", "curve", "epoch"} <= {note.tensor for note in network.notes}
    torch.save({"weight": np.ones((3, 3)), "x": np.array([None], dtype=object)}, tmp_path / "b.pt")
    network = read_network(tmp_path / "b.pt")
    assert network.source.load("weight").sum() == 9
    assert "numpy.ndarray" in {note.tensor: note.reason for note in network.notes}["x"]


def test_nested_state_dicts_are_joined():
    network = read_network({"encoder": nn.Linear(3, 4).state_dict(), "decoder": nn.Linear(4, 2).state_dict()})
    assert [layer.name for layer in network.layers] == ["encoder", "decoder"]


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_folder_of_shards(suffix, tmp_path):
    module = branching()
    state = module.state_dict()
    names = sorted(state)
    weight_map = {}
    for shard, keys in enumerate((names[:5], names[5:]), start=1):
        file = f"model-0000{shard}-of-00002.{suffix}"
        part = {key: state[key] for key in keys}
        save_file(part, tmp_path / file) if suffix == "safetensors" else torch.save(part, tmp_path / file)
        weight_map |= dict.fromkeys(keys, file)
    unindexed = read_network(tmp_path)
    assert layout(unindexed) == layout(read_network(module))
    index = tmp_path / f"model.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for source in (tmp_path, index):
        network = read_network(source)
        assert layout(network) == layout(read_network(module))
        assert same_values(network, read_network(module))
    (tmp_path / f"model-00002-of-00002.{suffix}").unlink()
    with pytest.raises(CheckpointError, match="1 of 2 shards are missing"):
        read_network(tmp_path)
    index.unlink()
    with pytest.raises(CheckpointError, match="1 of 2 shards are missing"):
        read_network(tmp_path)


def test_folder_with_one_file_prefers_safetensors(tmp_path):
    save_file(nn.Linear(2, 3).state_dict(), tmp_path / "model.safetensors")
    torch.save(nn.Linear(4, 5).state_dict(), tmp_path / "pytorch_model.bin")
    torch.save({"lr": 1}, tmp_path / "training_args.bin")
    assert read_network(tmp_path).layers[0].parts[0].shape == (3, 2)


def test_folder_prefers_the_weights_to_a_state_of_training(tmp_path):
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "pytorch_model.bin")
    torch.save({"step": torch.ones(1)}, tmp_path / "training_state.pt")
    assert read_network(tmp_path).layers[0].parts[0].shape == (3, 2)


def test_folder_without_or_with_several(tmp_path):
    with pytest.raises(CheckpointError, match=r"without a checkpoint; looked for .*safetensors"):
        read_network(tmp_path)
    for name in ("a.pt", "b.pt"):
        torch.save(nn.Linear(2, 3).state_dict(), tmp_path / name)
    with pytest.raises(CheckpointError, match=r"several checkpoints \(a.pt, b.pt\)"):
        read_network(tmp_path)


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2],
)
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_dtypes(dtype, suffix, tmp_path):
    weight = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    file = tmp_path / f"a.{suffix}"
    save_file({"fc.weight": weight}, file) if suffix == "safetensors" else torch.save({"fc.weight": weight}, file)
    network = read_network(file)
    assert network.source.infos["fc.weight"].dtype == str(dtype).removeprefix("torch.")
    loaded = network.source.load("fc.weight")
    assert loaded.dtype == (torch.float32 if "float8" in str(dtype) else dtype)
    assert torch.equal(loaded.float(), weight.float())
    assert network.read(network.layers[0].parts[0]).shape == (4, 5, 1)


@pytest.mark.parametrize("magic", [b"PK", b"MZ", b"\x80\x02"])
def test_header_length_that_looks_like_another_format(magic, tmp_path):
    length = int.from_bytes(magic, "little")
    header = json.dumps({"a.weight": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}}).encode()
    file = write_safetensors(tmp_path / "a", header.ljust(length), torch.tensor([1.0, 2.0]).numpy().tobytes())
    assert file.read_bytes().startswith(magic)
    assert read_network(file).source.load("a.weight").flatten().tolist() == [1, 2]


def test_tied_tensors_are_read_once(tmp_path):
    shared = torch.randn(7, 4)
    state = {"wte.weight": shared, "h.0.mlp.c_fc.weight": torch.randn(4, 4), "lm_head.weight": shared}
    torch.save(state, tmp_path / "a.pt")
    for source in (state, tmp_path / "a.pt"):
        network = read_network(source)
        assert [layer.name for layer in network.layers] == ["wte", "h.0.mlp.c_fc"]
        (note,) = network.notes
        assert note.tensor == "lm_head.weight"
        assert "wte.weight" in note.reason


def test_slices_of_one_storage_are_not_tied():
    whole = torch.randn(8, 4)
    network = read_network({"a.weight": whole[:4], "b.weight": whole[4:]})
    assert len(network.layers) == 2


def test_own_source_gives_hints_and_refuses_non_tensors():
    assert StateDictTensors({"a": torch.ones(2)}).read_stored("a").tolist() == [1, 1]
    with pytest.raises(CheckpointError, match=r"expected a tensor"):
        StateDictTensors({"a": 3})
    with pytest.raises(CheckpointError, match="meta device"):
        network = read_network(nn.Linear(2, 3, device="meta"))
        network.read(network.layers[0].parts[0])


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.blocks = nn.ModuleList([nn.Linear(6, 6, bias=True) for _ in range(2)])
        self.norm = nn.LayerNorm(6)
        self.fc = nn.Linear(6, 3)
        self.up = nn.Linear(4, 6, bias=False)

    def forward(self, x):
        x = self.up(self.bn1(self.conv1(x)).mean((2, 3)).unsqueeze(1))
        for block in self.blocks:
            x = torch.relu(block(x))
        return self.fc(self.norm(x))


@pytest.mark.filterwarnings("ignore")
def test_onnx(tmp_path):
    torch.manual_seed(0)
    module = Small().eval()
    args = {"training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False, "dynamo": False}
    torch.onnx.export(module, (torch.zeros(2, 1, 8, 8),), str(tmp_path / "a.onnx"), **args)
    read, expected = read_network(tmp_path / "a.onnx"), read_network(module)
    assert sorted(layout(read)) == sorted(layout(expected))
    assert same_values(read, expected)
    # Folded and numbered: the batch norm is gone, weights are named after their nodes and turned.
    torch.onnx.export(module, (torch.zeros(2, 1, 8, 8),), str(tmp_path / "b.onnx"), dynamo=False)
    network = read_network(tmp_path / "b.onnx")
    by_name = {layer.name: layer for layer in network.layers}
    assert {"conv1", "up", "blocks.0", "blocks.1", "norm", "fc"} == set(by_name)
    assert torch.equal(network.read(by_name["up"].parts[0])[..., 0], module.up.weight)


def test_onnx_external_and_quantised(tmp_path):
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    narrow = np.array([[1, -2], [3, 4], [5, 6]], dtype=np.int8)
    scale, zero = np.array([0.5, 2.0], dtype=np.float32), np.array([1, 0], dtype=np.int8)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "onnx::MatMul_1"], ["h"], name="/fc1/MatMul"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1),
            helper.make_node("MatMul", ["h", "w"], ["y"], name="/fc2/MatMul"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [
            numpy_helper.from_array(weight, "onnx::MatMul_1"),
            numpy_helper.from_array(narrow, "q"),
            numpy_helper.from_array(scale, "s"),
            numpy_helper.from_array(zero, "z"),
        ],
    )
    model = helper.make_model(graph)
    onnx.save(model, tmp_path / "a.onnx", save_as_external_data=True, location="a.data", size_threshold=0)
    network = read_network(tmp_path / "a.onnx")
    assert [layer.name for layer in network.layers] == ["fc1", "fc2"]
    read = [network.read(layer.parts[0])[..., 0] for layer in network.layers]
    assert torch.equal(read[0], torch.from_numpy(weight.T.copy()))
    assert torch.equal(read[1], torch.from_numpy(((narrow.astype(np.float32) - zero) * scale).T.copy()))
    (tmp_path / "a.data").unlink()
    with pytest.raises(CheckpointError, match=r"no file a\.data"):
        network.read(network.layers[0].parts[0])


def test_onnx_without_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_bytes(b"\x08\x07" + bytes(20))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CheckpointError, match=r"install the extra 'onnx': pip install"):
        read_network(tmp_path / "a.onnx")


def test_reading_safetensors_imports_no_other_format(tmp_path):
    save_file({"fc.weight": torch.ones(2, 3)}, tmp_path / "a.safetensors")
    program = (
        "import sys; from sne import read_network; read_network(sys.argv[1]); "
        "print(*(name.rpartition('.')[2] for name in sys.modules if name.startswith('sne.checkpoints.formats.')))"
    )
    run = [sys.executable, "-c", program, str(tmp_path / "a.safetensors")]
    imported = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
    assert {"contents", "foreign", "known", "safetensors_file"} == set(imported)
