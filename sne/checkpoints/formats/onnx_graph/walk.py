"""The nodes of an ONNX model in order, with those of subgraphs and of local functions where they run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from sne.checkpoints.formats.onnx_graph.constants import Constant, stored
from sne.checkpoints.formats.onnx_graph.following import FOLLOWED, KEEPS_NAMES
from sne.checkpoints.formats.onnx_graph.nodes import Node, Value
from sne.checkpoints.formats.onnx_graph.values import DenseLeaf, Leaf, SparseLeaf, text
from sne.checkpoints.remote.path import FilePath
from sne.errors import CheckpointError

_DEEPEST = 32
_FEW_NODES = 20_000
_BYTES_PER_NODE = 50
_STANDARD_DOMAINS = ("", "ai.onnx")
_FEW_ENTRIES = 16
_STRING = 8  # TensorProto.DataType.STRING


@final
@dataclass
class Walked:
    """All that a model holds.

    Args:
        nodes: Every node, in the order in which they run.
        leaves: Every stored tensor of numbers, in the order of the file.
        notes: Reasons why other stored tensors are not read, by name.
        constant_nodes: Stored tensors that are attributes of nodes rather than initializers.
    """

    nodes: list[Node] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    constant_nodes: set[Leaf] = field(default_factory=set)


class _Scope:
    """Values by name, those of the graph around this one included."""

    def __init__(self, outer: "_Scope | None" = None):
        self.values: dict[str, Value] = {}
        self.outer = outer

    def find(self, name: str) -> Value:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        return self.values.setdefault(name, Value((name,)))


def walk(file: FilePath, model: Any) -> Walked:
    """Lists the nodes and stored tensors of a model.

    Args:
        file: Path of the model, for values beside it and for error messages.
        model: The parsed `ModelProto`.

    Returns:
        Nodes with the values that they read and compute. Nodes whose inputs are all constants are followed, so that
        their outputs are constants.

    Raises:
        CheckpointError: If a tensor is damaged, or if functions or subgraphs call each other without end.
    """
    return _Walker(file, model).walk(model.graph)


@final
class _Walker:
    def __init__(self, file: FilePath, model: Any):
        self._file = file
        self._functions = {(text(function.domain), text(function.name)): function for function in model.functions}
        self._left = _FEW_NODES + file.stat().st_size // _BYTES_PER_NODE
        self._walked = Walked()
        self._protos: dict[int, tuple[Any, Leaf | None]] = {}  # with the proto, so that no other gets its id

    def walk(self, graph: Any) -> Walked:
        self._graph(graph, None, "", 0)
        return self._walked

    def _graph(self, graph: Any, outer: _Scope | None, prefix: str, depth: int) -> None:
        """Lists the nodes of a graph, whose inputs are not known."""
        scope = _Scope(outer)
        for info in graph.input:
            scope.values[text(info.name)] = Value((text(info.name),))
        names: set[str] = set()
        for proto, name in (
            *((tensor, tensor.name) for tensor in graph.initializer),
            *((tensor, tensor.values.name) for tensor in graph.sparse_initializer),
        ):
            name = text(name)
            if name in names:
                raise CheckpointError(self._file, f"the graph has the initializer {name[:80]!r} twice")
            names.add(name)
            leaf = self._leaf(proto, name)
            scope.values[name] = Value((name,), None if leaf is None else stored(leaf))
        self._nodes(graph.node, scope, {}, prefix, depth)

    def _nodes(self, protos: Iterable[Any], scope: _Scope, bound: Mapping[str, Any], prefix: str, depth: int) -> None:
        """Lists the nodes of a graph or function.

        Args:
            protos: The nodes.
            scope: Values by name.
            bound: Attributes of the call if the nodes are those of a function.
            prefix: Names of the calls of functions that lead here.
            depth: Number of graphs and functions around this one.
        """
        if depth > _DEEPEST:
            raise CheckpointError(self._file, f"functions and subgraphs are nested more than {_DEEPEST} deep")
        for proto in protos:
            if self._left <= 0:
                raise CheckpointError(
                    self._file, "it has more nodes, with those of its functions, than a file of its size"
                )
            self._left -= 1
            attributes = self._attributes(proto, bound)
            inputs = [scope.find(text(name)) if name else None for name in proto.input]
            outputs = [text(name) for name in proto.output]
            domain, operator = text(proto.domain), text(proto.op_type)
            function = self._functions.get((domain, operator))
            name = f"{prefix}{text(proto.name)}"
            if function is not None:
                call = f"{name or prefix + operator}/"
                self._call(function, attributes, inputs, outputs, scope, call, depth)
                continue
            op = operator if domain in _STANDARD_DOMAINS else f"{domain}.{operator}"
            metadata = {text(pair.key): text(pair.value) for pair in getattr(proto, "metadata_props", ())}
            self._node(Node(op, name, len(self._walked.nodes), attributes, metadata, inputs), outputs, scope)
            for attribute in attributes.values():
                for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    self._graph(graph, scope, prefix, depth + 1)

    def _attributes(self, proto: Any, bound: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the attributes of a node, those among them that a function passes on included."""
        found = {}
        for attribute in proto.attribute:
            if not attribute.ref_attr_name:
                found[text(attribute.name)] = attribute
            elif attribute.ref_attr_name in bound:
                found[text(attribute.name)] = bound[attribute.ref_attr_name]
        return found

    def _node(self, node: Node, outputs: Sequence[str], scope: _Scope) -> None:
        """Adds a node and its outputs."""
        self._walked.nodes.append(node)
        for position, value in enumerate(node.inputs):
            if value is not None:
                value.consumers.append((node, position))
        if node.op == "Constant":
            found: list[Constant | None] = [self._constant(node, outputs[0] if outputs else "")]
        else:
            self._note_attributes(node)
            found = self._follow(node)
        passed = node.input(0)
        keeps_names = node.op in KEEPS_NAMES and passed is not None
        for position, name in enumerate(outputs):
            constant = found[position] if position < len(found) else None
            names = (name, *passed.names) if keeps_names and passed is not None else (name,)
            value = Value(names[:_DEEPEST], constant, node)
            node.outputs.append(value)
            if name:
                scope.values[name] = value

    def _follow(self, node: Node) -> list[Constant | None]:
        """Returns the outputs of a node that computes with constants alone."""
        given = [value for value in node.inputs if value is not None]
        if node.op not in FOLLOWED or not given or any(value.constant is None for value in given):
            return []
        return list(FOLLOWED[node.op](node) or [])

    def _call(
        self,
        function: Any,
        attributes: Mapping[str, Any],
        inputs: list[Value | None],
        outputs: Sequence[str],
        outer: _Scope,
        prefix: str,
        depth: int,
    ) -> None:
        """Lists the nodes of a function where it is called."""
        scope = _Scope()
        for name, value in zip(map(text, function.input), inputs, strict=False):
            scope.values[name] = Value((name,)) if value is None else value
        defaults = {text(attribute.name): attribute for attribute in function.attribute_proto}
        self._nodes(function.node, scope, defaults | dict(attributes), prefix, depth + 1)
        for inner, name in zip(function.output, outputs, strict=False):
            if name:
                outer.values[name] = scope.find(text(inner))

    def _constant(self, node: Node, name: str) -> Constant | None:
        """Returns the tensor of a Constant node, which has one of six attributes."""
        from onnx import TensorProto

        for key, attribute in node.attributes.items():
            if key == "value":
                proto = attribute.t
            elif key == "sparse_value":
                proto = attribute.sparse_tensor
            elif key == "value_float":
                proto = TensorProto(data_type=TensorProto.FLOAT, float_data=[attribute.f])
            elif key == "value_int":
                proto = TensorProto(data_type=TensorProto.INT64, int64_data=[attribute.i])
            elif key == "value_floats":
                values = attribute.floats
                proto = TensorProto(data_type=TensorProto.FLOAT, float_data=values, dims=[len(values)])
            elif key == "value_ints":
                values = attribute.ints
                proto = TensorProto(data_type=TensorProto.INT64, int64_data=values, dims=[len(values)])
            else:
                continue
            leaf = self._leaf(proto, name, attribute)
            if leaf is None:
                return None
            self._walked.constant_nodes.add(leaf)
            return stored(leaf)
        return None

    def _leaf(self, proto: Any, name: str, holder: Any = None) -> Leaf | None:
        """Returns a stored tensor, the same one each time; None for one of strings.

        Args:
            proto: The tensor.
            name: Name of the value.
            holder: Object of the model that stands for the tensor; by default the tensor itself.
        """
        holder = proto if holder is None else holder
        if id(holder) not in self._protos:
            is_sparse = hasattr(proto, "indices")
            leaf: Leaf | None = None
            if (proto.values if is_sparse else proto).data_type == _STRING:
                self._walked.notes[name] = "strings, not weights"
            else:
                leaf = (SparseLeaf if is_sparse else DenseLeaf)(self._file, proto, name)
                self._walked.leaves.append(leaf)
            self._protos[id(holder)] = holder, leaf
        return self._protos[id(holder)][1]

    def _note_attributes(self, node: Node) -> None:
        """Notes tensors among the attributes of nodes other than Constant."""
        for name, attribute in node.attributes.items():
            sizes = [len(attribute.floats)]
            for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
                sizes.append(max([1, *(int(size) for size in tensor.dims)]))
            if max(sizes) > _FEW_ENTRIES and node.op != "ConstantOfShape":
                where = node.name or node.op
                self._walked.notes[f"{where}.{name}"] = f"numbers in an attribute of {node.op}, which is not read"
