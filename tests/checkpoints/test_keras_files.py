"""Files of Keras: torch computes with the weights that are read what Keras computes with its own."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn
from torch.nn import functional as F

from sne.checkpoints import CheckpointError, read_network
from sne.checkpoints.formats.keras_names import variable_names
from sne.networks import Layer, Network

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

NAMES = ["model.keras", "model.h5", "model.weights.h5"]


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A model with one layer of each kind, with weights that differ from one another, after a step of training."""
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, name="conv1")(x)
    x = layers.BatchNormalization(name="bn1", scale=False)(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = layers.SeparableConv2D(6, 3, name="separable")(x)
    x = layers.Conv2DTranspose(5, 2, name="up")(x)
    x = layers.GroupNormalization(5, name="group")(x)
    x = layers.Reshape((-1, 5))(x)
    x = layers.Conv1D(8, 3, name="conv1d")(x)
    x = layers.LayerNormalization(name="ln")(x)
    x = layers.MultiHeadAttention(2, 4, name="mha")(x, x)
    x = layers.Bidirectional(layers.LSTM(7, return_sequences=True), name="both")(x)
    x = layers.GRU(6, return_sequences=True, name="gru")(x)
    x = layers.SimpleRNN(5, name="rnn")(x)
    nested = keras.Sequential(
        [keras.Input((5,)), layers.Dense(9, name="inner"), layers.Dense(4, name="outer")], name="sub"
    )
    built = keras.Model(inputs, nested(x))
    built.compile("adam", "mse")
    built.train_on_batch(np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("f4"), np.zeros((2, 4), "f4"))
    rng = np.random.default_rng(1)
    built.set_weights([rng.uniform(0.5, 1.5, size=w.shape).astype("f4") for w in built.get_weights()])
    return built


@pytest.fixture(scope="module")
def networks(model, tmp_path_factory) -> dict[str, Network]:
    folder = tmp_path_factory.mktemp("keras")
    for name in NAMES:
        (model.save_weights if "weights" in name else model.save)(folder / name)
    return {name: read_network(folder / name) for name in NAMES}


def weights(network: Network, name: str) -> dict[str, torch.Tensor]:
    """The tensors of one layer of Keras in the form in which torch stores them."""
    source = network.source
    start = f"{name}."
    return {key.removeprefix(start): source.load(key) for key in source.infos if key.startswith(start)}


def of_keras(model: keras.Model, name: str, *values: torch.Tensor) -> torch.Tensor:
    return model.get_layer(name)(*values).detach()


def drawn(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("file", NAMES)
def test_convolutions(file, model, networks):
    network = networks[file]
    for name, channels in (("conv1", 3), ("depthwise", 4), ("up", 6)):
        x, held = drawn(2, 7, 7, channels), weights(network, name)
        turned = x.permute(0, 3, 1, 2)
        if name == "up":
            y = F.conv_transpose2d(turned, held["weight"], held["bias"])
        else:
            y = F.conv2d(turned, held["weight"], held["bias"], groups=channels if name == "depthwise" else 1)
        assert torch.allclose(y.permute(0, 2, 3, 1), of_keras(model, name, x), atol=1e-4)
    x = drawn(2, 9, 9, 8)
    held = weights(network, "separable")
    y = F.conv2d(x.permute(0, 3, 1, 2), held["depthwise.weight"], groups=8)
    y = F.conv2d(y, held["pointwise.weight"], held["pointwise.bias"]).permute(0, 2, 3, 1)
    assert torch.allclose(y, of_keras(model, "separable", x), atol=1e-3)
    x, held = drawn(2, 9, 5), weights(network, "conv1d")
    y = F.conv1d(x.transpose(1, 2), held["weight"], held["bias"]).transpose(1, 2)
    assert torch.allclose(y, of_keras(model, "conv1d", x), atol=1e-4)


@pytest.mark.parametrize("file", NAMES)
def test_recurrent_layers(file, model, networks):
    network = networks[file]
    x = drawn(2, 6, 8)
    modules = {"both": nn.LSTM(8, 7, bidirectional=True, batch_first=True), "gru": nn.GRU(14, 6, batch_first=True)}
    for name, module in (modules | {"rnn": nn.RNN(6, 5, batch_first=True)}).items():
        held = weights(network, name)
        state = {key: held.get(key, torch.zeros_like(value)) for key, value in module.state_dict().items()}
        module.load_state_dict(state)
        y = module(x)[0].detach()
        assert torch.allclose(y[:, -1] if name == "rnn" else y, of_keras(model, name, x), atol=1e-5)
        x = y


@pytest.mark.parametrize("file", NAMES)
def test_attention(file, model, networks):
    x, held = drawn(2, 5, 8), weights(networks[file], "mha")
    q, k, v = (F.linear(x, held[f"{n}.weight"], held[f"{n}.bias"]).view(2, 5, 2, 4).transpose(1, 2)
               for n in ("query", "key", "value"))  # fmt: skip
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 5, 8)
    y = F.linear(y, held["attention_output.weight"], held["attention_output.bias"])
    assert torch.allclose(y, of_keras(model, "mha", x, x), atol=1e-4)


def test_norms_without_a_scale_need_the_configuration(model, networks):
    batch_norm = model.get_layer("bn1")
    for name in ("model.keras", "model.h5"):
        held = weights(networks[name], "bn1")
        assert held.keys() == {"bias", "running_mean", "running_var"}
        assert np.allclose(held["running_var"].numpy(), batch_norm.moving_variance.numpy())
        assert np.allclose(held["bias"].numpy(), batch_norm.beta.numpy())
    notes = {note.tensor: note.reason for note in networks["model.weights.h5"].notes}
    assert {"bn1.vars_0", "bn1.vars_1", "bn1.vars_2"} <= notes.keys()


@pytest.mark.parametrize("file", NAMES)
def test_types_and_notes(file, networks):
    network = networks[file]
    kinds = {layer.name: layer.type.value for layer in network.layers}
    expected = {
        "conv1": "conv2d", "depthwise": "conv2d", "separable.pointwise": "conv2d", "up": "conv_transpose2d",
        "group": "group_norm", "conv1d": "conv1d", "ln": "layer_norm", "mha.query": "attention_query",
        "mha.attention_output": "attention_out", "both.l0_reverse.forget": "lstm", "gru.l0.reset": "gru",
        "sub.inner": "linear", "sub.outer": "linear",
    }  # fmt: skip
    assert expected.items() <= kinds.items()
    assert any("optimiser" in note.reason for note in network.notes)


def parts_of(layer: Layer) -> list[str]:
    return [part.role.value for part in layer.parts]


def test_layers_without_names_stand_in_the_order_of_the_configuration(tmp_path):
    """Names such as `layer_normalization` tell no place; blocks of a functional model are not mixed up."""
    inputs = keras.Input((10,))
    x = layers.Embedding(20, 8)(inputs)
    for _ in range(2):
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
        x = layers.LayerNormalization()(x + layers.Dense(8)(layers.Dense(16)(x)))
    keras.Model(inputs, layers.Dense(3)(x)).save(tmp_path / "a.keras")
    network = read_network(tmp_path / "a.keras")
    block = ["attention_key", "attention_query", "attention_value", "attention_out", "layer_norm"]
    block += ["linear", "linear", "layer_norm"]
    assert [layer.type.value for layer in network.layers] == ["embedding", *block * 2, "linear"]
    image = keras.Input((8, 8, 3))
    y = layers.BatchNormalization()(layers.Conv2D(4, 3)(image))
    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3)(y))
    keras.Model(image, layers.Dense(2)(layers.Flatten()(y))).save(tmp_path / "b.keras")
    kinds = [layer.type.value for layer in read_network(tmp_path / "b.keras").layers]
    assert kinds == ["conv2d", "batch_norm", "conv2d", "batch_norm", "linear"]


