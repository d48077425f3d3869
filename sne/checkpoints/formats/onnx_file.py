"""Reader of .onnx files: the weights of the graph, wherever it stores them, as its layers compute with them."""

from typing import Any, final

from torch import Tensor

from sne.checkpoints.formats.contents import FileStart
from sne.checkpoints.formats.onnx_graph.parameters import find_parameters
from sne.checkpoints.formats.onnx_graph.rest import add_rest
from sne.checkpoints.formats.onnx_graph.walk import Walked, walk
from sne.checkpoints.remote.path import FilePath, RemotePath
from sne.checkpoints.stored import StoredTensors
from sne.errors import CheckpointError, RemoteError, install_hint

_LARGEST_VERSION = 64
_MOST_FIELDS = 10_000
_GRAPH = 7
_KNOWN_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
_ML = "ai.onnx.ml."
_BLOCKED = "com.microsoft.nchwc."
_BLOCKS = (
    "optimised for one kind of processor: its weights are padded and stored in blocks; name the file from before, or "
    "save it with ORT_ENABLE_EXTENDED"
)
# Values that torch cannot compute with; names that are not UTF-8, which protobuf gives as bytes.
_DAMAGE = (RuntimeError, ValueError, IndexError, OverflowError, TypeError, AttributeError)


def is_onnx(start: FileStart) -> bool:
    """Whether a file starts with the version of ONNX and has the fields of its model, or the suffix .onnx."""
    if not start.head.startswith(b"\x08"):
        return False
    return start.suffix == ".onnx" or (
        0 < int.from_bytes(start.head[1:2]) <= _LARGEST_VERSION and _has_model_fields(start.path)
    )


def _has_model_fields(file: FilePath) -> bool:
    """Whether a whole file is a protobuf message with the fields of `ModelProto`, a graph among them."""
    size, numbers = file.stat().st_size, set()
    with file.open("rb") as stream:
        for _ in range(_MOST_FIELDS):
            if stream.tell() == size:
                return _GRAPH in numbers
            tag = _varint(stream)
            if tag is None or tag >> 3 not in _KNOWN_FIELDS or tag & 7 not in (0, 2):
                return False
            length = _varint(stream)
            if length is None:
                return False
            if tag & 7 == 2:
                if stream.tell() + length > size:
                    return False
                stream.seek(length, 1)
            numbers.add(tag >> 3)
    return False


def _varint(stream: Any) -> int | None:
    """Reads a number of variable length, None if there is none."""
    result = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)
        if not byte:
            return None
        result |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return result
    return None


@final
class OnnxTensors(StoredTensors):
    """The weights of an ONNX model, as its layers compute with them.

    Weights are found by the nodes that use them, in initializers, constants, subgraphs and functions. They have the
    axes of torch, [out, in, kernel...]; integers are dequantised, and nodes that only reshape, cast, cut or join
    constants are followed. A weight keeps the exporter's name if that names a parameter ("fc1.weight"). One that the
    exporter has numbered ("onnx::MatMul_12") is named after the node that uses it ("/fc1/MatMul" becomes "fc1.weight").

    Args:
        file: Path of the file.
        select: Ignored; the file holds one flat list of tensors.

    Raises:
        CheckpointError: If the package onnx is not installed, or the file is not an ONNX model with weights.
    """

    def __init__(self, file: FilePath, select: str | None = None):
        try:
            import onnx
        except ImportError as error:
            raise CheckpointError(file, f"reading ONNX needs the package onnx; {install_hint('onnx')}") from error
        try:
            if isinstance(file, RemotePath):
                model = onnx.load_from_string(file.read_bytes())
            else:
                model = onnx.load(str(file), load_external_data=False)
        except RemoteError:
            raise
        except Exception as error:  # protobuf's errors have no common class
            raise CheckpointError(file, f"truncated or damaged ONNX file: {error}") from error
        self._file = file
        try:
            walked = walk(file, model)
            if any(node.op.startswith(_BLOCKED) for node in walked.nodes):
                raise CheckpointError(file, _BLOCKS)
            found = find_parameters(walked.nodes)
            add_rest(found, walked)
        except CheckpointError:
            raise
        except _DAMAGE as error:
            raise CheckpointError(file, f"damaged ONNX file: {_first_line(error)}") from error
        self._constants = found.constants
        if not found.constants:
            raise CheckpointError(file, _no_weights(walked))
        if not all(isinstance(name, str) for name in found.constants):
            raise CheckpointError(file, "damaged ONNX file: a name is not UTF-8 text")
        infos = [found.info(name) for name in found.constants]
        super().__init__(str(file), infos, hints=found.hints, composed=(), notes=walked.notes | found.notes)

    def read_stored(self, name: str) -> Tensor:
        """Computes one weight from the tensors of the model or of files beside it."""
        try:
            return self._constants[name].evaluate()
        except CheckpointError:
            raise
        except _DAMAGE as error:
            raise CheckpointError(self.name, f"tensor {name!r} cannot be computed: {_first_line(error)}") from error


def _no_weights(walked: Walked) -> str:
    """Returns what a model without weights is."""
    others = sorted({node.op.removeprefix(_ML) for node in walked.nodes if node.op.startswith(_ML)})
    if others:
        return f"the model is no neural network; it consists of {', '.join(others[:8])}"
    return "the model holds no weights"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
