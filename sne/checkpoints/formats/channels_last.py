"""Conventions of Flax, Keras, Haiku and TensorFlow: names and axes of their arrays, turned to those of torch.

Kernels are stored [positions..., in, out], norms as gamma and beta or scale and bias, recurrent layers with their gates
in one kernel. The same network then reads the same from a file of either side. `array_module.py` turns one module.

Source: keras.layers (3.15), flax.linen (0.12), docs of haiku; checked against outputs of their layers in the tests.
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from sne.checkpoints.formats.array_module import ArrayModule, Reading
from sne.checkpoints.formats.arrays import (
    ArrayTensors,
    StackedArray,
    StoredArray,
    as_stored,
    turned_dense,
    turned_inner,
)
from sne.checkpoints.remote.path import FilePath

_AUTOMATIC = re.compile(r"^(Dense|Embed|Conv|ConvTranspose|BatchNorm|LayerNorm|GroupNorm|RMSNorm)_\d+$")
_OPTIMISER = re.compile(
    r"^(adam(_[mv]|_1)?|Adam(_1)?|Momentum|RMSProp(_1)?|Adagrad|Adafactor|ExponentialMovingAverage|global_step"
    r"|beta[12]_power|opt_state|optimizer|optimizer_weights|opt)$"
)
_MLX = "a kernel whose shape is that of MLX, [out, height, width, in]; its axes are turned"
_STATE = "state of an optimiser, not a weight"


def is_channels_last(arrays: Mapping[str, StoredArray]) -> bool:
    """Whether arrays are named as Flax, Keras, Haiku or TensorFlow do, and not as torch does.

    Args:
        arrays: Arrays by path, components separated by "/".

    Example:
        >>> is_channels_last({"Dense_0/kernel": StoredArray("0", (3, 5), "float32")})
        True
    """
    leaves = {_leaf(path) for path, array in arrays.items() if len(array.shape) >= 1}
    if {"kernel", "recurrent_kernel", "depthwise_kernel", "moving_mean"} & leaves or {"weights", "biases"} <= leaves:
        return not any(re.search(r"[./]weight$", path) for path in arrays)
    return any("~" in path.split("/") for path in arrays) and "w" in leaves


def read_channels_last(arrays: Mapping[str, StoredArray], classes: Mapping[str, str] | None = None) -> Reading:
    """Turns arrays to the names and axes of torch.

    Args:
        arrays: Arrays by path, components separated by "/"; the last one names the parameter in its module.
        classes: Class of a module by its path, as far as known, such as "Conv2DTranspose".

    Example:
        >>> reading = read_channels_last({"fc/kernel": StoredArray("fc/kernel", (3, 5), "float32")})
        >>> reading.turned[0].info
        TensorInfo(name='fc.weight', shape=(5, 3), dtype='float32')
    """
    reading = Reading()
    modules: dict[str, dict[str, StoredArray]] = {}
    for path, array in arrays.items():
        components = path.split("/")
        if any(_OPTIMISER.match(component) for component in components):
            reading.notes[path.replace("/", ".")] = _STATE
            continue
        module = "/".join(component for component in components[:-1] if component != "~")
        leaves = modules.setdefault(module, {})
        if _leaf(path) in leaves:
            reading.notes[path.replace("/", ".")] = "a second array of this name; not read"
        else:
            leaves[_leaf(path)] = array
    _join_cells(modules, reading)
    out_first = _stores_out_first(modules)
    for path, leaves in modules.items():
        ArrayModule(path, leaves, modules, (classes or {}).get(path, _class_by_name(path)), out_first, reading).read()
    return reading


def mlx_kernels(arrays: Mapping[str, StoredArray]) -> frozenset[str]:
    """Finds kernels that are stored [out, height, width, in], as MLX does, next to names of torch.

    Args:
        arrays: Arrays by path.

    Returns:
        Paths of all weights of four axes, if each of them has its equal axes before the last one and some have no
        others; otherwise an empty set.

    Example:
        >>> shapes = {"conv1.weight": (16, 5, 5, 3), "conv2.weight": (32, 3, 3, 16)}
        >>> sorted(mlx_kernels({name: StoredArray(name, shape, "float32") for name, shape in shapes.items()}))
        ['conv1.weight', 'conv2.weight']
    """
    found = {path: array.shape for path, array in arrays.items() if len(array.shape) == 4 and path.endswith("weight")}
    fits = all(shape[1] == shape[2] for shape in found.values())
    return frozenset(found) if fits and any(shape[2] != shape[3] for shape in found.values()) else frozenset()


def open_arrays(
    file: FilePath,
    arrays: Mapping[str, StoredArray],
    read: Callable[[StoredArray], Tensor],
    notes: Mapping[str, str],
    *,
    read_range: Callable[[StoredArray, int, int], Tensor | None] | None = None,
) -> ArrayTensors:
    """Returns named arrays as tensors: turned if their names are those of Flax, Keras or TensorFlow, else as stored.

    Args:
        file: The file, for messages.
        arrays: Arrays by path, components separated by "/".
        read: Reads one array.
        notes: Reasons why other contents of the file are not read, by name.
        read_range: Reads a range of one array, see `ArrayTensors`.
    """
    if not is_channels_last(arrays):
        kernels = mlx_kernels(arrays)
        said = {**notes, **{path.replace("/", "."): _MLX for path in kernels}}
        stored = [
            (turned_inner if path in kernels else as_stored)(path.replace("/", "."), array)
            for path, array in arrays.items()
        ]
        return ArrayTensors(str(file), stored, read, read_range=read_range, notes=said)
    reading = read_channels_last(arrays)
    said = {**notes, **reading.notes}
    return ArrayTensors(str(file), reading.turned, read, read_range=read_range, hints=reading.hints, notes=said)


def _leaf(path: str) -> str:
    return path.rpartition("/")[2].split(":")[0]


def _class_by_name(path: str) -> str:
    """Returns the class that Flax writes into the names of modules without a name of their own."""
    match = _AUTOMATIC.match(path.rpartition("/")[2])
    return match[1] if match else ""


_CELLS = (
    (("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho")),
    (("ir", "iz", "in"), ("hr", "hz", "hn")),
    (("i",), ("h",)),
)
"""Modules of the gates of Flax's recurrent cells: of the inputs and of the state, in the order of torch."""


