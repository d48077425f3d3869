"""Conventions of Flax, Keras, Haiku and TensorFlow: names and axes of their arrays, turned to those of torch.

Kernels are stored [positions..., in, out], norms as gamma and beta or scale and bias, recurrent layers with their gates
in one kernel. The same network then reads the same from a file of either side.

Source: keras.layers (3.15), flax.linen (0.12), docs of haiku; checked against outputs of their layers in the tests.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod

from torch import Tensor

from sne.checkpoints.formats.arrays import (
    ArrayTensors,
    StackedArray,
    StoredArray,
    TurnedArray,
    as_stored,
    flattened,
    turned_dense,
    turned_depthwise,
    turned_inner,
    turned_kernel,
    turned_projection,
)
from sne.checkpoints.remote.path import FilePath
from sne.networks import Hint, LayerType

_TRANSPOSED = {3: LayerType.CONV_TRANSPOSE1D, 4: LayerType.CONV_TRANSPOSE2D, 5: LayerType.CONV_TRANSPOSE3D}
_CLASSES = {
    "Dense": LayerType.LINEAR, "Embedding": LayerType.EMBEDDING, "BatchNormalization": LayerType.BATCH_NORM,
    "LayerNormalization": LayerType.LAYER_NORM, "GroupNormalization": LayerType.GROUP_NORM,
    "RMSNormalization": LayerType.RMS_NORM, "BatchNorm": LayerType.BATCH_NORM, "LayerNorm": LayerType.LAYER_NORM,
    "GroupNorm": LayerType.GROUP_NORM, "RMSNorm": LayerType.RMS_NORM,
}  # fmt: skip
"""Layer types that the class of a module tells."""
_NORM_LEAVES = {
    "gamma": "weight", "scale": "weight", "beta": "bias", "bias": "bias", "offset": "bias",
    "moving_mean": "running_mean", "mean": "running_mean", "moving_variance": "running_var", "var": "running_var",
}  # fmt: skip
_KERNELS = ("kernel", "weights", "w")
_BIASES = ("bias", "biases", "b")
_AUTOMATIC = re.compile(r"^(Dense|Embed|Conv|ConvTranspose|BatchNorm|LayerNorm|GroupNorm|RMSNorm)_\d+$")
_PROJECTIONS_IN = re.compile(r"^(q|k|v|query|key|value)(_proj|_dense)?$")
_PROJECTIONS_OUT = re.compile(r"^(out|output|attention_output|output_dense|o|o_proj|out_proj)$")
_OPTIMISER = re.compile(
    r"^(adam(_[mv]|_1)?|Adam(_1)?|Momentum|RMSProp(_1)?|Adagrad|Adafactor|ExponentialMovingAverage|global_step"
    r"|beta[12]_power|opt_state|optimizer|optimizer_weights|opt)$"
)
_OUT_FIRST = re.compile(r"^(c_attn|c_fc|c_proj|q_attn)$")
_CELL = re.compile(r"(^|_)cells?(_\d+)?$")
_MLX = "a kernel whose shape is that of MLX, [out, height, width, in]; its axes are turned"
_STATE = "state of an optimiser, not a weight"
_STACKED = "several layers stacked in one array (nn.scan); not read"
_CUDNN = "a bias in the layout of CuDNN; read as other"
_CONV_RECURRENT = "a convolutional recurrent layer; its gates are not cut"


@dataclass
class Reading:
    """Arrays of another framework as tensors of torch.

    Args:
        turned: The tensors.
        hints: Hints by the name of a module or tensor.
        notes: Reasons why arrays are not read, by their name.
    """

    turned: list[TurnedArray | StackedArray] = field(default_factory=list)
    hints: dict[str, Hint] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


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
        _Module(path, leaves, modules, (classes or {}).get(path, _class_by_name(path)), out_first, reading).read()
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


@dataclass
class _Module:
    """The arrays of one module.

    Args:
        path: Path, components separated by "/".
        leaves: Arrays by name.
        modules: Arrays of all modules, by path.
        kind: Class of the module, empty if unknown.
        out_first: Whether layers named as in GPT-2 are stored [out, in].
        reading: Where the tensors go.
    """

    path: str
    leaves: dict[str, StoredArray]
    modules: Mapping[str, Mapping[str, StoredArray]]
    kind: str
    out_first: bool
    reading: Reading

    def read(self) -> None:
        """Adds the tensors of the module to the reading."""
        leaves, kind = self.leaves, self.kind
        if kind in _CLASSES:
            self._hint(_CLASSES[kind])
        if kind == "Normalization":
            for leaf in leaves:
                self.reading.notes[self._name(leaf)] = "statistics of the inputs, not a weight"
            return
        rest = dict(leaves)
        if "recurrent_kernel" in leaves:
            self._recurrent(rest)
        elif "depthwise_kernel" in leaves or "depthwise_weights" in leaves:
            self._depthwise(rest)
        elif name := next((name for name in _KERNELS if name in leaves and len(leaves[name].shape) >= 2), None):
            self._layer(rest.pop(name), rest)
        elif name := next((name for name in ("embedding", "embeddings") if name in leaves), None):
            table = rest.pop(name)
            self._hint(LayerType.EMBEDDING if len(table.shape) == 2 else None)
            self._add(as_stored(self._name("weight"), table))
        elif self._is_norm():
            for leaf in [leaf for leaf in _NORM_LEAVES if leaf in rest]:
                self._add(flattened(self._name(_NORM_LEAVES[leaf]), rest.pop(leaf)))
        for leaf, array in rest.items():
            is_token = leaf == "cls" and array.shape[:2] == (1, 1)
            is_row = leaf == "bias" and len(array.shape) == 2 and array.shape[0] == 1  # Conv1D of TensorFlow's GPT-2
            turn = flattened if is_row else as_stored
            self._add(turn(self._name("cls_token" if is_token else leaf), array))

    def _name(self, leaf: str) -> str:
        path = self.path.replace("/", ".")
        return f"{path}.{leaf}" if path else leaf

    def _add(self, array: TurnedArray) -> None:
        self.reading.turned.append(array)

    def _hint(self, kind: LayerType | None) -> None:
        if kind is not None:
            self.reading.hints[self.path.replace("/", ".")] = Hint(kind)

    def _is_norm(self) -> bool:
        leaves = self.leaves.keys() & _NORM_LEAVES.keys()
        has_pair = {"gamma", "beta"} <= leaves or {"scale", "bias"} <= leaves or {"scale", "offset"} <= leaves
        has_statistics = {"moving_mean", "moving_variance"} <= leaves or {"mean", "var"} <= leaves
        return has_pair or has_statistics or (bool(leaves) and self.kind in _CLASSES and "Norm" in self.kind)

    def _bias(self, rest: dict[str, StoredArray]) -> StoredArray | None:
        name = next((name for name in _BIASES if name in rest), None)
        return None if name is None else rest.pop(name)

    def _layer(self, kernel: StoredArray, rest: dict[str, StoredArray]) -> None:
        """Adds a linear layer, a projection of an attention or a convolution."""
        bias, shape, name = self._bias(rest), kernel.shape, self._name("weight")
        ndim = len(shape)
        width = None if bias is None else prod(bias.shape)
        own = self.path.rpartition("/")[2]
        num_in = self._inputs_of_projection(own, kernel)
        if num_in is not None and not 0 < num_in < ndim:
            self.reading.notes[name] = _STACKED
        elif num_in is not None:
            self._add(turned_projection(name, kernel, num_in))
        elif ndim == 2:
            is_out_first = width == shape[0] != shape[1] or (self.out_first and _OUT_FIRST.match(own) is not None)
            self._hint_axes()
            self._add(as_stored(name, kernel) if is_out_first else turned_dense(name, kernel))
        elif self.kind.startswith("Depthwise") or (shape[-1] < shape[-2] and width == shape[-1] * shape[-2]):
            self._add(turned_depthwise(name, kernel))
        elif self._is_transposed(own, shape, width):
            self._hint(_TRANSPOSED.get(ndim))
            self._add(self._transposed(name, kernel, width))
        else:
            self._add(turned_kernel(name, kernel))
        if bias is not None:
            self._add(flattened(self._name("bias"), bias))

    def _hint_axes(self) -> None:
        path = self.path.replace("/", ".")
        self.reading.hints[path] = Hint(self.reading.hints.get(path, Hint()).type, in_first=False)

    def _inputs_of_projection(self, own: str, kernel: StoredArray) -> int | None:
        """Returns how many axes of a projection's kernel count inputs; None if the module is none.

        Zero says that the kernel has an axis too many.
        """
        parent, _, _ = self.path.rpartition("/")
        prefix = f"{parent}/" if parent else ""
        siblings = {path[len(prefix) :] for path in self.modules if path.startswith(prefix)}
        is_attention = sum(_PROJECTIONS_IN.match(sibling) is not None for sibling in siblings) >= 2
        ndim = len(kernel.shape)
        if ndim < 3 or not is_attention:
            return None
        if _PROJECTIONS_IN.match(own):
            return 1 if ndim == 3 else 0
        if _PROJECTIONS_OUT.match(own):
            return 2 if ndim == 3 else 0
        return None

    def _is_transposed(self, own: str, shape: tuple[int, ...], width: int | None) -> bool:
        if self.kind:
            return "Transpose" in self.kind
        is_named = re.search(r"conv(\dd)?_?transpose", own, re.IGNORECASE) is not None
        return is_named or width == shape[-2] != shape[-1]

    def _transposed(self, name: str, kernel: StoredArray, width: int | None) -> TurnedArray:
        """Returns the kernel of a transposed convolution, as torch has it: [in, out, positions...]."""
        shape = kernel.shape
        counts_out = width in (shape[-1], None) and self.kind == "ConvTranspose"
        if not counts_out:  # Keras, and Flax with transpose_kernel: [positions..., out, in]
            return turned_kernel(name, kernel)
        # Flax without it: [positions..., in, out], and the positions run the other way.
        ndim = len(shape)
        axes = (ndim - 2, ndim - 1, *range(ndim - 2))
        turned = tuple(shape[axis] for axis in axes)
        return TurnedArray(name, kernel, turned, axes=axes, flips=tuple(range(ndim - 2)))

    def _depthwise(self, rest: dict[str, StoredArray]) -> None:
        """Adds a depthwise convolution, and the pointwise one that follows it in a separable convolution."""
        depthwise = rest.pop("depthwise_kernel", None) or rest.pop("depthwise_weights")
        pointwise = rest.pop("pointwise_kernel", None) or rest.pop("pointwise_weights", None)
        bias = self._bias(rest)
        if len(depthwise.shape) < 3 or (pointwise is not None and len(pointwise.shape) < 3):
            rest |= {"depthwise_kernel": depthwise, **({} if pointwise is None else {"pointwise_kernel": pointwise})}
            return
        inner = "" if pointwise is None else "depthwise."
        self._add(turned_depthwise(self._name(f"{inner}weight"), depthwise))
        if pointwise is not None:
            self._add(turned_kernel(self._name("pointwise.weight"), pointwise))
        if bias is not None:
            self._add(flattened(self._name("bias" if pointwise is None else "pointwise.bias"), bias))

    def _recurrent(self, rest: dict[str, StoredArray]) -> None:
        """Adds an LSTM, a GRU or a plain recurrent layer of Keras, its gates in the order of torch."""
        kernel, recurrent = rest.get("kernel"), rest["recurrent_kernel"]
        units, total = (recurrent.shape[0], recurrent.shape[1]) if len(recurrent.shape) == 2 else (0, 0)
        if kernel is None or len(kernel.shape) != 2 or not units or total not in (units, 3 * units, 4 * units):
            for leaf in ("kernel", "recurrent_kernel"):
                if leaf in rest and len(rest[leaf].shape) >= 3:
                    array = rest.pop(leaf)
                    self._add(turned_kernel(self._name(f"{leaf}.weight"), array))
                    self.reading.notes[self._name(f"{leaf}.weight")] = _CONV_RECURRENT
            return
        del rest["kernel"], rest["recurrent_kernel"]
        components = self.path.split("/")
        if len(components) > 1 and _CELL.search(components[-1]):
            components.pop()
        suffix = "_l0"
        if len(components) > 1 and (match := re.match(r"^(forward|backward)(_|$)", components[-1])):
            components.pop()
            suffix += "_reverse" if match[1] == "backward" else ""
        stem = ".".join(components)
        stem = f"{stem}." if stem else ""
        # Keras: update, reset, new; torch: reset, update, new. The order of an LSTM's gates is the same.
        blocks = (1, 0, 2) if total == 3 * units else ()

        def gates(leaf: str, array: StoredArray, row: int | None = None) -> TurnedArray:
            shape = array.shape if row is None else array.shape[1:]
            axes = (1, 0) if len(shape) == 2 else None
            return TurnedArray(f"{stem}{leaf}{suffix}", array, shape[::-1], row=row, axes=axes, blocks=blocks)

        self._add(gates("weight_ih", kernel))
        self._add(gates("weight_hh", recurrent))
        bias = rest.get("bias")
        if bias is None:
            return
        if bias.shape == (total,):
            self._add(gates("bias_ih", rest.pop("bias")))
        elif bias.shape == (2, total):
            self._add(gates("bias_ih", rest.pop("bias"), 0))
            self._add(gates("bias_hh", bias, 1))
        else:
            self.reading.notes[self._name("bias")] = _CUDNN
