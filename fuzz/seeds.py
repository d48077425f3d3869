"""Files to start from: small ones of every format, written by the libraries that people write them with."""

import json
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import torch
from checkpoint_files import WRITERS, branching
from torch import nn

import sne
from fuzz.targets import TARGETS, pack
from sne.checkpoints.formats import FORMATS
from sne.checkpoints.formats.contents import FileStart
from sne.encoders import SetEncoder
from sne.predictors import TrainingSettings
from sne.symmetry import trace
from sne.zoo import Split, Zoo, ZooWriter

_MOST_BYTES = 200_000


def make_seeds(work: Path, more: Iterable[Path] = ()) -> dict[str, list[bytes]]:
    """Writes and collects the files to start from.

    Args:
        work: An empty folder to write to.
        more: Further files, and folders with files, such as those of a collection of odd checkpoints.

    Returns:
        Inputs by the name of their target; at least one for every target.
    """
    found: dict[str, list[bytes]] = defaultdict(list)
    for file in [*_write_formats(work / "formats"), *_write_onnx(work), *_files(more)]:
        name = format_of(file)
        if name is not None and file.stat().st_size <= _MOST_BYTES:
            found[name].append(file.read_bytes())
    found["folder"] = [pack(folder) for folder in _write_folders(work / "folders")]
    zoo = _write_zoo(work / "zoo")
    found["zoo"] = [pack(zoo)]
    found["predictor"] = [pack(folder) for folder in _write_predictors(work, zoo)]
    assert found.keys() == TARGETS.keys(), f"targets without seeds: {sorted(TARGETS.keys() - found.keys())}"
    return dict(found)


def format_of(file: Path) -> str | None:
    """Returns the name of the format that a file is recognised as; None if there is none."""
    try:
        start = FileStart.read(file)
        return next((known.name for known in FORMATS if known.recognises(start)), None)
    except sne.CheckpointError:
        return None


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]


def _write_formats(folder: Path) -> list[Path]:
    """Writes one small network in every way that the tests know."""
    folder.mkdir(parents=True)
    for name, write in WRITERS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(branching(), folder / name)
    return sorted(folder.iterdir())


