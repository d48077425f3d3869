"""Files and folders in formats that are not read: the message names the format and what to do."""

import pickle

import numpy as np
import pytest

from sne.checkpoints import CheckpointError, read_network

FILES = {
    "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(99), r"a TensorFlow Lite model; .*tf2onnx.convert --tflite"),
    "model.ort": (b"\x18\0\0\0ORTM" + bytes(99), "ONNX Runtime model.*the .onnx file that it was made from"),
    "model.pte": (b"\x18\0\0\0ET12" + bytes(99), "an ExecuTorch program"),
    "model.mlmodel": (b"\x08\x04\x12" + bytes(99), "a Core ML model; .*coremltools"),
    "m.pdparams": (pickle.dumps({"linear_0.w_0": np.zeros((3, 3))}, 2), "PaddlePaddle parameters; .*transpose"),
    "m.pdiparams": (bytes(99), "a PaddlePaddle inference model; .*paddle2onnx"),
    "saved_model.pb": (b"\x08\x01\x12" + bytes(99), "a TensorFlow SavedModel; .*--saved-model"),
    "frozen.pb": (b"\n\x10" + bytes(99), "a TensorFlow graph; .*--graphdef"),
    "model.ckpt.index": (bytes(99), "a part of a TensorFlow checkpoint; .*tf.train.load_checkpoint"),
    "model.ckpt.data-00000-of-00001": (b"\x07" * 99, "a part of a TensorFlow checkpoint"),
    "resnet-0000.params": (b"\x12\x01" + bytes(99), "MXNet parameters; .*mx.nd.load"),
    "lenet.caffemodel": (b"\n\x07LeNet\0" + bytes(99), "a Caffe model"),
    "yolov3.weights": (b"\0\0\0\0\2\0\0\0\0\0\0\0" + bytes(99), "Darknet weights"),
    "ggml-model.bin": (b"lmgg" + bytes(99), "a ggml file, older than GGUF"),
    "model.param": (b"7767517\n75 83\n", "an ncnn model"),
    "model.engine": (b"ftrt" + bytes(99), "a TensorRT engine"),
    "model.rknn": (b"RKNN" + bytes(99), "an RKNN model"),
    "model.xml": (b'<?xml version="1.0"?><net name="a"/>', "an OpenVINO model"),
    "model.t7": (b"\4\0\0\0\1\0\0\0\3\0\0\0V 1" + bytes(99), "a Lua Torch file"),
    "weights.mat": (b"MATLAB 5.0 MAT-file" + bytes(99), "a MATLAB file; .*scipy.io.loadmat"),
    "model.rds": (b"\x1f\x8b" + bytes(99), "an R file"),
    "model.txt": (b"tree\nversion=v3\n", "a LightGBM model; it is no neural network"),
    "a.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
    "a.bin": (b"<!doctype html><html>404", "a web page instead of the file; .*download the file again"),
    "b.safetensors": (b'{"error":"Repository not found"}', "JSON text that begins with .*Repository not found"),
    "config.json": (b'{\n  "architectures": [', "JSON text .*name the file with the weights"),
    "access.pt": (b"Access to model is restricted.", "it seems to be text: 'Access to model is restricted.'"),
    "model.xz": (b"\xfd7zXZ" + bytes(99), "xz data; decompress it: unxz FILE"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files(name, tmp_path):
    content, reason = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_network(tmp_path / name)
    assert "weights_only" not in str(caught.value)


FOLDERS = {
    "a TensorFlow SavedModel": ["saved_model.pb", "variables/variables.index"],
    "a Core ML package": ["Manifest.json", "Data/com.apple.CoreML/model.mlmodel"],
    "an Orbax checkpoint": ["_METADATA", "manifest.ocdbt", "d/0"],
    "a TensorFlow checkpoint": ["checkpoint", "ckpt-1.data-00000-of-00001", "ckpt-1.index"],
    "a distributed checkpoint of torch": [".metadata", "__0_0.distcp"],
    "a PaddlePaddle model": ["inference.pdiparams", "inference.pdmodel"],
}


@pytest.mark.parametrize("what", FOLDERS)
def test_folders(what, tmp_path):
    for name in FOLDERS[what]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(20))
    with pytest.raises(CheckpointError, match=f"the folder seems to be {what}"):
        read_network(tmp_path)


def test_names_alone_do_not_make_a_file_foreign(tmp_path):
    """Renamed torch files are read by their content."""
    import torch

    for name in ("renamed.t7", "renamed.weights", "renamed.params", "renamed.pb", "renamed.engine"):
        torch.save({"fc.weight": torch.ones(2, 3)}, tmp_path / name)
        assert read_network(tmp_path / name).num_weights == 6