def _join_cells(modules: dict[str, dict[str, StoredArray]], reading: Reading) -> None:
    """Joins the gates of Flax's recurrent cells, which are modules of their own, and takes them out of `modules`."""
    parents = dict.fromkeys(path.rpartition("/")[0] for path in modules if "/" in path)
    for parent in parents:
        for cell in _CELLS:
            sides = [[modules.get(f"{parent}/{gate}", {}) for gate in gates] for gates in cell]
            kernels = [[leaves.get("kernel") for leaves in side] for side in sides]
            shapes = [{() if array is None else array.shape for array in side} for side in kernels]
            state = next(iter(shapes[1]))
            if any(len(found) != 1 for found in shapes) or len(state) != 2 or state[0] != state[1]:
                continue
            if len(inputs := next(iter(shapes[0]))) != 2 or inputs[1] != state[1]:
                continue
            stem = parent.replace("/", ".")
            for side, end in zip(sides, ("ih", "hh"), strict=True):
                weights = tuple(turned_dense("", leaves["kernel"]) for leaves in side)
                reading.turned.append(StackedArray(f"{stem}.weight_{end}_l0", weights))
                biases = [leaves.get("bias") for leaves in side]
                if any(bias is not None and bias.shape == state[:1] for bias in biases):
                    pieces = tuple(None if bias is None else as_stored("", bias) for bias in biases)
                    reading.turned.append(StackedArray(f"{stem}.bias_{end}_l0", pieces))
            for gates in cell:
                for gate in gates:
                    del modules[f"{parent}/{gate}"]


def _stores_out_first(modules: Mapping[str, Mapping[str, StoredArray]]) -> bool:
    """Whether layers named as in GPT-2 are stored [out, in]: those of Flax models in transformers are."""
    for path, leaves in modules.items():
        kernel = leaves.get("kernel")
        if path.endswith("c_attn") and kernel is not None and len(kernel.shape) == 2:
            return kernel.shape[0] > kernel.shape[1]
    return False
