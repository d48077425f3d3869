"""Indexes that point elsewhere, and ONNX files that do."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sne.checkpoints import CheckpointError, read_network


@pytest.mark.parametrize("target", ["../secret.safetensors", "/etc/passwd", "a/../../x", "..", "C:\\x", "", 3, None])
def test_index_that_leaves_its_folder(target, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a.weight": torch.ones(2, 2)}, tmp_path / "secret.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a.weight": target}}))
    with pytest.raises(CheckpointError, match="not a file of the same folder"):
        read_network(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "no weight_map"),
        ('{"weight_map": {}}', "no weight_map"),
        ('{"weight_map": {"a": "x.bin", "a": "y.bin"}}', "'a' twice"),
        ('{"weight_map": {"b.weight": "one.safetensors"}}', "'b.weight' is not in its shard"),
    ],
)
def test_bad_index(text, message, tmp_path):
    save_file({"a.weight": torch.ones(2, 2)}, tmp_path / "one.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_network(tmp_path)


def test_one_tensor_in_two_shards(tmp_path):
    for shard in ("one", "two"):
        save_file(
            {"a.weight": torch.ones(2, 2), f"{shard}.weight": torch.ones(2, 2)},
            tmp_path / f"{shard}.safetensors",
        )
    index = {"weight_map": {"one.weight": "one.safetensors", "two.weight": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="in another shard"):
        read_network(tmp_path)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", ""])
def test_onnx_values_outside_its_folder(location, tmp_path):
    from onnx import TensorProto, helper, save_model

    (tmp_path / "secret").write_bytes(bytes(100))
    (tmp_path / "model").mkdir()
    tensor = TensorProto(name="fc.weight", data_type=1, dims=[2, 2], data_location=1)
    tensor.external_data.add(key="location", value=location)
    save_model(helper.make_model(helper.make_graph([], "g", [], [], [tensor])), tmp_path / "model" / "a.onnx")
    network = read_network(tmp_path / "model" / "a.onnx")
    with pytest.raises(CheckpointError, match="not a file of the same folder"):
        network.read(network.layers[0].parts[0])


def test_damaged_onnx(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\x08\x07" + b"\xff" * 50)
    with pytest.raises(CheckpointError, match="ONNX"):
        read_network(tmp_path / "a.onnx")
