"""Importing the Small CNN Zoo in its published layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sne.errors import ZooError
from sne.networks import TensorInfo
from sne.symmetry.by_name.known import ACTIVATIONS, Known
from sne.zoo.importing.contract import Checkpoint, Found, Tell, split_in
from sne.zoo.importing.tables import CsvTable, read_table, without_prefix
from sne.zoo.importing.weights import SymmetriesByName, Weights
from sne.zoo.store.columns import Value
from sne.zoo.store.layout import Layout, Slot

_FAMILY = "small_cnn"
_BLOCK = 4096  # rows that are converted at once


def find_small_cnn_zoo(source: Path, dataset: str | None, tell: Tell) -> Found:
    """Finds `weights.npy`, `layout.csv` and `metrics.csv.gz` in a folder, and `split.json` if there is one.

    Kernels are converted from TensorFlow's order (height, width, in, out) to torch's (out, in, height, width), and
    dense layers from (in, out) to (out, in). Tensors are called `layers.0.weight`, `layers.0.bias` and so on, as in
    the family `small_cnn`. A `modeldir` is a run. The data set is named after the folder unless `dataset` is given.

    Source: Unterthiner et al., "Predicting Neural Network Accuracy from Weights", arXiv 2002.11448, its data.
    Differs: nothing but order and names.
    """
    weights = _read_weights(source / "weights.npy")
    turned = _read_layout(source / "layout.csv", weights.shape[1])
    metrics = read_table(_find_metrics(source))
    _check_columns(metrics, "modeldir", "step")
    if len(metrics.rows) != len(weights):
        raise ZooError(f"{source}: weights.npy has {len(weights)} rows, metrics.csv.gz has {len(metrics.rows)}")
    runs, measured = metrics.text("modeldir"), metrics.columns([n for n in metrics.names if n != "modeldir"])
    steps = measured.pop("step").values
    infos = {slot.name: TensorInfo(slot.name, slot.shape, slot.dtype) for slot in turned.layout.slots}
    symmetries = SymmetriesByName(tell)

    @lru_cache(maxsize=1)  # rows are read in order
    def block(start: int) -> Float[Tensor, "rows weights"]:
        return torch.from_numpy(np.asarray(weights[start : start + _BLOCK])[:, turned.order]).to(torch.float32)

    def read(row: int) -> Checkpoint:
        run, step = runs[row], steps[row]
        if run is None or not isinstance(step, int):
            raise ZooError(f"{source}: row {metrics.rows[row]} of the metrics has no modeldir or step")
        properties, settings = without_prefix({name: column.values[row] for name, column in measured.items()})
        return Checkpoint(
            id=f"{run}@{step}",
            run=run,
            family=_FAMILY,
            dataset=dataset or source.resolve().name,
            step=step,
            weights=Weights(
                turned.layout,
                block(row - row % _BLOCK)[row % _BLOCK],
                symmetries.find(infos, _known(settings), str(source)),
            ),
            properties=properties,
            hyperparameters=settings,
        )

    return Found([partial(read, row) for row in range(len(weights))], split_in(source))


@dataclass(frozen=True)
class _Turned:
    """The layout in torch's order, and for each of its entries the column of `weights.npy` that holds it."""

    layout: Layout
    order: np.ndarray


def _known(settings: Mapping[str, Value]) -> Known:
    """Statements for symmetries: all networks are layers in sequence with one activation."""
    activation = settings.get("activation")
    return Known(activation=str(activation) if activation in ACTIVATIONS else None, is_sequential=True)


def _find_metrics(source: Path) -> Path:
    packed = source / "metrics.csv.gz"
    return packed if packed.exists() or not (source / "metrics.csv").exists() else source / "metrics.csv"


def _read_weights(path: Path) -> np.ndarray:
    try:
        weights = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ZooError(f"{path} cannot be read: {error}") from None
    if weights.ndim != 2 or weights.dtype not in (np.float16, np.float32, np.float64) or not len(weights):
        raise ZooError(f"{path}: expected floats [networks, weights], found {weights.dtype} {weights.shape}")
    return weights


def _read_layout(path: Path, num_weights: int) -> _Turned:
    """Reads the TensorFlow layout and converts it to torch's order."""
    table = read_table(path)
    _check_columns(table, "varname", "start_idx", "end_idx", "shape")
    starts, ends = table.column("start_idx").values, table.column("end_idx").values
    layers: dict[str, dict[str, np.ndarray]] = {}
    covered = 0
    for name, start, end, text in zip(table.text("varname"), starts, ends, table.text("shape"), strict=True):
        shape = _shape(text or "", path)
        if name is None or not isinstance(start, int) or not isinstance(end, int):
            raise ZooError(f"{path}: {name} has no start_idx or end_idx")
        if start != covered or end - start != int(np.prod(shape)):
            raise ZooError(f"{path}: {name} is at {start}..{end}, expected from {covered} on, shape {shape}")
        covered = end
        columns = np.arange(start, end).reshape(shape)
        layer, _, kind = name.rpartition("/")
        match kind.partition(":")[0], len(shape):
            case "kernel", 4:
                tensor, columns = "weight", columns.transpose(3, 2, 0, 1)
            case "kernel", 2:
                tensor, columns = "weight", columns.T
            case "bias", 1:
                tensor = "bias"
            case _:
                raise ZooError(f"{path}: {name} of shape {shape} is neither kernel nor bias of conv or dense")
        layers.setdefault(layer, {})[tensor] = columns
    if covered != num_weights:
        raise ZooError(f"{path} describes {covered} weights, weights.npy has {num_weights}")
    slots, orders, offset = [], [], 0
    for number, tensors in enumerate(layers.values()):
        for tensor in ("weight", "bias"):
            if tensor in tensors:
                columns = tensors[tensor]
                slots.append(Slot(f"layers.{number}.{tensor}", columns.shape, "float32", offset))
                orders.append(columns.reshape(-1))
                offset += columns.size
    return _Turned(Layout(tuple(slots)), np.concatenate(orders))


def _check_columns(table: CsvTable, *names: str) -> None:
    missing = [name for name in names if name not in table.names]
    if missing:
        raise ZooError(f"{table.path} has no column {missing[0]!r}")


def _shape(text: str, path: Path) -> tuple[int, ...]:
    """Returns a shape written as "(3, 3, 1, 16)"."""
    try:
        return tuple(int(part) for part in text.strip("()[] ").split(",") if part.strip())
    except ValueError:
        raise ZooError(f"{path}: shape {text!r} is not of the form (3, 3, 1, 16)") from None
