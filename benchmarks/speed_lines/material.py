"""Zoos, predictors and files that the lines read. Everything is made once and kept in the work folder."""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from sne.predictors import Predictor
from sne.training import fit, preset_settings
from sne.zoo import Zoo, ZooWriter, split_by_run
from sne.zoo.store.layout import Layout, flatten

SMALL_CNN = {
    "layers.0.weight": (16, 1, 3, 3), "layers.0.bias": (16,),
    "layers.1.weight": (16, 16, 3, 3), "layers.1.bias": (16,),
    "layers.2.weight": (16, 16, 3, 3), "layers.2.bias": (16,),
    "layers.3.weight": (10, 16), "layers.3.bias": (10,),
}  # fmt: skip
"""The small CNN of Unterthiner et al., arXiv 2002.11448: 4,970 weights."""

Shapes = Mapping[str, tuple[int, ...]]


def once(path: Path, make: Callable[[Path], object]) -> Path:
    """Makes a file or folder unless it exists; an interrupted attempt is begun again."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"draft-{path.name}")
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)
        make(draft)
        draft.rename(path)
    return path


def small_cnn_zoo(work: Path, networks: int) -> Zoo:
    """Returns a zoo of small CNNs with random weights of many scales and a property that the scales determine."""

    def write(path: Path) -> None:
        layout = flatten({name: torch.zeros(shape) for name, shape in SMALL_CNN.items()})[0]
        generator = torch.Generator().manual_seed(0)
        runs = [f"run-{number // 4:06d}" for number in range(networks)]
        with ZooWriter(path, split=split_by_run(runs, seed=0)) as writer:
            for number in range(networks):
                vector, accuracy = _small_cnn(layout, generator)
                writer.add_flat(
                    id=f"cnn-{number:06d}", run=runs[number], family="small_cnn", dataset="random", step=number % 4,
                    layout=layout, vector=vector, properties={"test_accuracy": accuracy}, hyperparameters={},
                )  # fmt: skip

    return Zoo.open(once(work / f"small-cnns-{networks}", write))


def _small_cnn(layout: Layout, generator: torch.Generator) -> tuple[torch.Tensor, float]:
    scales = torch.rand(len(layout.slots), generator=generator)
    pieces = [
        torch.randn(slot.num_entries, generator=generator) * 10 ** (scale - 1.5)
        for slot, scale in zip(layout.slots, scales.tolist(), strict=True)
    ]
    noise = float(torch.randn((), generator=generator)) * 0.5
    return torch.cat(pieces), 1 / (1 + math.exp(-noise - 6 * float(scales.mean() - 0.5)))


def small_checkpoints(work: Path, count: int) -> Path:
    """Returns a folder of small CNNs, one safetensors file each."""

    def write(path: Path) -> None:
        from safetensors.torch import save_file

        path.mkdir()
        generator = torch.Generator().manual_seed(1)
        for number in range(count):
            tensors = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in SMALL_CNN.items()}
            save_file(tensors, path / f"cnn-{number:04d}.safetensors")

    return once(work / f"checkpoints-{count}", write)


def default_predictor(work: Path) -> Path:
    """Returns the folder of a predictor with all experts of the preset `default`: five members and 500 trees.

    It is trained in few epochs, which changes no time of a prediction.
    """

    def train(path: Path) -> None:
        settings = preset_settings("default", epochs=6)
        predictor = fit(small_cnn_zoo(work, 1200), ["test_accuracy"], settings=settings, start=None, progress=False)
        weights = {kind: shares["test_accuracy"] for kind, shares in predictor.expert_weights().items()}
        if set(weights) != set(settings.experts):
            raise RuntimeError(f"experts of the predictor have weights {weights}, expected {settings.experts}")
        predictor.save(path)

    return once(work / "default-predictor-of-one-scale", train)


def load_predictor(work: Path) -> Predictor:
    """Returns the predictor of `default_predictor`."""
    return Predictor.load(default_predictor(work))


def resnet50_shapes() -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of ResNet-50 as in torchvision, buffers of batch norms included."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> None:
        for entry in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{entry}"] = (width,)
        shapes[f"{name}.num_batches_tracked"] = ()

    shapes["conv1.weight"] = (64, 3, 7, 7)
    norm("bn1", 64)
    width_in = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            steps = ((width, width_in, 1), (width, width, 3), (4 * width, width, 1))
            for number, (rows, columns, side) in enumerate(steps, start=1):
                shapes[f"{name}.conv{number}.weight"] = (rows, columns, side, side)
                norm(f"{name}.bn{number}", rows)
            if not block:
                shapes[f"{name}.downsample.0.weight"] = (4 * width, width_in, 1, 1)
                norm(f"{name}.downsample.1", 4 * width)
            width_in = 4 * width
    shapes["fc.weight"], shapes["fc.bias"] = (1000, 2048), (1000,)
    return shapes


def llama_shapes(
    *, width: int, inner: int, layers: int, words: int, key_width: int, has_head: bool = False
) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of a Llama, as Hugging Face writes them."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (words, width)}
    for number in range(layers):
        name = f"model.layers.{number}"
        for projection, rows in (("q", width), ("k", key_width), ("v", key_width), ("o", width)):
            shapes[f"{name}.self_attn.{projection}_proj.weight"] = (rows, width)
        shapes[f"{name}.mlp.gate_proj.weight"] = (inner, width)
        shapes[f"{name}.mlp.up_proj.weight"] = (inner, width)
        shapes[f"{name}.mlp.down_proj.weight"] = (width, inner)
        shapes[f"{name}.input_layernorm.weight"] = (width,)
        shapes[f"{name}.post_attention_layernorm.weight"] = (width,)
    shapes["model.norm.weight"] = (width,)
    if has_head:
        shapes["lm_head.weight"] = (words, width)
    return shapes


LLAMA_1B = llama_shapes(width=2048, inner=8192, layers=16, words=128256, key_width=512)
"""Llama 3.2 1B: 1,235,814,400 weights, without an output head of its own."""

LLAMA_7B = llama_shapes(width=4096, inner=11008, layers=32, words=32000, key_width=4096, has_head=True)
"""Llama 2 7B: 6,738,415,616 weights."""

LLAMA_7B_FILE = "llama-7b.safetensors"
"""Name of a file of 13 GB that is made for one line and deleted after it."""


def num_weights(shapes: Shapes) -> int:
    """Returns the number of entries of all tensors."""
    return sum(math.prod(shape) for shape in shapes.values())


def weight_file(path: Path, shapes: Shapes, dtype: torch.dtype, seed: int = 0) -> Path:
    """Returns a safetensors file with normally distributed values, scaled by the width of each matrix.

    The values come from one block of 2^24 random numbers, read from another place for each piece, so that a file of
    13 GB is written in the time that the disk takes.
    """

    def write(draft: Path) -> None:
        block = torch.randn(1 << 24, generator=torch.Generator().manual_seed(seed))
        names = {torch.bfloat16: "BF16", torch.float32: "F32"}
        header, end = {}, 0
        for name, shape in shapes.items():
            is_counter = name.endswith("num_batches_tracked")
            begin, end = end, end + math.prod(shape) * (8 if is_counter else dtype.itemsize)
            header[name] = {
                "dtype": "I64" if is_counter else names[dtype], "shape": shape, "data_offsets": (begin, end),
            }  # fmt: skip
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        place = np.random.default_rng(seed)
        with draft.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name, shape in shapes.items():
                if name.endswith("num_batches_tracked"):
                    file.write((1000).to_bytes(8, "little"))
                    continue
                for piece in _values(name, shape, block, place):
                    file.write(piece.to(dtype).view(torch.uint8).numpy().data)

    return once(path, write)


def _values(
    name: str, shape: tuple[int, ...], block: torch.Tensor, place: np.random.Generator
) -> Iterator[torch.Tensor]:
    """Yields the values of a tensor in pieces."""
    left = math.prod(shape)
    scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.05
    while left:
        count = min(left, len(block) // 2)
        start = int(place.integers(len(block) - count + 1))
        values = block[start : start + count] * scale
        if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            values = 1 + values.abs()
        yield values
        left -= count
