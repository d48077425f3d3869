"""One module of Flax, Keras, Haiku or TensorFlow: its arrays become tensors with the names and axes of torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from sne.checkpoints.formats.arrays import (
    StackedArray,
    StoredArray,
    TurnedArray,
    as_stored,
    flattened,
    turned_dense,
    turned_depthwise,
    turned_kernel,
    turned_projection,
)
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
_PROJECTIONS_IN = re.compile(r"^(q|k|v|query|key|value)(_proj|_dense)?$")
_PROJECTIONS_OUT = re.compile(r"^(out|output|attention_output|output_dense|o|o_proj|out_proj)$")
_OUT_FIRST = re.compile(r"^(c_attn|c_fc|c_proj|q_attn)$")
_CELL = re.compile(r"(^|_)cells?(_\d+)?$")
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


@dataclass
class ArrayModule:
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
