"""Indexes that point elsewhere, and ONNX files that do."""

import json
import os

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


def write_index(folder, shard="one.safetensors"):
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a.weight": shard}}))


def test_shard_that_is_a_link_out_of_the_folder(tmp_path):
    save_file({"a.weight": torch.ones(2, 2)}, tmp_path / "secret.safetensors")
    write_index(tmp_path / "model")
    (tmp_path / "model" / "one.safetensors").symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(CheckpointError, match=r"'one.safetensors' is a link to a file of another folder"):
        read_network(tmp_path / "model")


def test_folder_that_is_a_link_out_of_the_folder(tmp_path):
    (tmp_path / "other").mkdir()
    save_file({"a.weight": torch.ones(2, 2)}, tmp_path / "other" / "one.safetensors")
    write_index(tmp_path / "model", "inner/one.safetensors")
    (tmp_path / "model" / "inner").symlink_to(tmp_path / "other")
    with pytest.raises(CheckpointError, match="is a link to a file of another folder"):
        read_network(tmp_path / "model")


def test_folder_of_links_into_one_other_folder(tmp_path):
    """Caches of the Hugging Face hub keep the files of a repository under other names, and link to them."""
    write_index(tmp_path / "blobs")
    save_file({"a.weight": torch.ones(2, 2)}, tmp_path / "blobs" / "a1b2")
    (tmp_path / "blobs" / "model.safetensors.index.json").rename(tmp_path / "blobs" / "c3d4")
    snapshot = tmp_path / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "one.safetensors").symlink_to("../../blobs/a1b2")
    (snapshot / "model.safetensors.index.json").symlink_to("../../blobs/c3d4")
    assert read_network(snapshot).num_weights == 4


@pytest.mark.parametrize("link", ["nowhere", "one.safetensors", "/dev/zero", "."])
def test_links_to_nothing_that_can_be_read(link, tmp_path):
    write_index(tmp_path / "model")
    (tmp_path / "model" / "one.safetensors").symlink_to(link)
    with pytest.raises(CheckpointError, match="1 of 1 shards are missing"):
        read_network(tmp_path / "model")
    with pytest.raises(CheckpointError):
        read_network(tmp_path / "model" / "one.safetensors")


def test_pipe_in_a_folder(tmp_path):
    """Opening a pipe would wait for a writer without end."""
    os.mkfifo(tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(CheckpointError):
            read_network(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"n_head": ' + "1" * 6000 + "}",
        '{"n_head": 1e400, "n_embd": NaN}',
        '{"n_head": ' + "1" * 400 + ', "num_key_value_heads": ' + "9" * 400 + "}",
        '{"n_head": 2, "n_head": 3}',
        '{"a": ' + "[" * 100_000,
        '{"n_head": [], "quantization_config": [], "model_type": {}, "head_dim": "x", "weight_block_size": "ab"}',
        '{"n_head": -1, "quantization_config": {"quant_method": [], "weight_block_size": [0, -5, 1e9]}}',
        "[]",
        "\x00",
    ],
)
def test_config_that_is_hostile(text, tmp_path):
    """A damaged config.json is as good as none: the network is read."""
    state = {"h.0.attn.c_attn.weight": torch.ones(4, 12), "h.0.attn.c_proj.weight": torch.ones(4, 4)}
    state |= {"fc.weight": torch.ones(4, 4).to(torch.float8_e4m3fn), "fc.weight_scale_inv": torch.ones(1, 1)}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    network = read_network(tmp_path)
    assert sum(network.read(part).numel() for _, part in network.parts()) >= 64


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