def _write_onnx(folder: Path) -> list[Path]:
    """Writes a plain model, and one with weights in every other place that ONNX has for them."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save_model

    def tensor(name: str, *shape: int, kind: type = np.float32):
        return numpy_helper.from_array(np.arange(np.prod(shape), dtype=kind).reshape(shape), name)

    def save(name: str, nodes: list, tensors: list, **more) -> Path:
        graph = helper.make_graph(nodes, "g", [], [], tensors, **more)
        save_model(helper.make_model(graph), folder / name)
        return folder / name

    node, folder = helper.make_node, folder / "onnx"
    folder.mkdir()
    plain = [
        node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], name="/conv/Conv"),
        node(
            "BatchNormalization",
            ["a", *(f"bn.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var"))],
            ["b"],
        ),
        node("MatMul", ["b", "onnx::MatMul_1"], ["c"], name="/fc/MatMul"),
        node("Add", ["c", "fc.bias"], ["d"], name="/fc/Add"),
        node("Gemm", ["d", "onnx::Gemm_2", "out.bias"], ["e"], name="/out/Gemm", transB=1),
    ]
    tensors = [tensor("conv.weight", 2, 1, 3, 3), tensor("conv.bias", 2), tensor("onnx::MatMul_1", 2, 3)]
    tensors += [tensor(f"bn.{leaf}", 2) for leaf in ("weight", "bias", "running_mean", "running_var")]
    tensors += [tensor("fc.bias", 3), tensor("onnx::Gemm_2", 4, 3), tensor("out.bias", 4)]
    external = TensorProto(name="elsewhere.weight", data_type=1, dims=[2, 2], data_location=1)
    external.external_data.add(key="location", value="values.bin")
    branch = helper.make_graph(
        [node("MatMul", ["x", "inner.weight"], ["y"])], "then", [], [], [tensor("inner.weight", 2, 2)]
    )
    sparse = helper.make_sparse_tensor(tensor("sparse.weight", 2), tensor("places", 2, kind=np.int64), [2, 3])
    odd = [
        node("Constant", [], ["k"], value=tensor("constant", 3, 2)),
        node("MatMul", ["x", "k"], ["a"], name="/a/MatMul"),
        node("If", ["c"], ["b"], then_branch=branch, else_branch=branch),
        node("DequantizeLinear", ["q", "q_scale", "q_zero"], ["w"], axis=0),
        node("MatMul", ["b", "w"], ["d"]),
        node("LSTM", ["d", "W", "R", "B"], ["e"], hidden_size=2, name="/lstm/LSTM"),
        node("QLinearMatMul", ["d", "q_scale", "q_zero", "q", "q_scale", "q_zero", "q_scale", "q_zero"], ["f"]),
        node("MatMulNBits", ["f", "n", "n_scale"], ["g"], domain="com.microsoft", K=32, N=2, bits=4, block_size=32),
    ]
    more = [tensor("q", 4, 2, kind=np.int8), tensor("q_scale", 4), tensor("q_zero", 4, kind=np.int8)]
    more += [tensor("W", 1, 8, 2), tensor("R", 1, 8, 2), tensor("B", 1, 16), external]
    more += [tensor("n", 2, 1, 16, kind=np.uint8), tensor("n_scale", 2)]
    computed = [
        node("Transpose", ["A"], ["A1"], perm=[1, 0]),
        node("Reshape", ["A1", "shape"], ["A2"]),
        node("Slice", ["A2", "starts", "ends"], ["A3"]),
        node("Split", ["A"], ["B1", "B2"], axis=0, num_outputs=2),
        node("Concat", ["B1", "B2"], ["B3"], axis=1),
        node("ReduceL2", ["B3"], ["norm"], keepdims=1),
        node("Div", ["B3", "norm"], ["B4"]),
        node("Cast", ["B4"], ["B5"], to=TensorProto.FLOAT16),
        node("Unsqueeze", ["A", "starts"], ["C1"]),
        node("Gather", ["A", "starts"], ["C2"], axis=0),
        node("MatMul", ["x", "A3"], ["y1"]),
        node("MatMul", ["y1", "B5"], ["y2"]),
        node("Gemm", ["y2", "A", "C2"], ["y3"]),
        node("GRU", ["y3", "G", "R3", "B6"], ["y4"], hidden_size=2, linear_before_reset=1),
        node("ConvInteger", ["y4", "Q", "", "z"], ["y5"]),
        node("Scaled", ["y5", "A"], ["y6"], domain="local"),
    ]
    constants = [tensor("A", 4, 3), tensor("G", 1, 6, 3), tensor("R3", 1, 6, 2), tensor("B6", 1, 12)]
    constants += [
        tensor("shape", 2, kind=np.int64),
        tensor("starts", 1, kind=np.int64),
        tensor("ends", 1, kind=np.int64),
    ]
    constants += [tensor("Q", 2, 2, 3, 3, kind=np.uint8), tensor("z", 1, kind=np.uint8)]
    constants[4].raw_data = np.array([2, 6], dtype=np.int64).tobytes()
    constants[6].raw_data = np.array([2], dtype=np.int64).tobytes()
    inner = [node("Mul", ["w", "w"], ["s"]), node("MatMul", ["v", "s"], ["out"])]
    function = helper.make_function("local", "Scaled", ["v", "w"], ["out"], inner, [helper.make_opsetid("", 18)])
    graph = helper.make_graph(computed, "g", [], [], constants)
    save_model(helper.make_model(graph, functions=[function]), folder / "computed.onnx")
    odd_file = save("odd.onnx", odd, more, sparse_initializer=[sparse])
    return [save("plain.onnx", plain, tensors), odd_file, folder / "computed.onnx"]


def _write_folders(folder: Path) -> list[Path]:
    """Writes a sharded network with an index, one without, and a single file beside its configuration."""
    from safetensors.torch import save_file

    shards = [{"a.weight": torch.ones(2, 3)}, {"b.weight": torch.ones(3, 2), "b.bias": torch.ones(3)}]
    names = [f"model-{number:05d}-of-00002.safetensors" for number in (1, 2)]
    folders = [folder / name for name in ("indexed", "shards", "single")]
    for one in folders:
        one.mkdir(parents=True)
    for one in folders[:2]:
        for name, tensors in zip(names, shards, strict=True):
            save_file(tensors, one / name)
    index = {"weight_map": dict(zip(("a.weight", "b.weight", "b.bias"), (*names, names[1]), strict=True))}
    (folders[0] / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"h.0.attn.c_attn.weight": torch.ones(4, 12)}, folders[2] / "model.safetensors")
    (folders[2] / "config.json").write_text('{"model_type": "gpt2", "n_head": 2, "n_embd": 4}')
    return folders


def _write_zoo(folder: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    with ZooWriter(folder) as writer:
        for number in range(8):
            network = nn.Sequential(nn.Linear(3, 2 + number % 2), nn.ReLU(), nn.Linear(2 + number % 2, 2))
            state = {key: torch.randn(value.shape, generator=generator) for key, value in network.state_dict().items()}
            symmetry = trace(network, (torch.zeros(1, 3),))
            writer.add(
                id=f"n{number}",
                run=f"r{number}",
                family="mlp",
                dataset="d",
                step=1,
                state=state,
                properties={"accuracy": number / 8},
                hyperparameters={"lr": 0.1, "optimizer": "adam"},
                symmetry=symmetry,
            )
    Split(("r0", "r1", "r2", "r3", "r4", "r5"), ("r6",), ("r7",)).save(folder / "split.json")
    return folder


def _write_predictors(folder: Path, zoo: Path) -> list[Path]:
    settings = TrainingSettings(experts=("forest", "linear", "boosting"), trees=2)
    sne.fit(Zoo.open(zoo), ["accuracy"], settings=settings, out=folder / "trees", progress=False)
    settings = TrainingSettings(experts=("neural",), epochs=1)
    encoder = partial(SetEncoder, dim=8, heads=2)
    sne.fit(Zoo.open(zoo), ["accuracy"], settings=settings, encoder=encoder, out=folder / "neural", progress=False)
    return [folder / "trees", folder / "neural"]
