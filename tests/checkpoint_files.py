"""Networks and files that the reader tests share."""

import gzip
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import gguf
import h5py
import msgpack
import numpy as np
import torch
from old_torch_files import write_old_tar
from safetensors.torch import save_file
from torch import nn

from sne.networks import Network


class Branching(nn.Module):
    """A convolution, a norm, a transposed convolution and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 6, 2)
        self.fc = nn.Linear(6, 5)
        self.out = nn.Linear(5, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(torch.relu(self.bn1(self.conv1(x)))).mean((2, 3))
        return self.out(torch.relu(self.fc(x)))


def branching(seed: int = 0) -> Branching:
    torch.manual_seed(seed)
    return Branching().eval()


def layout(network: Network) -> list[Any]:
    """Everything of the layers but the names of the tensors."""
    return [
        (layer.name, layer.type, layer.level, [(p.role, p.arranged_shape) for p in layer.parts])
        for layer in network.layers
    ]


def values(network: Network) -> dict[tuple[str, str], torch.Tensor]:
    return {(layer.name, part.role): network.read(part) for layer, part in network.parts()}


def same_values(a: Network, b: Network) -> bool:
    first, second = values(a), values(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def write_big_endian(archive: Path, out: Path) -> None:
    """Writes a torch archive with float32 values as a machine of the other byte order does."""
    with zipfile.ZipFile(archive) as stored, zipfile.ZipFile(out, "w") as swapped:
        for name in stored.namelist():
            data = stored.read(name)
            if "/data/" in name:
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            swapped.writestr(name, b"big" if name.endswith("byteorder") else data)


def write_safetensors(path: Path, header: Any, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """The floating tensors of a module as NumPy arrays."""
    return {key: value.numpy() for key, value in module.state_dict().items() if value.is_floating_point()}


def write_gguf(tensors: dict[str, np.ndarray], path: Path, architecture: str = "none", kind: Any = None) -> None:
    """Writes arrays to a GGUF file, matrices in the given type if their rows are multiples of its block."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"] * 20)
    writer.add_array("some.numbers", list(range(40)))
    for name, values in tensors.items():
        if kind is not None and values.ndim > 1 and values.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0:
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def keras_arrays(module: nn.Module) -> dict[str, dict[str, np.ndarray]]:
    """The weights of `Branching` in the layout of Keras, by layer and variable."""
    found = arrays(module)
    norm = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    return {
        "conv1": {"kernel": found["conv1.weight"].transpose(2, 3, 1, 0), "bias": found["conv1.bias"]},
        "bn1": {name: found[f"bn1.{torch_name}"] for name, torch_name in norm.items()},
        "up": {"kernel": found["up.weight"].transpose(2, 3, 1, 0), "bias": found["up.bias"]},
        "fc": {"kernel": found["fc.weight"].T, "bias": found["fc.bias"]},
        "out": {"kernel": found["out.weight"].T},
    }


def write_keras_h5(module: nn.Module, path: Path) -> None:
    """Writes weights as Keras 2 does, each layer in a group, with the names of layers and variables as attributes."""
    layers = keras_arrays(module)
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = list(layers)
        for layer, variables in layers.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [f"{layer}/{name}:0" for name in variables]
            for name, values in variables.items():
                inner.create_dataset(f"{layer}/{name}:0", data=values, compression="gzip", shuffle=True)


