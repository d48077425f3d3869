"""NumPy files: names of torch as they are, names of Flax and TensorFlow turned, objects and hostile headers."""

import io
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from sne.checkpoints import CheckpointError, read_network
from sne.networks import LayerType, Network


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def part(network: Network, name: str, role: str = "weight") -> torch.Tensor:
    return next(network.read(p) for layer, p in network.parts() if layer.name == name and p.role == role)


def vision_transformer(width: int = 8, heads: int = 2) -> dict[str, np.ndarray]:
    """The arrays of a ViT under the names of its authors' own files."""
    size = width // heads
    arrays = {"cls": drawn(1, 1, width), "Transformer/posembed_input/pos_embedding": drawn(1, 5, width)}
    arrays |= {"embedding/kernel": drawn(4, 4, 3, width), "embedding/bias": drawn(width)}
    arrays |= {"Transformer/encoder_norm/scale": drawn(width), "Transformer/encoder_norm/bias": drawn(width)}
    arrays |= {"head/kernel": drawn(width, 10), "head/bias": drawn(10)}
    for block in range(2):
        path = f"Transformer/encoderblock_{block}"
        attention = f"{path}/MultiHeadDotProductAttention_1"
        for name in ("query", "key", "value"):
            arrays |= {f"{attention}/{name}/kernel": drawn(width, heads, size) + block}
            arrays |= {f"{attention}/{name}/bias": drawn(heads, size)}
        arrays |= {f"{attention}/out/kernel": drawn(heads, size, width), f"{attention}/out/bias": drawn(width)}
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            arrays |= {f"{path}/{norm}/scale": drawn(width), f"{path}/{norm}/bias": drawn(width)}
        arrays |= {f"{path}/MlpBlock_3/Dense_0/kernel": drawn(width, 32), f"{path}/MlpBlock_3/Dense_0/bias": drawn(32)}
        arrays |= {
            f"{path}/MlpBlock_3/Dense_1/kernel": drawn(32, width),
            f"{path}/MlpBlock_3/Dense_1/bias": drawn(width),
        }
    return arrays


def test_a_vision_transformer_of_flax(tmp_path):
    arrays = vision_transformer()
    np.savez(tmp_path / "vit.npz", **arrays)
    network = read_network(tmp_path / "vit.npz")
    block = ["layer_norm", "attention_key", "attention_query", "attention_value", "attention_out", "layer_norm"]
    block += ["linear", "linear"]
    kinds = [layer.type.value for layer in network.layers]
    assert kinds[:3] == ["embedding", "conv2d", "position"]
    assert kinds[3:] == [*block * 2, "layer_norm", "linear"]
    assert not network.notes
    path = "Transformer.encoderblock_1.MultiHeadDotProductAttention_1"
    stored = arrays[path.replace(".", "/") + "/query/kernel"]
    assert np.array_equal(part(network, f"{path}.query")[..., 0].numpy(), stored.reshape(8, 8).T)
    stored = arrays[path.replace(".", "/") + "/out/kernel"]
    assert np.array_equal(part(network, f"{path}.out")[..., 0].numpy(), stored.reshape(8, 8).T)
    kernel = arrays["embedding/kernel"].transpose(3, 2, 0, 1).reshape(8, 3, 16)
    assert np.array_equal(part(network, "embedding").numpy(), kernel)