def test_embedding_and_half_precision(tmp_path):
    keras.utils.set_random_seed(0)
    stack = [keras.Input((4,)), layers.Embedding(20, 6, name="table"), layers.Dense(3, name="fc", use_bias=False)]
    built = keras.Sequential(stack)
    for layer in built.layers:
        layer.set_weights([w.astype("f4") for w in layer.get_weights()])
    built.save(tmp_path / "a.keras")
    network = read_network(tmp_path / "a.keras")
    assert [(layer.name, layer.type.value, parts_of(layer)) for layer in network.layers] == [
        ("table", "embedding", ["table"]),
        ("fc", "linear", ["weight"]),
    ]
    assert np.array_equal(network.source.load("fc.weight").numpy(), built.get_layer("fc").get_weights()[0].T)


def test_compressed_archive(model, networks, tmp_path):
    """File managers compress when they pack a .keras archive anew."""
    model.save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as old, zipfile.ZipFile(tmp_path / "b.keras", "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    again = read_network(tmp_path / "b.keras")
    assert again.layers == networks["model.keras"].layers
    assert torch.equal(again.source.load("gru.weight_hh_l0"), networks["model.keras"].source.load("gru.weight_hh_l0"))


def legacy(path, variables, *, names: bytes | None = None) -> None:
    """Writes weights as Keras 2 does: fixed-length names, `:0` after each variable."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in variables]
        for layer, arrays in variables.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{leaf}:0".encode() for leaf in arrays]
            for leaf, values in arrays.items():
                group[f"{layer}/{leaf}:0"] = values


def test_weights_of_keras_2(tmp_path):
    rng = np.random.default_rng(0)
    kernel, depthwise = rng.normal(size=(3, 3, 4, 8)), rng.normal(size=(3, 3, 8, 1))
    arrays = {
        "conv_a": {"kernel": kernel},
        "conv_b": {"depthwise_kernel": depthwise},
        "out": {"kernel": np.ones((8, 2))},
    }
    legacy(tmp_path / "a.h5", arrays)
    network = read_network(tmp_path / "a.h5")
    assert [layer.name for layer in network.layers] == ["conv_a", "conv_b", "out"]
    assert np.array_equal(network.source.load("conv_b.weight").numpy(), depthwise.transpose(2, 3, 0, 1))


def test_classes_tell_the_names_of_variables():
    assert variable_names("LayerNormalization", 1, {"scale": True, "center": False}) == ("gamma",)
    assert variable_names("LayerNormalization", 1, {}) is None
    assert variable_names("BatchNormalization", 2, {}) == ("moving_mean", "moving_variance")
    assert variable_names("Dense", 4, {}) is None
    assert variable_names("", 1, {}) is None


def test_configuration_that_lies_is_not_believed(tmp_path):
    """Names in config.json that are missing, nested or of the wrong type change nothing in the values."""
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 2), "f4")
        file["layers/dense/vars/1"] = np.ones(2, "f4")
        file["layers/dense/vars"].attrs["name"] = "fc"
    nested: dict = {"class_name": "Sequential", "config": {"layers": []}}
    for _ in range(200):
        nested = {"class_name": "Sequential", "config": {"layers": [nested], "name": "x" * 10}}
    for config in ({"class_name": 3}, [], None, {"class_name": "Dense", "config": {"name": ["fc"]}}, nested):
        with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
            archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
            archive.writestr("config.json", json.dumps(config))
        network = read_network(tmp_path / "a.keras")
        assert network.source.infos["fc.weight"].shape == (2, 3)
    with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(100))
        archive.writestr("config.json", "{}")
    with pytest.raises(CheckpointError, match="HDF5"):
        read_network(tmp_path / "b.keras")


def test_weights_of_keras_1(tmp_path):
    """The names in the weights of VGG-16 and ResNet-50 that Keras still offers."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        kernel, matrix = (
            np.random.default_rng(0).normal(size=(3, 3, 3, 8)),
            np.random.default_rng(1).normal(size=(8, 4)),
        )
        held = {
            "conv1": {"conv1_W_1:0": kernel, "conv1_b_1:0": np.zeros(8)},
            "bn": {f"bn_{name}:0": np.ones(8) for name in ("gamma", "beta", "running_mean", "running_std")},
            "fc1": {"fc1_W_1:0": matrix, "fc1_b_1:0": np.zeros(4)},
        }
        file.attrs["layer_names"] = [name.encode() for name in held]
        for layer, variables in held.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in variables]
            for name, values in variables.items():
                group[name] = values
    network = read_network(tmp_path / "a.h5")
    kinds = {layer.name: layer.type.value for layer in network.layers}
    assert kinds == {"conv1": "conv2d", "bn": "batch_norm", "fc1": "linear"}
    assert np.array_equal(network.source.load("conv1.weight").numpy(), kernel.transpose(3, 2, 0, 1))
    assert np.array_equal(network.source.load("fc1.weight").numpy(), matrix.T)


def test_weights_of_transformers_for_tensorflow(tmp_path):
    """Lists are written as `layer_._0`, and the model's own name stands before each path."""
    arrays: dict[str, np.ndarray] = {"embeddings/word_embeddings/weight": np.ones((20, 8))}
    for block in range(2):
        for name in ("query", "key", "value"):
            arrays[f"encoder/layer_._{block}/attention/self/{name}/kernel"] = np.full((8, 8), block, "f4")
        arrays[f"encoder/layer_._{block}/intermediate/dense/kernel"] = np.ones((8, 32))
    with h5py.File(tmp_path / "tf_model.h5", "w") as file:
        file.attrs["layer_names"] = [b"bert"]
        group = file.create_group("bert")
        group.attrs["weight_names"] = [f"tf_bert_model/bert/{name}:0".encode() for name in arrays]
        for name, values in arrays.items():
            group[f"tf_bert_model/bert/{name}:0"] = values
    network = read_network(tmp_path / "tf_model.h5")
    assert "bert.encoder.layer.1.attention.self.query" in {layer.name for layer in network.layers}
    assert network.source.infos["bert.encoder.layer.0.intermediate.dense.weight"].shape == (32, 8)