def write_keras(module: nn.Module, path: Path) -> None:
    """Writes an archive as Keras 3 does: variables have numbers, and the configuration names the layers."""
    classes = {
        "conv1": ("Conv2D", "conv2d"), "bn1": ("BatchNormalization", "batch_normalization"), "fc": ("Dense", "dense"),
        "up": ("Conv2DTranspose", "conv2d_transpose"), "out": ("Dense", "dense_1"),
    }  # fmt: skip
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for layer, variables in keras_arrays(module).items():
            group = file.create_group(f"layers/{classes[layer][1]}/vars")
            group.attrs["name"] = layer
            for index, values in enumerate(variables.values()):
                group[str(index)] = values
    described = [{"class_name": classes[name][0], "config": {"name": name}} for name in keras_arrays(module)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": described}}))
        archive.writestr("model.weights.h5", stream.getvalue())


def flax_tree(tree: Any) -> Any:
    """A tree of arrays as `flax.serialization.to_bytes` packs it: extension type 1 holds shape, type and bytes."""
    if isinstance(tree, dict):
        return {key: flax_tree(value) for key, value in tree.items()}
    if not isinstance(tree, np.ndarray):
        return tree
    return msgpack.ExtType(1, msgpack.packb((tree.shape, tree.dtype.name, tree.tobytes())))


def write_flax(module: nn.Module, path: Path) -> None:
    """Writes the weights of `Branching` as Flax does, next to the state of an optimiser."""
    layers = keras_arrays(module)
    norm = layers.pop("bn1")
    params = layers | {"bn1": {"scale": norm["gamma"], "bias": norm["beta"]}}
    statistics = {"bn1": {"mean": norm["moving_mean"], "var": norm["moving_variance"]}}
    state = {"step": 3, "params": params, "opt_state": {"0": {"mu": params}}, "batch_stats": statistics}
    path.write_bytes(msgpack.packb(flax_tree(state)))


def write_exported(module: nn.Module, path: Path) -> None:
    program = torch.export.export(module, (torch.zeros(1, 3, 8, 8),))
    with path.open("wb") as stream:  # the name would have to end in .pt2
        torch.export.save(program, stream)


def as_bytes(module: nn.Module) -> bytes:
    """The content of a file with the state dict of a module."""
    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)
    return stream.getvalue()


WRITERS = {
    "state.pt": lambda m, p: torch.save(m.state_dict(), p),
    "wrapped.ckpt": lambda m, p: torch.save({"epoch": 3, "state_dict": m.state_dict(), "optimizer": {}}, p),
    "model_key.pth": lambda m, p: torch.save({"model": m.state_dict()}, p),
    "parallel.pt": lambda m, p: torch.save({f"module.{k}": v for k, v in m.state_dict().items()}, p),
    "compiled.pt": lambda m, p: torch.save({f"module._orig_mod.{k}": v for k, v in m.state_dict().items()}, p),
    "legacy.bin": lambda m, p: torch.save(m.state_dict(), p, _use_new_zipfile_serialization=False),
    "plain.safetensors": lambda m, p: save_file(m.state_dict(), p),
    "named_wrongly.pt": lambda m, p: save_file(m.state_dict(), p),
    "without_suffix": lambda m, p: save_file(m.state_dict(), p),
    "torch_without_suffix": lambda m, p: torch.save(m.state_dict(), p),
    "scripted.pt": lambda m, p: torch.jit.save(torch.jit.script(m), str(p)),
    "arrays.npz": lambda m, p: np.savez(p, **arrays(m)),
    "compressed.npz": lambda m, p: np.savez_compressed(p, **arrays(m)),
    "model.gguf": lambda m, p: write_gguf(arrays(m), p),
    "flax_model.msgpack": write_flax,
    "exported.pt2": write_exported,
    "model.keras": write_keras,
    "keras.h5": write_keras_h5,
    "packed.pt.gz": lambda m, p: p.write_bytes(gzip.compress(as_bytes(m))),
    "old_tar.pth": lambda m, p: write_old_tar({k: v for k, v in m.state_dict().items() if v.is_floating_point()}, p),
    "numpy.pkl": lambda m, p: p.write_bytes(pickle.dumps({"model": arrays(m)})),
    "whole.pt": lambda m, p: torch.save(m, p),
    "traced.pt": lambda m, p: torch.jit.save(torch.jit.trace(m, torch.zeros(1, 3, 8, 8)), str(p)),
}
"""Writers of a module to a file, at least one per format, by the name of the file."""