def test_variables_of_tensorflow(tmp_path):
    """TF-Slim names its parameters weights and biases; those of an optimiser stand beside them."""
    kernel, depthwise = drawn(3, 3, 4, 8), drawn(3, 3, 8, 1)
    arrays = {
        "net/conv1/weights": kernel, "net/conv1/biases": drawn(8), "net/conv1/weights/Adam": kernel,
        "net/conv1/BatchNorm/gamma": drawn(8), "net/conv1/BatchNorm/beta": drawn(8),
        "net/conv1/BatchNorm/moving_mean": drawn(8), "net/conv1/BatchNorm/moving_variance": drawn(8),
        "net/conv2/depthwise_weights": depthwise, "global_step": np.array(3),
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", **arrays)
    network = read_network(tmp_path / "a.npz")
    assert {layer.name: layer.type for layer in network.layers} == {
        "net.conv1": LayerType.CONV2D,
        "net.conv1.BatchNorm": LayerType.BATCH_NORM,
        "net.conv2": LayerType.CONV2D,
    }
    assert np.array_equal(part(network, "net.conv1").numpy(), kernel.transpose(3, 2, 0, 1).reshape(8, 4, 9))
    assert np.array_equal(part(network, "net.conv2").numpy(), depthwise.transpose(2, 3, 0, 1).reshape(8, 1, 9))
    assert {note.tensor for note in network.notes} == {"net.conv1.weights.Adam", "global_step"}


def test_kernels_of_mlx(tmp_path):
    """MLX has names of torch and stores [out, height, width, in], which shapes tell if kernels are square."""
    first, second = drawn(16, 5, 5, 3), drawn(32, 3, 3, 16)
    np.savez(tmp_path / "a.npz", **{"conv1.weight": first, "conv1.bias": drawn(16), "conv2.weight": second})
    network = read_network(tmp_path / "a.npz")
    assert np.array_equal(network.source.load("conv1.weight").numpy(), first.transpose(0, 3, 1, 2))
    assert {note.tensor for note in network.notes} >= {"conv1.weight", "conv2.weight"}


def test_names_of_torch_stay(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 5))
    np.savez(tmp_path / "a.npz", **{key: value.numpy() for key, value in module.state_dict().items()})
    network = read_network(tmp_path / "a.npz")
    assert torch.equal(network.source.load("2.weight"), module[2].weight.detach())


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", ">f8", "<i2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_types_and_orders(dtype, order, tmp_path):
    values = np.asarray(np.arange(24).reshape(4, 6), dtype=dtype, order=order)
    np.savez(tmp_path / "a.npz", **{"fc.weight": values, "fc.bias": np.zeros(4, np.float32)})
    np.save(tmp_path / "b.npy", values)
    loaded = read_network(tmp_path / "a.npz").source.load("fc.weight")
    assert np.array_equal(loaded.float().numpy(), values.astype(np.float32))
    if dtype != "<i2":
        assert np.array_equal(read_network(tmp_path / "b.npy").source.load("array").numpy(), values)


def test_objects_and_texts_are_noted(tmp_path):
    arrays = {"fc.weight": drawn(2, 3), "labels": np.array(["a", "b"]), "config": np.array({"a": 1}, dtype=object)}
    np.savez(tmp_path / "a.npz", **arrays, allow_pickle=True)
    network = read_network(tmp_path / "a.npz")
    assert {note.tensor for note in network.notes} >= {"labels", "config"}
    np.savez(tmp_path / "b.npz", params=arrays["config"], allow_pickle=True)
    np.save(tmp_path / "c.npy", arrays["config"], allow_pickle=True)
    for name in ("b.npz", "c.npy"):
        with pytest.raises(CheckpointError, match=r"Python objects|no weights"):
            read_network(tmp_path / name)


def member(header: bytes, values: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (member(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}\n"), "needs 4000000000000 bytes"),
        (member(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}\n", bytes(16)), "bytes|damaged"),
        (member(b"{'descr': '<f4', 'fortran_order': False, 'shape': " + b"(" * 900 + b"}\n"), "damaged header"),
        (member(b"{'descr': __import__('os'), 'fortran_order': False, 'shape': ()}\n"), "damaged header"),
        (b"\x93NUMPY\x09\x00" + bytes(60), "damaged header"),
    ],
)
def test_hostile_headers(content, reason, tmp_path):
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(CheckpointError, match=reason):
            read_network(tmp_path / name)


def test_bombs_and_bad_members(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.zeros(40_000_000, np.float32))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", stream.getvalue())
    network = read_network(tmp_path / "bomb.npz")
    with pytest.raises(CheckpointError, match="compressed far too well"):
        network.read(network.layers[0].parts[0])
    with zipfile.ZipFile(tmp_path / "bz.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.npy", b"x")
    with pytest.raises(CheckpointError, match="an unknown method"):
        read_network(tmp_path / "bz.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_values_that_do_not_fit_their_checksum_are_refused(save, tmp_path):
    arrays = {"0.weight": drawn(64, 48), "2.weight": drawn(10, 64)}
    save(tmp_path / "whole.npz", **arrays)
    whole = (tmp_path / "whole.npz").read_bytes()
    refused = 0
    for position in range(600, len(whole) - 600, 1999):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        (tmp_path / "damaged.npz").write_bytes(damaged)
        try:
            network = read_network(tmp_path / "damaged.npz")
            values = {p.tensor: network.read(p) for _, p in network.parts()}
        except CheckpointError:
            refused += 1
            continue
        assert all(np.array_equal(values[name].flatten(1).numpy(), array) for name, array in arrays.items())
    assert refused >= 5
    network = read_network(tmp_path / "whole.npz")
    assert all(np.array_equal(network.read(p).flatten(1).numpy(), arrays[p.tensor]) for _, p in network.parts())
